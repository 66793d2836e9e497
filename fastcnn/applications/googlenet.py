# SPDX-License-Identifier: Apache-2.0
"""GoogLeNet, the first inception network.

C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke,
A. Rabinovich (2014), "Going Deeper with Convolutions", arXiv:1409.4842, table 1. The published
PyTorch weights belong to another form: batch normalization for biases and local response
normalization, 3x3 filters where the paper has 5x5, and a fourth pooling of 2x2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastcnn import arguments
from fastcnn.applications.alexnet import LRN
from fastcnn.applications.blocks import Norm
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import (
    RELU,
    Conv,
    Module,
    Step,
    Unit,
    biased_relu,
    branch,
    follow,
    hidden,
    last,
    normalized,
)
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import (
    AdaptiveAveragePooling2D,
    AveragePooling2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
    Rescaling,
)
from fastcnn.models import Model

# torchvision's weights come from TensorFlow, and those of the paper's form from Caffe.
preprocess_input = PreprocessInput({"torchvision": "tf", "paper": "caffe"})

VARIANTS = ("torchvision", "paper")

POOL = partial(MaxPooling2D, 3, 2, ceil_mode=True)
SMALL_POOL = partial(MaxPooling2D, 2, 2, ceil_mode=True)
SAME_POOL = partial(MaxPooling2D, 3, 1, "same")

# Rows of numbers are modules: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
TABLE_1: dict[str, Step | tuple[int, ...]] = {
    "conv1": Conv(64, 7, 2, 3),
    "maxpool1": POOL,
    "norm1": LRN,
    "conv2": Conv(64),
    "conv3": Conv(192, 3),
    "norm2": LRN,
    "maxpool2": POOL,
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "maxpool3": POOL,
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "maxpool4": POOL,
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


def _module(widths: tuple[int, ...], size: int) -> Module:
    """Figure 2b; `size` is that of the third branch's filters."""
    one, three_reduce, three, five_reduce, five, pool = widths
    return Module(
        (
            branch("branch1", Conv(one)),
            branch("branch2", Conv(three_reduce), Conv(three, 3)),
            branch("branch3", Conv(five_reduce), Conv(five, size)),
            branch("branch4", SAME_POOL, Conv(pool)),
        )
    )


def _features(paper: bool) -> dict[str, Step]:
    """Table 1 down to the last module, or what torchvision made of it."""
    size = 5 if paper else 3
    rows = TABLE_1.items()
    table = {n: _module(row, size) if isinstance(row, tuple) else row for n, row in rows}
    if not paper:
        table["maxpool4"] = SMALL_POOL
        del table["norm1"], table["norm2"]
    return table


def _auxiliary(paper: bool, rate: float) -> dict[str, Step]:
    """Section 5: the classifiers that look at 4a and 4d while the network learns."""
    pool = partial(AveragePooling2D, 5, 3) if paper else partial(AdaptiveAveragePooling2D, 4)
    return {
        "avgpool": pool,
        "conv": Conv(128),
        "flatten": Flatten,
        "fc1": hidden(1024),
        "relu": RELU,
        "dropout": partial(Dropout, rate),
    }


def from_torchvision_images(image: Tensor) -> Tensor:
    """Images less ImageNet's mean, by its deviation, as pixels in [-1, 1]."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = tuple(d / 0.5 for d in deviation)
    offset = tuple((m - 0.5) / 0.5 for m in mean)
    x: Tensor = Rescaling(scale, offset, name="transform_input")(image)
    return x


def require_top(frame: Frame, auxiliary: bool) -> None:
    """ArgumentError where auxiliary classifiers are asked for without the classifier."""
    if auxiliary and not frame.include_top:
        raise ArgumentError(
            f"{frame.name}: found auxiliary=True with include_top=False, expected one of them "
            "only; the auxiliary classifiers are part of the top"
        )


def GoogLeNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    auxiliary: bool = False,
    dropout: float | None = None,
    auxiliary_dropout: float = 0.7,
    transform_input: bool = False,
    variant: str = "torchvision",
    name: str = "googlenet",
) -> Model:
    """6,624,904 parameters and 1.498 G multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew. Public files hold the auxiliary
            classifiers too; they are left out unless `auxiliary`.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 15x15; 224x224x3.
        pooling: without the top, None (maps of the last module), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of all classifiers; None gives logits.
        auxiliary: also the two auxiliary classifiers: 13,004,888 parameters, and three outputs:
            the classifier's, those of "aux1" (behind 4a) and "aux2" (behind 4d). The paper adds
            their losses with a weight of 0.3: `compile(loss_weights=[1, 0.3, 0.3])`.
        dropout: rate in front of the classifier; None is 0.2, and 0.4 as the paper has it.
        auxiliary_dropout: rate in front of the auxiliary classifiers.
        transform_input: the published weights expect pixels in [-1, 1]. With True the model takes
            what torchvision's transforms make (less ImageNet's mean, by its deviation) and
            converts it, as torchvision's own model does when it loads them.
        variant: "torchvision"; "paper": 5x5 filters, biases, local response normalization,
            6,998,552 parameters, with auxiliary classifiers 13,378,280, and 1.583 G
            multiply-accumulates.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    require_top(frame, auxiliary)
    paper = arguments.one_of(name, "variant", variant, VARIANTS) == "paper"
    unit: Unit = biased_relu if paper else normalized(Norm(epsilon=1e-3))
    rate = (0.4 if paper else 0.2) if dropout is None else dropout
    image = frame.image(smallest=15)
    outputs = follow(
        from_torchvision_images(image) if transform_input else image, _features(paper), unit
    )

    def top(x: Tensor) -> Any:
        head: dict[str, Step] = {
            "avgpool": GlobalAveragePooling2D,
            "dropout": partial(Dropout, rate),
        }
        scores = frame.classify(last(follow(x, head, unit)), "fc")
        if not auxiliary:
            return scores
        table = _auxiliary(paper, auxiliary_dropout)
        seen = {"aux1": outputs["inception4a"], "aux2": outputs["inception4d"]}
        ends = {aux: last(follow(maps, table, unit, f"{aux}.")) for aux, maps in seen.items()}
        return [scores, *(frame.classify(y, f"{aux}.fc2") for aux, y in ends.items())]

    return frame.model(image, last(outputs), top, ignore=() if auxiliary else ("aux1.", "aux2."))
