# SPDX-License-Identifier: Apache-2.0
"""The ten networks that are compared with other engines, and every shape of layer in them.

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


class Layer(NamedTuple):
    """A dense or pooling layer as it is told, and the sample (H, W, C) or (C,) it reads."""

    image: tuple[int, ...]
    layer: str
    arguments: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """For the tables."""
        given = dict(self.arguments)
        words = [self.layer, "x".join(map(str, self.image))]
        for key, letter in (
            ("units", ""),
            ("pool_size", ""),
            ("output_size", ""),
            ("strides", "s"),
        ):
            if key in given:
                words.append(letter + "x".join(map(str, np.ravel(given[key]))))
        words += [f"p{given['padding']}"] if given.get("padding", "valid") != "valid" else []
        words += ["ceil"] if given.get("ceil_mode") else []
        return "_".join(words)


POOLINGS = (
    "MaxPooling2D",
    "AveragePooling2D",
    "AdaptiveAveragePooling2D",
    "GlobalAveragePooling2D",
)


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
    shapes = []
    for leaf in drawn(name):
        if leaf.kind in ("Conv2D", "DepthwiseConv2D"):
            config = {**leaf.config, "padding": symmetric(leaf.config)}
            keys = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups")
            keys += ("depth_multiplier",)
            given = tuple((key, frozen(config[key])) for key in keys if config.get(key) is not None)
            shapes.append(Convolution(leaf.image, leaf.kind, given))
    return shapes


class Leaf(NamedTuple):
    """A layer that holds no others and reads one tensor."""

    kind: str
    config: dict[str, Any]
    image: tuple[int, ...]


@functools.cache
def drawn(name: str) -> list[Leaf]:
    """The layers of a network in order; its weights are not kept."""
    model = getattr(fastcnn.applications, name)(classifier_activation=None)
    return [
        Leaf(type(layer).__name__, layer.get_config(), tuple(layer.input.shape[1:]))
        for layer in leaves(model)
        if type(layer).__name__ != "InputLayer" and hasattr(layer.input, "shape")
    ]


@functools.cache
def layers(*kinds: str) -> dict[str, Layer]:
    """Every distinct shape of these classes of layers in the networks, by name."""
    found = [layer for name in NAMES for layer in layers_of(name, kinds)]
    return {layer.name: layer for layer in found}


def layers_of(name: str, kinds: tuple[str, ...]) -> list[Layer]:
    """The layers of these classes in a network, in order."""
    keys = ("units", "pool_size", "strides", "padding", "ceil_mode", "count_include_pad")
    keys += ("output_size",)
    return [
        Layer(
            leaf.image,
            leaf.kind,
            tuple((key, frozen(leaf.config[key])) for key in keys if key in leaf.config),
        )
        for leaf in drawn(name)
        if leaf.kind in kinds
    ]


@functools.cache
def blocks() -> dict[str, Any]:
    """Nodes of every distinct depthwise convolution that is computed with its 1x1 neighbours."""
    found = [node for name in NAMES for node in blocks_of(name)]
    return {block_name(node): node for node in found}


def blocks_of(name: str) -> list[Any]:
    """Those of one network for one image; none in a version that computes them apart."""
    try:
        from fastcnn.graph import Spec, topological
        from fastcnn.models.lowering import lower
        from fastcnn.passes import fold_batch_norm, fuse_convolutions, fuse_separable
    except ImportError:
        return []
    if all(leaf.kind != "DepthwiseConv2D" for leaf in drawn(name)):
        return []
    model = getattr(fastcnn.applications, name)(classifier_activation=None)
    outputs = fold_batch_norm(lower(model, [Spec((1, *IMAGE))], training=False).outputs)
    nodes = topological(fuse_separable(fuse_convolutions(outputs)))
    return [node for node in nodes if node.op.name == "fused_separable_conv2d"]


def block_name(node: Any) -> str:
    """For the tables: what is read, the depthwise kernel, and what is made."""
    x, kernel = node.inputs[0].spec.sizes, node.inputs[1].spec.sizes
    words = ["x".join(map(str, x[1:])), "x".join(map(str, kernel[:3])), str(node.op.filters)]
    words += [f"s{node.op.strides[0]}"] if node.op.strides[0] > 1 else []
    words += ["expands"] if node.op.expands else []
    words += ["sum"] if len(node.inputs) == 6 + 2 * node.op.expands else []
    return "_".join(words)


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


def alone(shape: Convolution | Layer) -> fastcnn.Model:
    """A network of this layer; behind a convolution, its bias and a ReLU."""
    x = fastcnn.Input(shape.image)
    given = {"activation": "relu"} if isinstance(shape, Convolution) else {}
    layer = getattr(fastcnn.layers, shape.layer)(**given, **dict(shape.arguments))
    return fastcnn.Model(x, layer(x))
