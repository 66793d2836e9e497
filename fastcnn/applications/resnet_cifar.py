# SPDX-License-Identifier: Apache-2.0
"""The residual networks for CIFAR-10 with 6n + 2 layers.

K. He, X. Zhang, S. Ren, J. Sun (2015), "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, section 4.2:

    output size   32x32     16x16   8x8
    layers        1 + 2n    2n      2n      of 3x3, each with batch normalization
    filters       16        32      64

then global average pooling and one Dense layer. Shortcuts have no parameters (option A): where the
maps shrink they take every second pixel and fill the new channels with zeros.
"""

from __future__ import annotations

from fastcnn import ops
from fastcnn.applications.blocks import conv_bn
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Activation,
    Add,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastcnn.models import Model

STAGES = (16, 32, 64)


def _resnet(frame: Frame, blocks: int) -> Model:
    """The network with `blocks` (the paper's n) residual blocks in each of three stages."""
    image = frame.image((32, 32, 3))
    x = conv_bn(image, STAGES[0], 3, padding=1, names=("conv1", "bn1"))
    x = Activation("relu", name="relu")(x)
    for stage, filters in enumerate(STAGES, 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _residual(x, filters, stride, f"layer{stage}.{block}")

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="avgpool")(x)
        return frame.classify(x, "fc", kernel_initializer="he_normal")

    return frame.model(image, x, top)


def _residual(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """relu(F(x) + shortcut(x)), F being two convolutions."""
    y = conv_bn(x, filters, 3, stride, 1, names=(f"{name}.conv1", f"{name}.bn1"))
    y = Activation("relu", name=f"{name}.relu1")(y)
    y = conv_bn(y, filters, 3, 1, 1, names=(f"{name}.conv2", f"{name}.bn2"))
    y = Add(name=f"{name}.add")([y, _shortcut(x, filters, stride, name)])
    result: Tensor = Activation("relu", name=f"{name}.relu2")(y)
    return result


def _shortcut(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """x itself, or every second pixel of it with channels of zeros appended."""
    kept: Tensor = x
    if stride != 1:
        kept = MaxPooling2D(1, strides=stride, name=f"{name}.subsample")(x)
    added = filters - int(x.shape[-1] or 0)
    if added:
        kept = ops.pad(kept, ((0, 0), (0, 0), (0, 0), (0, added)))
    return kept


def ResNet20(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "resnet20",
) -> Model:
    """269,722 parameters and 40.6 M multiply-accumulates at 32x32x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), any size.
        pooling: without the top, None (maps of the last stage), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, 3)


def ResNet32(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "resnet32",
) -> Model:
    """464,154 parameters and 68.9 M multiply-accumulates; arguments as `ResNet20`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, 5)


def ResNet44(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "resnet44",
) -> Model:
    """658,586 parameters and 97.2 M multiply-accumulates; arguments as `ResNet20`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, 7)


def ResNet56(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "resnet56",
) -> Model:
    """853,018 parameters and 125.5 M multiply-accumulates; arguments as `ResNet20`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, 9)
