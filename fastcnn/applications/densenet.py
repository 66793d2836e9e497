# SPDX-License-Identifier: Apache-2.0
"""The densely connected networks: every layer of a block reads the maps of all layers before it.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger (2016), "Densely Connected Convolutional
Networks", arXiv:1608.06993. Table 1, the layers of each block, and the maps that a layer adds:

    image         56x56   28x28   14x14   7x7   growth
    DenseNet121     6      12      24     16      32
    DenseNet161     6      12      36     24      48
    DenseNet169     6      12      32     32      32
    DenseNet201     6      12      48     32      32

A layer is norm-relu-conv twice: 1x1 to four times the growth (the bottleneck), then 3x3. Between
two blocks, a transition halves the number of maps and both sides of the image. `DenseNetCIFAR` is
section 4.2: three equal blocks at 32x32, 16x16 and 8x8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fastcnn import arguments
from fastcnn.applications.blocks import TORCH, Norm, conv_bn_relu
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Activation,
    AveragePooling2D,
    Concatenate,
    Conv2D,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch", "keras": "torch"})

NORMS = {"torchvision": TORCH, "keras": Norm(epsilon=1.001e-5, momentum=0.99)}


@final
@dataclass(frozen=True)
class _Style:
    """What the blocks of one network have in common.

    Attributes:
        growth: maps that a layer adds.
        norm: its batch normalization.
        dropout: share of their values that training sets to zero.
        bottleneck: layers begin with a 1x1 convolution, and transitions halve the maps.
    """

    growth: int
    norm: Norm
    dropout: float
    bottleneck: bool = True


def _imagenet(
    frame: Frame, layers: Sequence[int], growth: int, dropout: float, variant: str
) -> Model:
    """Four blocks of so many `layers`, behind the stem of ResNet with 2 x growth maps."""
    arguments.one_of(frame.name, "variant", variant, tuple(NORMS))
    style = _Style(growth, NORMS[variant], dropout)
    # Stem and transitions leave at least one pixel of 29.
    image = frame.image(smallest=29)
    names = ("features.conv0", "features.norm0")
    x = conv_bn_relu(
        image, 2 * growth, 7, 2, 3, names=names, norm=style.norm, activation_name="features.relu0"
    )
    x = MaxPooling2D(3, 2, padding=1, name="features.pool0")(x)
    return _dense_blocks(frame, image, x, layers, style)


def _dense_blocks(
    frame: Frame, image: Tensor, x: Tensor, layers: Sequence[int], style: _Style
) -> Model:
    """Blocks of so many `layers`, a transition between any two, and the top."""
    arguments.fraction(frame.name, "dropout", style.dropout, below_one=True)
    for block, count in enumerate(layers, 1):
        for layer in range(1, count + 1):
            x = _dense_layer(x, style, f"features.denseblock{block}.denselayer{layer}")
        if block < len(layers):
            x = _transition(x, style, f"features.transition{block}")
    norm = f"features.norm{len(layers) + 1}"
    x = Activation("relu", name=f"{norm}.relu")(style.norm(x, norm))

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="avgpool")(x)
        return frame.classify(x, "classifier")

    return frame.model(image, x, top)


def _dense_layer(x: Tensor, style: _Style, name: str) -> Tensor:
    """(N, H, W, C) -> (N, H, W, C + growth): x itself, and new maps computed from it."""
    y, last = x, 1
    if style.bottleneck:
        y, last = _norm_relu_conv(x, 4 * style.growth, 1, style.norm, name, "1"), 2
    y = _norm_relu_conv(y, style.growth, 3, style.norm, name, str(last))
    if style.dropout:
        y = Dropout(style.dropout, name=f"{name}.drop")(y)
    joined: Tensor = Concatenate(name=f"{name}.concat")([x, y])
    return joined


def _transition(x: Tensor, style: _Style, name: str) -> Tensor:
    """(N, H, W, C) -> (N, H/2, W/2, C or, with bottlenecks, C/2)."""
    channels = int(x.shape[-1] or 0)
    filters = channels // 2 if style.bottleneck else channels
    y = _norm_relu_conv(x, filters, 1, style.norm, name)
    pooled: Tensor = AveragePooling2D(2, name=f"{name}.pool")(y)
    return pooled


def _norm_relu_conv(
    x: Tensor, filters: int, size: int, norm: Norm, name: str, number: str = ""
) -> Tensor:
    """The pre-activated convolution."""
    x = Activation("relu", name=f"{name}.relu{number}")(norm(x, f"{name}.norm{number}"))
    conv = Conv2D(
        filters,
        size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}.conv{number}",
    )
    y: Tensor = conv(x)
    return y


def DenseNet121(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.0,
    variant: str = "torchvision",
    name: str = "densenet121",
) -> Model:
    """7,978,856 parameters and 2.834 G multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 29x29.
        pooling: without the top, None (maps of the last block), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        dropout: share of what each dense layer adds that training sets to zero.
        variant: "torchvision"; "keras" has an epsilon of 1.001e-5 and a momentum of 0.99.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("densenet121", variant == "torchvision")
    return _imagenet(frame, (6, 12, 24, 16), 32, dropout, variant)


def DenseNet161(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.0,
    variant: str = "torchvision",
    name: str = "densenet161",
) -> Model:
    """28,681,000 parameters and 7.728 G multiply-accumulates; arguments as `DenseNet121`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("densenet161", variant == "torchvision")
    return _imagenet(frame, (6, 12, 36, 24), 48, dropout, variant)


def DenseNet169(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.0,
    variant: str = "torchvision",
    name: str = "densenet169",
) -> Model:
    """14,149,480 parameters and 3.360 G multiply-accumulates; arguments as `DenseNet121`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("densenet169", variant == "torchvision")
    return _imagenet(frame, (6, 12, 32, 32), 32, dropout, variant)


def DenseNet201(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.0,
    variant: str = "torchvision",
    name: str = "densenet201",
) -> Model:
    """20,013,928 parameters and 4.291 G multiply-accumulates; arguments as `DenseNet121`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("densenet201", variant == "torchvision")
    return _imagenet(frame, (6, 12, 48, 32), 32, dropout, variant)


def DenseNetCIFAR(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    depth: int = 100,
    growth: int = 12,
    bottleneck: bool = True,
    dropout: float = 0.0,
    name: str = "densenet_cifar",
) -> Model:
    """DenseNet-BC(100, 12): 769,162 parameters, 287.9 M multiply-accumulates at 32x32x3.

    Args:
        depth: layers with weights: 3 n + 4, or 6 n + 4 with bottlenecks.
        growth: maps that a layer adds.
        bottleneck: a 1x1 convolution before each 3x3 one, transitions that halve the number of
            maps, and a stem of 2 x growth in place of 16 maps: the paper's DenseNet-BC.
        dropout: as in `DenseNet121`, like all other arguments; the paper has 0.2 where images are
            not augmented.

    Raises:
        ArgumentError: also for a depth that no three equal blocks have.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    growth = arguments.integer(name, "growth", growth, 1)
    depth = arguments.integer(name, "depth", depth, 1)
    layers, rest = divmod(depth - 4, 6 if bottleneck else 3)
    if rest or layers < 1:
        form = "6 n + 4 with bottlenecks" if bottleneck else "3 n + 4 without bottlenecks"
        raise ArgumentError(f"{name}: found depth={depth}, expected {form}, such as 40 or 100")
    image = frame.image((32, 32, 3), smallest=4)
    stem = Conv2D(
        2 * growth if bottleneck else 16,
        3,
        padding=1,
        use_bias=False,
        kernel_initializer="he_normal",
        name="features.conv0",
    )
    style = _Style(growth, TORCH, dropout, bottleneck)
    return _dense_blocks(frame, image, stem(image), 3 * (layers,), style)
