# SPDX-License-Identifier: Apache-2.0
"""Residual networks for ImageNet, and the same ones for small images.

K. He, X. Zhang, S. Ren, J. Sun (2015), "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, table 1:

    output size   18 and 34 layers      50, 101 and 152 layers
    112x112       7x7, 64, stride 2     the same
    56x56         3x3 max-pooling, stride 2, then the first of four stages of blocks, which have
    56 .. 7       64 128 256 512        256 512 1024 2048 channels
    1x1           global average pooling and a Dense layer

ResNeXt, S. Xie et al. (2016), arXiv:1611.05431, cuts the 3x3 convolutions into groups. Wide
residual networks, S. Zagoruyko and N. Komodakis (2016), arXiv:1605.07146, widen them.

The variants of the networks with 50 and more layers differ in three things:

    variant       strides in the    biases   epsilon     momentum
    torchvision   3x3 convolution   no       1e-5        0.9
    paper         first 1x1         no       1e-5        0.9
    keras         first 1x1         yes      1.001e-5    0.99

Names of weights are torchvision's in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fastcnn import arguments
from fastcnn.applications.blocks import (
    TORCH,
    Norm,
    basic,
    bottleneck,
    conv_bn_relu,
    residual,
    stages,
)
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.graph import Tensor
from fastcnn.layers import GlobalAveragePooling2D, MaxPooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch", "keras": "caffe"})

FILTERS = (64, 128, 256, 512)
DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STEMS = ("imagenet", "cifar")


@final
@dataclass(frozen=True)
class Variant:
    """Where implementations differ: strides early in a block, biases, normalization."""

    early: bool
    use_bias: bool
    norm: Norm


VARIANTS = {
    "torchvision": Variant(early=False, use_bias=False, norm=TORCH),
    "paper": Variant(early=True, use_bias=False, norm=TORCH),
    "keras": Variant(early=True, use_bias=True, norm=Norm(epsilon=1.001e-5, momentum=0.99)),
}


def resnet(
    frame: Frame,
    depth: int,
    block: Callable[[Tensor, int, int, str], Tensor],
    stem: str = "imagenet",
    variant: Variant = VARIANTS["torchvision"],
) -> Model:
    """Stem, four stages and classifier.

    Args:
        frame: how the network begins and ends.
        depth: number of layers, a key of `DEPTHS`.
        block: draws a block, from (x, filters, strides, name).
        stem: "imagenet", or "cifar" for small images.
        variant: bias and normalization of the stem.
    """
    arguments.one_of(frame.name, "stem", stem, STEMS)
    image = frame.image(default=(32, 32, 3) if stem == "cifar" else (224, 224, 3))
    size, strides = (3, 1) if stem == "cifar" else (7, 2)
    x = conv_bn_relu(
        image,
        FILTERS[0],
        size,
        strides,
        size // 2,
        names=("conv1", "bn1"),
        norm=variant.norm,
        use_bias=variant.use_bias,
    )
    if stem == "imagenet":
        x = MaxPooling2D(3, strides=2, padding=1, name="maxpool")(x)
    x = stages(x, block, FILTERS, DEPTHS[depth])
    return frame.model(image, x, lambda x: frame.classify(average(x), "fc"))


def average(x: Tensor) -> Tensor:
    """The mean of each map."""
    means: Tensor = GlobalAveragePooling2D(name="avgpool")(x)
    return means


def _basic(frame: Frame, depth: int, stem: str) -> Model:
    """A network of basic blocks, in which variants do not differ."""

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        return residual(x, basic(filters, strides), name=name)

    return resnet(frame, depth, block, stem)


def _bottleneck(frame: Frame, depth: int, stem: str, variant: str) -> Model:
    """A network of bottleneck blocks."""
    arguments.one_of(frame.name, "variant", variant, tuple(VARIANTS))
    chosen = VARIANTS[variant]

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        branch = bottleneck(filters, strides, early=chosen.early)
        return residual(x, branch, name=name, norm=chosen.norm, use_bias=chosen.use_bias)

    return resnet(frame, depth, block, stem, chosen)


def _wide(frame: Frame, depth: int, groups: int, width_per_group: int) -> Model:
    """A network of bottleneck blocks whose 3x3 convolutions have groups, or more channels."""
    groups = arguments.integer(frame.name, "groups", groups, 1)
    per_group = arguments.integer(frame.name, "width_per_group", width_per_group, 1)

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        width = filters * per_group // 64 * groups
        return residual(x, bottleneck(filters, strides, width, groups), name=name)

    return resnet(frame, depth, block)


def ResNet18(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    stem: str = "imagenet",
    name: str = "resnet18",
) -> Model:
    """11,689,512 parameters and 1.814 G multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), any size.
        pooling: without the top, None (maps of the last stage), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        stem: "imagenet", or "cifar": 3x3 with stride 1 and no pooling, for images of 32x32. With 10
            classes it has 11,173,962 parameters.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnet18", stem == "imagenet")
    return _basic(frame, 18, stem)


def ResNet34(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    stem: str = "imagenet",
    name: str = "resnet34",
) -> Model:
    """21,797,672 parameters and 3.664 G multiply-accumulates; arguments as `ResNet18`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnet34", stem == "imagenet")
    return _basic(frame, 34, stem)


def ResNet50(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    variant: str = "torchvision",
    stem: str = "imagenet",
    name: str = "resnet50",
) -> Model:
    """25,557,032 parameters and 4.089 G multiply-accumulates (3.858 G in the other variants).

    Arguments as `ResNet18`, and

    Args:
        variant: "torchvision", "paper" or "keras".
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnet50", stem == "imagenet" and variant == "torchvision")
    return _bottleneck(frame, 50, stem, variant)


def ResNet101(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    variant: str = "torchvision",
    stem: str = "imagenet",
    name: str = "resnet101",
) -> Model:
    """44,549,160 parameters and 7.801 G multiply-accumulates; arguments as `ResNet50`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnet101", stem == "imagenet" and variant == "torchvision")
    return _bottleneck(frame, 101, stem, variant)


def ResNet152(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    variant: str = "torchvision",
    stem: str = "imagenet",
    name: str = "resnet152",
) -> Model:
    """60,192,808 parameters and 11.514 G multiply-accumulates; arguments as `ResNet50`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnet152", stem == "imagenet" and variant == "torchvision")
    return _bottleneck(frame, 152, stem, variant)


def ResNeXt50(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    groups: int = 32,
    width_per_group: int = 4,
    name: str = "resnext50",
) -> Model:
    """32x4d: 25,028,904 parameters and 4.230 G multiply-accumulates.

    Arguments as `ResNet18`, and

    Args:
        groups: of the 3x3 convolutions (the paper's cardinality).
        width_per_group: channels of a group in the first stage (the paper's d).
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnext50")
    return _wide(frame, 50, groups, width_per_group)


def ResNeXt101(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    groups: int = 32,
    width_per_group: int = 8,
    name: str = "resnext101",
) -> Model:
    """32x8d: 88,791,336 parameters and 16.414 G multiply-accumulates; arguments as `ResNeXt50`.

    The paper's 64x4d, `groups=64, width_per_group=4`, has 83,455,272 and 15.460 G.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("resnext101", (groups, width_per_group) == (32, 8))
    return _wide(frame, 101, groups, width_per_group)


def WideResNet50_2(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "wide_resnet50_2",
) -> Model:
    """68,883,240 parameters and 11.398 G multiply-accumulates; arguments as `ResNet18`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("wide_resnet50_2")
    return _wide(frame, 50, 1, 128)


def WideResNet101_2(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "wide_resnet101_2",
) -> Model:
    """126,886,696 parameters and 22.753 G multiply-accumulates; arguments as `ResNet18`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("wide_resnet101_2")
    return _wide(frame, 101, 1, 128)
