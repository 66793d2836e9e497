# SPDX-License-Identifier: Apache-2.0
"""Squeeze-and-excitation networks.

J. Hu, L. Shen, S. Albanie, G. Sun, E. Wu (2017), "Squeeze-and-Excitation Networks",
arXiv:1709.01507, table 1 and appendix: ResNet's and ResNeXt's blocks, whose branch ends with
`squeeze_excite`. SENet-154 has 3, 8, 36 and 3 of these blocks:

    1x1, 2 filters   3x3, 4 filters in 64 groups   1x1, 4 filters   (of 64, 128, 256, 512)

three 3x3 convolutions at the beginning, 3x3 projections where maps shrink, and dropout at the end.

There are two dialects of names and of details in timm, and public checkpoints of both:

    variant   names                 SEResNet50 strides in   max-pooling of the stem
    timm      conv1, se, fc         3x3 convolution         padding 1
    legacy    layer0.conv1,         first 1x1               no padding, incomplete windows at the
              se_module,            (the paper's)           bottom and right (the paper's, in Caffe)
              last_linear
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from fastcnn import arguments
from fastcnn.applications.blocks import (
    Conv,
    bottleneck,
    conv_bn_relu,
    residual,
    squeeze_excite,
    stages,
)
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.resnet import DEPTHS, FILTERS, average, resnet
from fastcnn.graph import Tensor
from fastcnn.layers import Dropout, MaxPooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"timm": "torch", "legacy": "torch"})

VARIANTS = ("timm", "legacy")
# (filters, size) of the convolutions before the first stage; the first of them strides.
RESNET_STEM = ((64, 7),)
SENET154_STEM = ((64, 3), (64, 3), (128, 3))


def SEResNet50(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    variant: str = "timm",
    name: str = "seresnet50",
) -> Model:
    """28,088,024 parameters and 4.092 G multiply-accumulates at 224x224x3 ("legacy": 3.860 G).

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), any size ("legacy": from 3x3).
        pooling: without the top, None (maps of the last stage), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        variant: "timm" or "legacy".
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("seresnet50", variant == "timm")
    return _seresnet(frame, variant, early=variant == "legacy")


def SEResNeXt50(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    variant: str = "timm",
    name: str = "seresnext50",
) -> Model:
    """32x4d: 27,559,896 parameters and 4.233 G multiply-accumulates; arguments as `SEResNet50`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("seresnext50", variant == "timm")
    return _seresnet(frame, variant, groups=32, width_per_group=4)


def SENet154(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.2,
    name: str = "senet154",
) -> Model:
    """115,088,984 parameters and 20.688 G multiply-accumulates; the names are the legacy ones.

    Arguments as `SEResNet50`, and

    Args:
        dropout: share of the features that are dropped before the classifier.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    return _legacy(frame, SENET154_STEM, _senet154_block, DEPTHS[152], dropout)


def _seresnet(
    frame: Frame,
    variant: str,
    early: bool = False,
    groups: int = 1,
    width_per_group: int = 64,
) -> Model:
    """50 layers, in either dialect."""
    arguments.one_of(frame.name, "variant", variant, VARIANTS)
    part = "se" if variant == "timm" else "se_module"

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        width = filters * width_per_group // 64 * groups
        branch = bottleneck(filters, strides, width, groups, early)
        excite = partial(squeeze_excite, name=f"{name}.{part}")
        return residual(x, branch, name=name, excite=excite)

    if variant == "timm":
        return resnet(frame, 50, block)
    return _legacy(frame, RESNET_STEM, block, DEPTHS[50])


def _legacy(
    frame: Frame,
    stem: Sequence[tuple[int, int]],
    block: Callable[[Tensor, int, int, str], Tensor],
    depths: Sequence[int],
    dropout: float = 0.0,
) -> Model:
    """The legacy dialect: stem, four stages, dropout and classifier."""
    dropout = arguments.fraction(frame.name, "dropout", dropout, below_one=True)
    image = x = frame.image(smallest=3)
    for index, (filters, size) in enumerate(stem, 1):
        strides = 2 if index == 1 else 1
        names = (f"layer0.conv{index}", f"layer0.bn{index}")
        x = conv_bn_relu(x, filters, size, strides, size // 2, names=names)
    x = MaxPooling2D(3, strides=2, ceil_mode=True, name="pool0")(x)
    x = stages(x, block, FILTERS, depths)

    def top(x: Tensor) -> Tensor:
        x = average(x)
        if dropout:
            x = Dropout(dropout, name="dropout")(x)
        return frame.classify(x, "last_linear")

    return frame.model(image, x, top)


def _senet154_block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    width = 4 * filters
    branch = Conv(2 * filters, 1), Conv(width, 3, strides, groups=64), Conv(width, 1)
    excite = partial(squeeze_excite, name=f"{name}.se_module")
    size = 1 if strides == 1 else 3
    return residual(x, branch, name=name, excite=excite, projection_size=size)
