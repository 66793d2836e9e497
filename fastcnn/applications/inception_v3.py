# SPDX-License-Identifier: Apache-2.0
"""Inception v3.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna (2015), "Rethinking the Inception
Architecture for Computer Vision", arXiv:1512.00567, table 1 and figures 5 to 7 and 10. The paper
gives no widths for most branches; all public forms have those of the authors' program.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastcnn import arguments
from fastcnn.applications.blocks import Norm
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.googlenet import from_torchvision_images, require_top
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import Conv, Fork, Module, Step, Table, follow, last, normalized
from fastcnn.graph import Tensor
from fastcnn.layers import AveragePooling2D, Dropout, GlobalAveragePooling2D, MaxPooling2D
from fastcnn.models import Model

# torchvision's weights come from TensorFlow; with transform_input the model scales by itself.
preprocess_input = PreprocessInput({"torchvision": "tf", "keras": "tf"})

NORMS = {"torchvision": Norm(epsilon=1e-3), "keras": Norm(1e-3, 0.99, scale=False)}

POOL = partial(MaxPooling2D, 3, 2)
ROW, COLUMN = (1, 7), (7, 1)
PAIR = Fork(Conv(384, (1, 3)), Conv(384, (3, 1)))


def _branch(name: str, *steps: Step) -> Table:
    """One branch: `name` if it has one step, else `<name>_1`, `<name>_2`, ..."""
    names = [name] if len(steps) == 1 else [f"{name}_{i}" for i in range(1, len(steps) + 1)]
    return dict(zip(names, steps, strict=True))


def _pooled(filters: int, padded: bool) -> Table:
    """The branch of a 3x3 mean; PyTorch's counts the padding's zeros, Keras' does not."""
    pool = partial(AveragePooling2D, 3, 1, "same", count_include_pad=padded)
    return {"pool": pool, "branch_pool": Conv(filters)}


def _a(pool: int, padded: bool) -> Module:
    """35x35, figure 5: two 3x3 for a 5x5."""
    return Module(
        (
            _branch("branch1x1", Conv(64)),
            _branch("branch5x5", Conv(48), Conv(64, 5)),
            _branch("branch3x3dbl", Conv(64), Conv(96, 3), Conv(96, 3)),
            _pooled(pool, padded),
        )
    )


def _b() -> Module:
    """35x35 to 17x17, figure 10."""
    return Module(
        (
            _branch("branch3x3", Conv(384, 3, 2)),
            _branch("branch3x3dbl", Conv(64), Conv(96, 3), Conv(96, 3, 2)),
            {"pool": POOL},
        )
    )


def _c(width: int, padded: bool) -> Module:
    """17x17, figure 6: 1x7 and 7x1 for 7x7."""
    w = width
    double = (Conv(w), Conv(w, COLUMN), Conv(w, ROW), Conv(w, COLUMN), Conv(192, ROW))
    return Module(
        (
            _branch("branch1x1", Conv(192)),
            _branch("branch7x7", Conv(w), Conv(w, ROW), Conv(192, COLUMN)),
            _branch("branch7x7dbl", *double),
            _pooled(192, padded),
        )
    )


def _d() -> Module:
    """17x17 to 8x8."""
    long = (Conv(192), Conv(192, ROW), Conv(192, COLUMN), Conv(192, 3, 2))
    return Module(
        (
            _branch("branch3x3", Conv(192), Conv(320, 3, 2)),
            _branch("branch7x7x3", *long),
            {"pool": POOL},
        )
    )


def _e(padded: bool) -> Module:
    """8x8, figure 7: 1x3 and 3x1 side by side."""
    return Module(
        (
            _branch("branch1x1", Conv(320)),
            _branch("branch3x3", Conv(384), PAIR),
            _branch("branch3x3dbl", Conv(448), Conv(384, 3), PAIR),
            _pooled(192, padded),
        )
    )


def _features(padded: bool) -> dict[str, Step]:
    """Table 1; sizes of the maps for an image of 299 pixels."""
    return {
        "Conv2d_1a_3x3": Conv(32, 3, 2),  # 149
        "Conv2d_2a_3x3": Conv(32, 3, padding="valid"),  # 147
        "Conv2d_2b_3x3": Conv(64, 3),
        "maxpool1": POOL,  # 73
        "Conv2d_3b_1x1": Conv(80),
        "Conv2d_4a_3x3": Conv(192, 3, padding="valid"),  # 71
        "maxpool2": POOL,  # 35
        "Mixed_5b": _a(32, padded),
        "Mixed_5c": _a(64, padded),
        "Mixed_5d": _a(64, padded),
        "Mixed_6a": _b(),  # 17
        "Mixed_6b": _c(128, padded),
        "Mixed_6c": _c(160, padded),
        "Mixed_6d": _c(160, padded),
        "Mixed_6e": _c(192, padded),
        "Mixed_7a": _d(),  # 8
        "Mixed_7b": _e(padded),
        "Mixed_7c": _e(padded),
    }


AUXILIARY: dict[str, Step] = {
    "pool": partial(AveragePooling2D, 5, 3),
    "conv0": Conv(128),
    "conv1": Conv(768, 5, padding="valid"),
    "avgpool": GlobalAveragePooling2D,
}


def InceptionV3(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    auxiliary: bool = False,
    dropout: float = 0.5,
    transform_input: bool = False,
    variant: str = "torchvision",
    name: str = "inception_v3",
) -> Model:
    """23,834,568 parameters and 5.713 G multiply-accumulates at 299x299x3.

    Args:
        weights: file to read weights from; None draws them anew. Public files hold the auxiliary
            classifier too; it is left out unless `auxiliary`.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 75x75; 299x299x3.
        pooling: without the top, None (maps of the last module), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of all classifiers; None gives logits.
        auxiliary: also the auxiliary classifier behind Mixed_6e: 27,161,264 parameters, and its
            scores as a second output. The usual weight of its loss is 0.4.
        dropout: rate in front of the classifier; the paper's is 0.2, Keras has none.
        transform_input: the published weights expect pixels in [-1, 1]. With True the model takes
            what torchvision's transforms make (less ImageNet's mean, by its deviation) and
            converts it, as torchvision's own model does when it loads them.
        variant: "torchvision"; "keras": normalization without gamma and average pooling that
            leaves the padding out, 23,851,784 numbers with the running statistics.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network, or an image too small for `auxiliary`.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("inception_v3", variant == "torchvision")
    require_top(frame, auxiliary)
    unit = normalized(NORMS[arguments.one_of(name, "variant", variant, tuple(NORMS))])
    image = frame.image((299, 299, 3), smallest=75)
    x = from_torchvision_images(image) if transform_input else image
    outputs = follow(x, _features(padded=variant == "torchvision"), unit)

    def top(x: Tensor) -> Any:
        head: dict[str, Step] = {
            "avgpool": GlobalAveragePooling2D,
            "dropout": partial(Dropout, dropout),
        }
        scores = frame.classify(last(follow(x, head, unit)), "fc")
        if not auxiliary:
            return scores
        end = last(follow(outputs["Mixed_6e"], AUXILIARY, unit, "AuxLogits."))
        return [scores, frame.classify(end, "AuxLogits.fc")]

    return frame.model(image, last(outputs), top, ignore=() if auxiliary else ("AuxLogits.",))
