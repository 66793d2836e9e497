# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet: grouped 1x1 convolutions, and a shuffle so that groups learn of each other.

X. Zhang, X. Zhou, M. Lin, J. Sun (2017), "ShuffleNet: An Extremely Efficient Convolutional Neural
Network for Mobile Devices", arXiv:1707.01083, table 1. Behind a 3x3 convolution to 24 maps and a
max pooling, both with stride 2, come three stages of 4, 8 and 4 units; the first unit of each
halves the image. Maps by number of groups, so that all cost about the same:

    groups     1     2     3     4     8
    28x28    144   200   240   272   384
    14x14    288   400   480   544   768
    7x7      576   800   960  1088  1536
"""

from __future__ import annotations

from fastcnn import arguments
from fastcnn.applications.blocks import conv_bn, conv_bn_relu, depthwise_bn
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Activation,
    Add,
    AveragePooling2D,
    ChannelShuffle,
    Concatenate,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastcnn.models import Model

preprocess_input = PreprocessInput({"paper": "torch"})

# Maps of the first stage by number of groups; each further stage has twice as many.
MAPS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
UNITS = (4, 8, 4)


def _unit(x: Tensor, maps: int, groups: int, first_groups: int, name: str) -> Tensor:
    """Figure 2(b), or where `maps` is more than x has, 2(c): half the image, x's maps kept.

    Args:
        groups: of the last 1x1 convolution and of the shuffle.
        first_groups: of the first 1x1 convolution.
    """
    channels = int(x.shape[-1] or 0)
    grows, branch = maps > channels, f"{name}.branch2"
    strides = 2 if grows else 1
    names = (f"{branch}.0", f"{branch}.1")
    y = conv_bn_relu(
        x, maps // 4, 1, names=names, groups=first_groups, activation_name=f"{branch}.2"
    )
    if groups > 1:
        y = ChannelShuffle(groups, name=f"{branch}.3")(y)
    y = depthwise_bn(y, 3, strides, 1, names=(f"{branch}.4", f"{branch}.5"))
    names = (f"{branch}.6", f"{branch}.7")
    y = conv_bn(y, maps - channels if grows else maps, 1, names=names, groups=groups)
    if grows:
        pool = AveragePooling2D(
            3, strides, padding=1, count_include_pad=True, name=f"{name}.branch1"
        )
        y = Concatenate(name=f"{name}.concat")([pool(x), y])
    else:
        y = Add(name=f"{name}.add")([x, y])
    result: Tensor = Activation("relu", name=f"{name}.relu")(y)
    return result


def ShuffleNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    groups: int = 3,
    scale: float = 1.0,
    name: str = "shufflenet",
) -> Model:
    """1,865,728 parameters and 137.5 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C).
        pooling: without the top, None (maps of the last unit), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        groups: of the 1x1 convolutions: 1, 2, 3, 4 or 8.
        scale: factor of all numbers of filters; `groups` must still divide
            what is grouped.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    arguments.one_of(name, "groups", groups, tuple(MAPS))
    scale = arguments.positive(name, "scale", scale)
    stem, maps = int(24 * scale), int(MAPS[groups] * scale)
    if not stem or (maps - stem) % groups or maps % (4 * groups):
        raise ArgumentError(
            f"{name}: found scale={scale}, which makes a stem of {stem} maps and a stage of "
            f"{maps}, expected {maps} - {stem} and {maps} / 4 to be multiples of groups={groups}; "
            "choose another scale, such as 1.0 or 2.0"
        )
    image = frame.image()
    names = ("conv1.0", "conv1.1")
    x = conv_bn_relu(image, stem, 3, 2, 1, names=names, activation_name="conv1.2")
    x = MaxPooling2D(3, 2, padding=1, name="maxpool")(x)
    for stage, units in enumerate(UNITS):
        for unit in range(units):
            # The stem has too few maps to be cut into groups.
            first = 1 if stage == unit == 0 else groups
            x = _unit(x, maps * 2**stage, groups, first, f"stage{stage + 2}.{unit}")

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="globalpool")(x)
        return frame.classify(x, "fc")

    return frame.model(image, x, top)
