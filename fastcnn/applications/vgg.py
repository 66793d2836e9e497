# SPDX-License-Identifier: Apache-2.0
"""VGG: nothing but 3x3 convolutions and 2x2 poolings.

K. Simonyan, A. Zisserman (2014), "Very Deep Convolutional Networks for Large-Scale Image
Recognition", arXiv:1409.1556, table 1.
"""

from __future__ import annotations

from functools import partial

from fastcnn.applications.blocks import TORCH
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import RELU, Conv, Step, biased, follow, hidden, last, numbered
from fastcnn.graph import Tensor
from fastcnn.layers import (
    AdaptiveAveragePooling2D,
    BatchNormalization,
    Dropout,
    Flatten,
    MaxPooling2D,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch", "keras": "caffe"})

# Filters of the convolutions in each stage; a pooling follows every stage.
TABLE_1 = {
    "A": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "B": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "D": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "E": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}

POOL = partial(MaxPooling2D, 2)
BATCH_NORM = partial(BatchNormalization, epsilon=TORCH.epsilon, momentum=TORCH.momentum)


def _vgg(frame: Frame, column: str, batch_norm: bool, dropout: float) -> Model:
    """The network of one column of table 1."""
    steps: list[Step] = []
    for stage in TABLE_1[column]:
        for filters in stage:
            steps += [Conv(filters, 3), *([BATCH_NORM] if batch_norm else []), RELU]
        steps.append(POOL)
    drop = partial(Dropout, dropout)
    head: dict[str, Step] = {"avgpool": partial(AdaptiveAveragePooling2D, 7), "flatten": Flatten}
    head |= numbered("classifier.", (hidden(4096), RELU, drop, hidden(4096), RELU, drop))

    def top(x: Tensor) -> Tensor:
        return frame.classify(last(follow(x, head, biased)), "classifier.6")

    # Five poolings leave nothing of less than 32 pixels.
    image = frame.image(smallest=32)
    return frame.model(image, last(follow(image, numbered("features.", steps), biased)), top)


def VGG11(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    batch_norm: bool = False,
    dropout: float = 0.5,
    name: str = "vgg11",
) -> Model:
    """132,863,336 parameters and 7.609 G multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with the Dense layers.
        input_shape: (H, W, C), at least 32x32; 224x224x3.
        pooling: without the top, None (maps of the last pooling), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        batch_norm: a batch normalization behind every convolution.
        dropout: rate behind the hidden Dense layers.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("vgg11", not batch_norm)
    return _vgg(frame, "A", batch_norm, dropout)


def VGG13(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    batch_norm: bool = False,
    dropout: float = 0.5,
    name: str = "vgg13",
) -> Model:
    """133,047,848 parameters and 11.308 G multiply-accumulates; arguments as `VGG11`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("vgg13", not batch_norm)
    return _vgg(frame, "B", batch_norm, dropout)


def VGG16(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    batch_norm: bool = False,
    dropout: float = 0.5,
    name: str = "vgg16",
) -> Model:
    """138,357,544 parameters and 15.470 G multiply-accumulates; arguments as `VGG11`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("vgg16", not batch_norm)
    return _vgg(frame, "D", batch_norm, dropout)


def VGG19(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    batch_norm: bool = False,
    dropout: float = 0.5,
    name: str = "vgg19",
) -> Model:
    """143,667,240 parameters and 19.632 G multiply-accumulates; arguments as `VGG11`."""
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    frame = frame.trained("vgg19", not batch_norm)
    return _vgg(frame, "E", batch_norm, dropout)
