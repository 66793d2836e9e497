# SPDX-License-Identifier: Apache-2.0
"""AlexNet.

A. Krizhevsky, I. Sutskever, G. Hinton (2012), "ImageNet Classification with Deep Convolutional
Neural Networks", NIPS 25: the variant "paper", whose layers are named as in Caffe. Its images are
227 pixels wide: with the 224 that the text gives, figure 2's 55 x 55 maps do not come about. The
published PyTorch weights are for A. Krizhevsky (2014), "One weird trick for parallelizing
convolutional neural networks", arXiv:1404.5997: fewer filters, no groups, no normalization.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fastcnn import arguments
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import (
    RELU,
    Conv,
    Step,
    Table,
    biased,
    follow,
    hidden,
    last,
    numbered,
)
from fastcnn.graph import Tensor
from fastcnn.layers import (
    AdaptiveAveragePooling2D,
    Dropout,
    Flatten,
    LocalResponseNormalization,
    MaxPooling2D,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch", "paper": "caffe"})

VARIANTS = ("torchvision", "paper", "one_tower")

POOL = partial(MaxPooling2D, 3, 2)
# The paper's alpha, 1e-4, multiplies the sum over five channels; the layer's, their mean.
LRN = partial(LocalResponseNormalization, 5, alpha=5e-4, beta=0.75, k=2.0)

PAPER: dict[str, Step] = {
    "conv1": Conv(96, 11, 4),
    "relu1": RELU,
    "norm1": LRN,
    "pool1": POOL,
    "conv2": Conv(256, 5, groups=2),
    "relu2": RELU,
    "norm2": LRN,
    "pool2": POOL,
    "conv3": Conv(384, 3),
    "relu3": RELU,
    "conv4": Conv(384, 3, groups=2),
    "relu4": RELU,
    "conv5": Conv(256, 3, groups=2),
    "relu5": RELU,
    "pool5": POOL,
}

ONE_WEIRD_TRICK = (
    Conv(64, 11, 4, 2),
    RELU,
    POOL,
    Conv(192, 5),
    RELU,
    POOL,
    Conv(384, 3),
    RELU,
    Conv(256, 3),
    RELU,
    Conv(256, 3),
    RELU,
    POOL,
)


def one_tower(table: Table) -> dict[str, Step]:
    """The same table with every filter seeing all channels."""
    return {n: replace(s, groups=1) if isinstance(s, Conv) else s for n, s in table.items()}


def caffe_head(rate: float) -> dict[str, Step]:
    """The hidden layers of 4,096 units behind the maps."""
    return {
        "flatten": Flatten,
        "fc6": hidden(4096),
        "relu6": RELU,
        "drop6": partial(Dropout, rate),
        "fc7": hidden(4096),
        "relu7": RELU,
        "drop7": partial(Dropout, rate),
    }


def torchvision_head(rate: float) -> dict[str, Step]:
    """The same, from 6 x 6 maps whatever the image's size, with dropout in front."""
    drop = partial(Dropout, rate)
    layers = (drop, hidden(4096), RELU, drop, hidden(4096), RELU)
    head: dict[str, Step] = {"avgpool": partial(AdaptiveAveragePooling2D, 6), "flatten": Flatten}
    return head | numbered("classifier.", layers)


def AlexNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.5,
    variant: str = "torchvision",
    name: str = "alexnet",
) -> Model:
    """61,100,840 parameters and 714.2 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with the Dense layers.
        input_shape: (H, W, C); 224x224x3, or 227x227x3 as the paper has it.
        pooling: without the top, None (maps of the last pooling), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        dropout: rate in front of (torchvision) or behind (paper) the hidden Dense layers.
        variant: "torchvision"; "paper": two groups, local response normalization, 60,965,224
            parameters and 724.4 M multiply-accumulates at 227x227x3; "one_tower": the paper's
            without groups, 62,378,344 parameters and 1,135.3 M.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: images too small, or weights of another network.
        FileError: `weights` cannot be read.
    """
    arguments.one_of(name, "variant", variant, VARIANTS)
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    if variant == "torchvision":
        image = frame.image()
        table = numbered("features.", ONE_WEIRD_TRICK)
        head, classifier = torchvision_head(dropout), "classifier.6"
    else:
        image = frame.image((227, 227, 3))
        table = PAPER if variant == "paper" else one_tower(PAPER)
        head, classifier = caffe_head(dropout), "fc8"

    def top(x: Tensor) -> Tensor:
        return frame.classify(last(follow(x, head, biased)), classifier)

    return frame.model(image, last(follow(image, table, biased)), top)
