# SPDX-License-Identifier: Apache-2.0
"""Inception-ResNet v1 and v2: inception modules as the residuals of a residual network.

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi (2016), "Inception-v4, Inception-ResNet and the Impact
of Residual Connections on Learning", arXiv:1602.07261, figures 10 to 19. All public forms multiply
what a module adds by a small number, as the paper's section 3.3 advises. Widths of v2 are those of
the authors' program, which differ from the paper's figures; names of weights are those of
facenet-pytorch (v1) and timm (v2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

from fastcnn import arguments
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
    biased,
    branch,
    follow,
    last,
    normalized,
)
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Add,
    AveragePooling2D,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
    Rescaling,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"timm": "tf", "keras": "tf"})

NORMS = {"timm": Norm(epsilon=1e-3), "keras": Norm(1e-3, 0.99, scale=False)}

POOL = partial(MaxPooling2D, 3, 2)

STEM: dict[str, Step] = {
    "conv2d_1a": Conv(32, 3, 2),
    "conv2d_2a": Conv(32, 3, padding="valid"),
    "conv2d_2b": Conv(64, 3),
    "maxpool_3a": POOL,
    "conv2d_3b": Conv(80),
    "conv2d_4a": Conv(192, 3, padding="valid"),
}


@final
@dataclass(frozen=True)
class Residual:
    """relu(x + scale * F(x)): F is a module and a 1x1 convolution to as many channels as x."""

    module: Module
    scale: float
    relu: bool = True

    def __call__(self, x: Tensor, name: str, unit: Unit) -> Tensor:
        """The block called `name` on x."""
        y = last(follow(x, {name: self.module}, unit))
        y = biased(y, f"{name}.conv2d", Conv(int(x.shape[-1] or 0)))
        if self.scale != 1:
            y = Rescaling(self.scale, name=f"{name}.scale")(y)
        joined: Tensor = Add(name=f"{name}.add")([x, y])
        if not self.relu:
            return joined
        positive: Tensor = RELU(name=f"{name}.relu")(joined)
        return positive

    def repeat(self, x: Tensor, name: str, count: int, unit: Unit) -> Tensor:
        """`count` blocks called `<name>.0`, `<name>.1`, ..."""
        for i in range(count):
            x = self(x, f"{name}.{i}", unit)
        return x


def _block35(last_two: tuple[int, int]) -> Module:
    """35x35, figures 10 and 16."""
    a, b = last_two
    return Module(
        (
            branch("branch0", Conv(32)),
            branch("branch1", Conv(32), Conv(32, 3)),
            branch("branch2", Conv(32), Conv(a, 3), Conv(b, 3)),
        )
    )


def _crossed(alone: int, widths: tuple[int, int, int], size: int) -> Module:
    """17x17 (size 7, figures 11 and 17) and 8x8 (size 3, figures 13 and 19)."""
    a, b, c = widths
    return Module(
        (
            branch("branch0", Conv(alone)),
            branch("branch1", Conv(a), Conv(b, (1, size)), Conv(c, (size, 1))),
        )
    )


def _mixed_6a(widths: tuple[int, int, int]) -> Module:
    """35x35 to 17x17, figure 7 with the k, l and m of table 1."""
    k, l_, m = widths
    return Module(
        (
            branch("branch0", Conv(384, 3, 2)),
            branch("branch1", Conv(k), Conv(l_, 3), Conv(m, 3, 2)),
            {"branch2": POOL},
        )
    )


def _mixed_7a(short: int, middle: int, long: int) -> Module:
    """17x17 to 8x8, figures 12 and 18."""
    return Module(
        (
            branch("branch0", Conv(256), Conv(384, 3, 2)),
            branch("branch1", Conv(256), Conv(short, 3, 2)),
            branch("branch2", Conv(256), Conv(middle, 3), Conv(long, 3, 2)),
            {"branch3": POOL},
        )
    )


MIXED_5B = Module(
    (
        branch("branch0", Conv(96)),
        branch("branch1", Conv(48), Conv(64, 5)),
        branch("branch2", Conv(64), Conv(96, 3), Conv(96, 3)),
        branch("branch3", partial(AveragePooling2D, 3, 1, "same"), Conv(64)),
    )
)


def _features_v1(x: Tensor, unit: Unit, last_block: bool) -> Tensor:
    """Figure 15; sizes of the maps for an image of 299 pixels."""
    block8 = _crossed(192, (192, 192, 192), 3)
    x = last(follow(x, {**STEM, "conv2d_4b": Conv(256, 3, 2)}, unit))  # 35
    x = Residual(_block35((32, 32)), 0.17).repeat(x, "repeat_1", 5, unit)
    x = last(follow(x, {"mixed_6a": _mixed_6a((192, 192, 256))}, unit))  # 17
    x = Residual(_crossed(128, (128, 128, 128), 7), 0.1).repeat(x, "repeat_2", 10, unit)
    x = last(follow(x, {"mixed_7a": _mixed_7a(256, 256, 256)}, unit))  # 8
    x = Residual(block8, 0.2).repeat(x, "repeat_3", 5, unit)
    return Residual(block8, 1.0, relu=False)(x, "block8", unit) if last_block else x


def _features_v2(x: Tensor, unit: Unit) -> Tensor:
    """Figure 15 with the authors' widths; sizes of the maps for an image of 299 pixels."""
    block8 = _crossed(192, (192, 224, 256), 3)
    x = last(follow(x, {**STEM, "maxpool_5a": POOL, "mixed_5b": MIXED_5B}, unit))  # 35
    x = Residual(_block35((48, 64)), 0.17).repeat(x, "repeat", 10, unit)
    x = last(follow(x, {"mixed_6a": _mixed_6a((256, 256, 384))}, unit))  # 17
    x = Residual(_crossed(192, (128, 160, 192), 7), 0.1).repeat(x, "repeat_1", 20, unit)
    x = last(follow(x, {"mixed_7a": _mixed_7a(288, 288, 320)}, unit))  # 8
    x = Residual(block8, 0.2).repeat(x, "repeat_2", 9, unit)
    x = Residual(block8, 1.0, relu=False)(x, "block8", unit)
    return last(follow(x, {"conv2d_7b": Conv(1536)}, unit))


def InceptionResNetV1(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    embedding: int | None = None,
    dropout: float = 0.2,
    variant: str = "paper",
    name: str = "inception_resnet_v1",
) -> Model:
    """22,756,328 parameters and 6.206 G multiply-accumulates at 299x299x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 75x75; 299x299x3, and 160x160x3 for faces.
        pooling: without the top, None (maps of the last block), "avg" or "max" over them.
        classes: number of classes; the published files for faces have 8,631 (vggface2) or 10,575
            (casia-webface).
        classifier_activation: of the last layer; None gives logits.
        embedding: numbers between pooling and classifier, 512 in the published files for faces:
            a Dense layer "last_linear" without bias and its normalization "last_bn", whose output
            divided by its length stands for the face.
        dropout: rate behind global pooling.
        variant: "paper": 5, 10 and 5 residual blocks; "facenet": a sixth block of the last kind,
            not scaled and without relu, 24,357,096 parameters.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    facenet = arguments.one_of(name, "variant", variant, ("paper", "facenet")) == "facenet"
    norm = NORMS["timm"]
    default = (160, 160, 3) if embedding is not None else (299, 299, 3)
    image = frame.image(default, smallest=75)

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="avgpool_1a")(x)
        x = Dropout(dropout, name="dropout")(x)
        if embedding is not None:
            units = arguments.integer(name, "embedding", embedding, 1)
            x = norm(Dense(units, use_bias=False, name="last_linear")(x), "last_bn")
        return frame.classify(x, "logits")

    return frame.model(image, _features_v1(image, normalized(norm), facenet), top)


def InceptionResNetV2(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.2,
    variant: str = "timm",
    name: str = "inception_resnet_v2",
) -> Model:
    """55,843,464 parameters and 13.156 G multiply-accumulates at 299x299x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 75x75; 299x299x3.
        pooling: without the top, None (maps of the last convolution), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        dropout: rate behind global pooling; timm and Keras have none.
        variant: "timm"; "keras": normalization without gamma, 55,873,736 numbers with the running
            statistics. The two are equal otherwise: both add the scaled residual to its input,
            and all padding is even on both sides.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("inception_resnet_v2", variant == "timm")
    unit = normalized(NORMS[arguments.one_of(name, "variant", variant, tuple(NORMS))])
    image = frame.image((299, 299, 3), smallest=75)

    def top(x: Tensor) -> Tensor:
        head: dict[str, Step] = {
            "global_pool": GlobalAveragePooling2D,
            "head_drop": partial(Dropout, dropout),
        }
        return frame.classify(last(follow(x, head, unit)), "classif")

    return frame.model(image, _features_v2(image, unit), top)
