# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2: inverted residuals, wide inside and narrow where they are joined.

M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen (2018), "MobileNetV2: Inverted Residuals and
Linear Bottlenecks", arXiv:1801.04381, table 2: `STAGES` between a 3x3 convolution with stride 2 to
32 maps and a 1x1 one to 1280.
"""

from __future__ import annotations

from typing import Any

from fastcnn import arguments
from fastcnn.applications.blocks import (
    TORCH,
    Norm,
    conv_bn,
    conv_bn_relu,
    depthwise_bn_relu,
    scaled,
)
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.graph import Tensor
from fastcnn.layers import Add, Dropout, GlobalAveragePooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch", "keras": "tf"})

# (expansion t, filters c, how many n, stride of the first s)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

NORMS = {"torchvision": TORCH, "keras": Norm(epsilon=1e-3, momentum=0.999)}


def _inverted_residual(
    x: Tensor, filters: int, strides: int, expansion: int, padding: Any, norm: Norm, name: str
) -> Tensor:
    """1x1 to `expansion` times the maps, 3x3 depthwise, 1x1 to `filters` without activation."""
    channels = int(x.shape[-1] or 0)
    y, at = x, 0
    if expansion != 1:
        names = (f"{name}.conv.0.0", f"{name}.conv.0.1")
        y = conv_bn_relu(x, expansion * channels, 1, names=names, norm=norm, activation="relu6")
        at = 1
    names = (f"{name}.conv.{at}.0", f"{name}.conv.{at}.1")
    y = depthwise_bn_relu(y, 3, strides, padding, names=names, norm=norm, activation="relu6")
    names = (f"{name}.conv.{at + 1}", f"{name}.conv.{at + 2}")
    y = conv_bn(y, filters, 1, names=names, norm=norm)
    if strides == 1 and filters == channels:
        y = Add(name=f"{name}.add")([x, y])
    return y


def _mobilenet_v2(frame: Frame, alpha: float, dropout: float, variant: str) -> Model:
    """The network with `alpha` times the filters of `STAGES`."""
    arguments.one_of(frame.name, "variant", variant, tuple(NORMS))
    alpha = arguments.positive(frame.name, "alpha", alpha)
    dropout = arguments.fraction(frame.name, "dropout", dropout, below_one=True)
    norm, padding = NORMS[variant], "same" if variant == "keras" else 1
    image = frame.image()
    names, filters = ("features.0.0", "features.0.1"), scaled(32, alpha)
    x = conv_bn_relu(image, filters, 3, 2, padding, names=names, norm=norm, activation="relu6")
    blocks = [(t, c, s if i == 0 else 1) for t, c, n, s in STAGES for i in range(n)]
    for place, (expansion, filters, strides) in enumerate(blocks, 1):
        name = f"features.{place}"
        x = _inverted_residual(x, scaled(filters, alpha), strides, expansion, padding, norm, name)
    last = f"features.{len(blocks) + 1}"
    names, filters = (f"{last}.0", f"{last}.1"), scaled(1280, max(1.0, alpha))
    x = conv_bn_relu(x, filters, 1, names=names, norm=norm, activation="relu6")

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="avgpool")(x)
        x = Dropout(dropout, name="classifier.0")(x)
        return frame.classify(x, "classifier.1")

    return frame.model(image, x, top)


def MobileNetV2(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    alpha: float = 1.0,
    dropout: float = 0.2,
    variant: str = "torchvision",
    name: str = "mobilenet_v2",
) -> Model:
    """3,504,872 parameters and 300.8 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C).
        pooling: without the top, None (maps of the last convolution), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        alpha: factor of all numbers of filters, which are rounded to multiples of 8; the last 1280
            only grow.
        dropout: share of the pooled features that training sets to zero; Keras has none.
        variant: "torchvision"; "keras" pads as TensorFlow does and has an epsilon of 1e-3 and a
            momentum of 0.999.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("mobilenet_v2", alpha == 1 and variant == "torchvision")
    return _mobilenet_v2(frame, alpha, dropout, variant)
