# SPDX-License-Identifier: Apache-2.0
"""MobileNet: each 3x3 convolution becomes a depthwise one and a 1x1 one.

A. G. Howard et al. (2017), "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, table 1. Filters of a 3x3 convolution with stride 2, then of
thirteen separable ones; the first of each line but the first halves the image:

    112x112    32
    112x112    64
    56x56     128   128
    28x28     256   256
    14x14     512   512   512   512   512   512
    7x7      1024  1024
"""

from __future__ import annotations

from typing import Any

from fastcnn import arguments
from fastcnn.applications.blocks import KERAS, TORCH, Norm, conv_bn_relu, depthwise_bn_relu, scaled
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.graph import Tensor
from fastcnn.layers import Dropout, GlobalAveragePooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"timm": "tf", "keras": "tf"})

# (filters, how many convolutions)
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))

NORMS = {"timm": TORCH, "keras": KERAS}

# What Keras pads before a stride of 2, whatever the size of the image.
BOTTOM_RIGHT = ((0, 1), (0, 1))


def _separable(
    x: Tensor, filters: int, strides: int, padding: Any, norm: Norm, name: str
) -> Tensor:
    """A 3x3 depthwise and a 1x1 convolution, each with its normalization and relu6."""
    names = (f"{name}.conv_dw", f"{name}.bn1")
    x = depthwise_bn_relu(x, 3, strides, padding, names=names, norm=norm, activation="relu6")
    names = (f"{name}.conv_pw", f"{name}.bn2")
    return conv_bn_relu(x, filters, 1, names=names, norm=norm, activation="relu6")


def _mobilenet(frame: Frame, alpha: float, dropout: float, variant: str) -> Model:
    """The network with `alpha` times the filters of `STAGES`."""
    arguments.one_of(frame.name, "variant", variant, tuple(NORMS))
    alpha = arguments.positive(frame.name, "alpha", alpha)
    dropout = arguments.fraction(frame.name, "dropout", dropout, below_one=True)
    keras, norm = variant == "keras", NORMS[variant]
    image = frame.image(smallest=31 if keras else 1)

    def width(filters: int) -> int:
        return max(1, int(filters * alpha)) if keras else scaled(filters, alpha)

    names, padding = ("conv_stem", "bn1"), "same" if keras else 1
    x = conv_bn_relu(image, width(32), 3, 2, padding, names=names, norm=norm, activation="relu6")
    for stage, (filters, count) in enumerate(STAGES):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            sides: Any = BOTTOM_RIGHT if keras and strides == 2 else 1
            x = _separable(x, width(filters), strides, sides, norm, f"blocks.{stage}.{block}")

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="global_pool")(x)
        x = Dropout(dropout, name="dropout")(x)
        return frame.classify(x, "classifier")

    return frame.model(image, x, top)


def MobileNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    alpha: float = 1.0,
    dropout: float = 0.001,
    variant: str = "timm",
    name: str = "mobilenet",
) -> Model:
    """4,231,976 parameters and 568.7 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C).
        pooling: without the top, None (maps of the last convolution), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        alpha: factor of all numbers of filters; rounded to multiples of 8, or by Keras down.
        dropout: share of the pooled features that training sets to zero.
        variant: "timm"; "keras" pads rows below and columns on the right where timm pads on all
            sides, and has an epsilon of 1e-3 and a momentum of 0.99.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("mobilenet", alpha == 1 and variant == "timm")
    return _mobilenet(frame, alpha, dropout, variant)
