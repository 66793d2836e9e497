# SPDX-License-Identifier: Apache-2.0
"""Wide residual networks for CIFAR.

S. Zagoruyko, N. Komodakis (2016), "Wide Residual Networks", arXiv:1605.07146, table 1:

    output size   32x32    32x32    16x16    8x8
    layers        1        2n       2n       2n       of 3x3, depth = 6n + 4
    filters       16       16k      32k      64k      k is the width

then batch normalization, relu, global average pooling and one Dense layer. Blocks normalize before
they convolve; the shortcut is the input itself, or a 1x1 convolution of the normalized input where
the number of channels changes.

Names of weights are those of the checkpoints that circulate for PyTorch: `block1.layer.0.conv1`,
`block1.layer.0.convShortcut`. The networks for ImageNet, WideResNet50_2 and WideResNet101_2, are
built from ResNet's blocks and stand there.
"""

from __future__ import annotations

from fastcnn import arguments
from fastcnn.applications.blocks import TORCH, stages
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.resnet import average
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import Activation, Add, Conv2D, Dropout
from fastcnn.models import Model


def WideResNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    name: str = "wide_resnet",
) -> Model:
    """WRN-28-10: 36,479,194 parameters and 5,243.3 M multiply-accumulates at 32x32x3.

    WRN-16-8 has 10,961,370 and 1,548.1 M, WRN-40-4 8,949,210 and 1,298.6 M.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), any size.
        pooling: without the top, None (maps of the last stage), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        depth: number of convolutions, 6n + 4: 10, 16, 22, 28, 34, 40, ...
        width: how many times the filters of the network of width 1.
        dropout: share of the values that are dropped between the two convolutions of a block; the
            paper tries 0.3.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _wide_resnet(frame, depth, width, dropout)


def _wide_resnet(frame: Frame, depth: int, width: int, dropout: float) -> Model:
    width = arguments.integer(frame.name, "width", width, 1)
    dropout = arguments.fraction(frame.name, "dropout", dropout, below_one=True)
    if arguments.integer(frame.name, "depth", depth, 10) % 6 != 4:
        raise ArgumentError(
            f"{frame.name}: found depth={depth}, expected 6n + 4; choose one of 10, 16, 22, 28, …"
        )

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        return _block(x, filters * width, strides, dropout, name)

    image = frame.image(default=(32, 32, 3))
    x = _conv(image, 16, 3, 1, "conv1")
    depths = ((depth - 4) // 6,) * 3
    x = stages(x, block, (16, 32, 64), depths, names="block{stage}.layer.{block}")
    x = _bn_relu(x, "bn1", "relu")
    return frame.model(image, x, lambda x: frame.classify(average(x), "fc"))


def _block(x: Tensor, filters: int, strides: int, dropout: float, name: str) -> Tensor:
    """F(x) + shortcut(x), F being normalization, relu and convolution twice over."""
    y = _bn_relu(x, f"{name}.bn1", f"{name}.relu1")
    kept = x
    if x.shape[-1] != filters:
        kept = _conv(y, filters, 1, strides, f"{name}.convShortcut")
    y = _conv(y, filters, 3, strides, f"{name}.conv1")
    y = _bn_relu(y, f"{name}.bn2", f"{name}.relu2")
    if dropout:
        y = Dropout(dropout, name=f"{name}.dropout")(y)
    y = _conv(y, filters, 3, 1, f"{name}.conv2")
    total: Tensor = Add(name=f"{name}.add")([y, kept])
    return total


def _conv(x: Tensor, filters: int, kernel_size: int, strides: int, name: str) -> Tensor:
    conv = Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=kernel_size // 2,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )
    y: Tensor = conv(x)
    return y


def _bn_relu(x: Tensor, norm: str, relu: str) -> Tensor:
    y: Tensor = Activation("relu", name=relu)(TORCH(x, norm))
    return y
