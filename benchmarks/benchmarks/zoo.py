# SPDX-License-Identifier: Apache-2.0
"""The ten networks that are compared with other engines, and every shape of convolution in them.

Shapes are found by drawing the networks, so a name says all: the sizes of an image and its
channels, the filter, and what is not usual about it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

import fastcnn

NAMES = [
    "AlexNet",
    "VGG16",
    "GoogLeNet",
    "ResNet18",
    "ResNet50",
    "ResNeXt50",
    "DenseNet121",
    "MobileNet",
    "MobileNetV2",
    "ShuffleNetV2",
]
IMAGE = (224, 224, 3)


class Convolution(NamedTuple):
    """A convolution as its layer is told, and the image (H, W, C) it reads."""

    image: tuple[int, ...]
    layer: str
    arguments: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """For the tables."""
        given = dict(self.arguments)
        R, S = given["kernel_size"]
        K = f"x{given['filters']}" if "filters" in given else ""
        unusual = [
            f"_{letter}{'x'.join(map(str, np.ravel(given[what])))}"
            for letter, what in (("s", "strides"), ("d", "dilation_rate"), ("g", "groups"))
            if what in given and np.any(np.not_equal(given[what], 1))
        ]
        padding = given["padding"]
        unusual += [f"_p{''.join(map(str, np.ravel(padding)))}"] if padding != (R - 1) // 2 else []
        return f"{self.layer}_{'x'.join(map(str, self.image))}_{R}x{S}{K}{''.join(unusual)}"


def network(name: str) -> fastcnn.Model:
    """A network with numbers for weights that neither grow nor fade on their way through it."""
    model = getattr(fastcnn.applications, name)(classifier_activation=None)
    block = np.random.default_rng(0).standard_normal(4099, dtype=np.float32)
    for weight in model.weights:
        if len(weight.shape) > 1:
            fan_in = max(1, int(np.prod(weight.shape[:-1])))
            weight.assign(np.resize(block, weight.shape) * np.sqrt(2 / fan_in))
    return model


@functools.cache
def convolutions() -> dict[str, Convolution]:
    """Every distinct shape of convolution of the networks, by name."""
    found = [shape for name in NAMES for shape in shapes_of(name)]
    return {shape.name: shape for shape in found}


def shapes_of(name: str) -> list[Convolution]:
    """The convolutions of a network in order."""
    model = getattr(fastcnn.applications, name)(classifier_activation=None)
    shapes = []
    for layer in leaves(model):
        if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D"):
            config = layer.get_config()
            keys = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups")
            keys += ("depth_multiplier",)
            config["padding"] = symmetric(config)
            given = tuple((key, frozen(config[key])) for key in keys if config.get(key) is not None)
            image = tuple(layer.input.shape[1:])
            shapes.append(Convolution(image, type(layer).__name__, given))
    return shapes


def leaves(layer: Any) -> list[Any]:
    """The layers inside a layer that hold no others."""
    inner = layer.sublayers
    return [leaf for one in inner for leaf in leaves(one)] if inner else [layer]


def symmetric(config: dict[str, Any]) -> Any:
    """The padding as one number where it is the same on all sides, however it was told."""
    (R, S), padding = config["kernel_size"], config["padding"]
    if padding == "valid":
        return 0
    plain = np.all(np.equal(config["strides"], 1)) and np.all(np.equal(config["dilation_rate"], 1))
    return (R - 1) // 2 if padding == "same" and plain and R == S and R % 2 else padding


def frozen(value: Any) -> Any:
    """Lists as tuples, which can be compared and counted."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def alone(shape: Convolution) -> fastcnn.Model:
    """A network of this convolution, its bias and a ReLU."""
    x = fastcnn.Input(shape.image)
    layer = getattr(fastcnn.layers, shape.layer)(activation="relu", **dict(shape.arguments))
    return fastcnn.Model(x, layer(x))
