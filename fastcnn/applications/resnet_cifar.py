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

from fastcnn.applications.blocks import basic, conv_bn_relu, residual, stages
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.resnet import average
from fastcnn.graph import Tensor
from fastcnn.models import Model

FILTERS = (16, 32, 64)


def _resnet(frame: Frame, depth: int) -> Model:
    """The network with (depth - 2) / 6, the paper's n, blocks in each of three stages."""
    image = frame.image(default=(32, 32, 3))
    x = conv_bn_relu(image, FILTERS[0], 3, padding=1, names=("conv1", "bn1"))
    x = stages(x, _block, FILTERS, ((depth - 2) // 6,) * 3)
    return frame.model(image, x, lambda x: frame.classify(average(x), "fc"))


def _block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    return residual(x, basic(filters, strides), shortcut="identity", name=name)


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
    return _resnet(frame, 20)


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
    return _resnet(frame, 32)


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
    return _resnet(frame, 44)


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
    return _resnet(frame, 56)


def ResNet110(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "resnet110",
) -> Model:
    """1,727,962 parameters and 252.9 M multiply-accumulates; arguments as `ResNet20`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, 110)
