# SPDX-License-Identifier: Apache-2.0
"""Xception: depthwise separable convolutions with shortcuts around them.

F. Chollet (2016), "Xception: Deep Learning with Depthwise Separable Convolutions",
arXiv:1610.02357, figure 5. Names of weights are those of timm's legacy_xception. A separable
convolution has no activation between its two halves (figure 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from fastcnn import arguments
from fastcnn.applications.blocks import KERAS, TORCH, Norm, conv_bn, conv_bn_relu
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import RELU
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"timm": "tf", "keras": "tf"})

# Filters of the separable convolutions of each block of the flows of figure 5.
ENTRY = ((128, 128), (256, 256), (728, 728))
MIDDLE = ((728, 728, 728),) * 8
EXIT = ((728, 1024),)


@final
@dataclass(frozen=True)
class Style:
    """How the strided poolings are padded, and the normalization."""

    norm: Norm
    pool_padding: int | str


STYLES = {"timm": Style(TORCH, 1), "keras": Style(KERAS, "same")}


def separable(x: Tensor, filters: int, name: str) -> Tensor:
    """3x3 per channel, then 1x1 across the channels; no biases."""
    depthwise: Any = DepthwiseConv2D(
        3, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}.conv1"
    )
    pointwise: Any = Conv2D(
        filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}.pointwise"
    )
    y: Tensor = pointwise(depthwise(x))
    return y


def _block(
    x: Tensor, name: str, widths: Sequence[int], strides: int, relu_first: bool, style: Style
) -> Tensor:
    """[relu, separable, norm] for each width, a pooling if strided, and the shortcut."""
    y, row = x, 0
    for i, filters in enumerate(widths):
        if i or relu_first:
            y = RELU(name=f"{name}.rep.{row}")(y)
            row += 1
        y = separable(y, filters, f"{name}.rep.{row}")
        y = style.norm(y, f"{name}.rep.{row + 1}")
        row += 2
    if strides > 1:
        y = MaxPooling2D(3, strides, style.pool_padding, name=f"{name}.rep.{row}")(y)
        names = (f"{name}.skip", f"{name}.skipbn")
        x = conv_bn(x, widths[-1], 1, strides, names=names, norm=style.norm)
    joined: Tensor = Add(name=f"{name}.add")([y, x])
    return joined


def _features(x: Tensor, style: Style) -> Tensor:
    """Figure 5; sizes of the maps for an image of 299 pixels."""
    for i, (filters, strides) in enumerate(((32, 2), (64, 1)), 1):  # 149, 147
        names, act = (f"conv{i}", f"bn{i}"), f"act{i}"
        x = conv_bn_relu(
            x, filters, 3, strides, "valid", names=names, activation_name=act, norm=style.norm
        )
    for i, widths in enumerate((*ENTRY, *MIDDLE, *EXIT), 1):  # 74, 37, 19, then 10 in the last
        strides = 1 if widths in MIDDLE else 2
        x = _block(x, f"block{i}", widths, strides, relu_first=i > 1, style=style)
    for i, filters in enumerate((1536, 2048), 3):
        x = RELU(name=f"act{i}")(style.norm(separable(x, filters, f"conv{i}"), f"bn{i}"))
    return x


def Xception(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.5,
    variant: str = "timm",
    name: str = "xception",
) -> Model:
    """22,855,952 parameters and 8.357 G multiply-accumulates at 299x299x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C), at least 71x71; 299x299x3.
        pooling: without the top, None (maps of the last convolution), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        dropout: rate in front of the classifier, as section 4.3; timm and Keras have none.
        variant: "timm"; "keras": poolings padded by TensorFlow's rule, which differs for maps of
            even size, and Keras' epsilon and momentum; 22,910,480 numbers with the running
            statistics.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    style = STYLES[arguments.one_of(name, "variant", variant, tuple(STYLES))]
    image = frame.image((299, 299, 3), smallest=71)

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="global_pool")(x)
        return frame.classify(Dropout(dropout, name="head_drop")(x), "fc")

    return frame.model(image, _features(image, style), top)
