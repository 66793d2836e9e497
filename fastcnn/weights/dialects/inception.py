# SPDX-License-Identifier: Apache-2.0
"""Inception-v3 and Inception-ResNet-v2; ours are torchvision's names, and timm's for the second.

Keras numbers the convolutions of these networks in the order in which it makes them, which is that
of the tables below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastcnn.weights.dialects.base import (
    Dialect,
    by_layer,
    layers_of,
    numbered,
    with_gammas,
)

_DBL = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_5 = ("branch1x1", "branch5x5_1", "branch5x5_2", *_DBL, "branch_pool")
_6 = (
    "branch1x1",
    *(f"branch7x7_{i}" for i in (1, 2, 3)),
    *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)),
    "branch_pool",
)
_7 = (
    "branch1x1",
    *(f"branch3x3_{i}" for i in ("1", "2a", "2b")),
    *(f"branch3x3dbl_{i}" for i in ("1", "2", "3a", "3b")),
    "branch_pool",
)
_V3_MODULES = {
    "5b": _5,
    "5c": _5,
    "5d": _5,
    "6a": ("branch3x3", *_DBL),
    "6b": _6,
    "6c": _6,
    "6d": _6,
    "6e": _6,
    "7a": ("branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))),
    "7b": _7,
    "7c": _7,
}
_V3 = [f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
_V3 += [f"Mixed_{name}.{branch}" for name, module in _V3_MODULES.items() for branch in module]

_ONE, _TWO, _THREE = ("0",), ("0", "1"), ("0", "1", "2")


def _branches(name: str, *branches: Sequence[str]) -> list[str]:
    """Units of a module: `branch0` alone where it has one, else branch0.0, branch0.1 ..."""
    return [
        f"{name}.branch{i}" if units == _ONE else f"{name}.branch{i}.{unit}"
        for i, units in enumerate(branches)
        for unit in units
    ]


_V2 = [f"conv2d_{name}" for name in ("1a", "2a", "2b", "3b", "4a")]
_V2 += _branches("mixed_5b", _ONE, _TWO, _THREE, ("1",))
_V2 += [unit for i in range(10) for unit in _branches(f"repeat.{i}", _ONE, _TWO, _THREE)]
_V2 += _branches("mixed_6a", _ONE, _THREE)
_V2 += [unit for i in range(20) for unit in _branches(f"repeat_1.{i}", _ONE, _THREE)]
_V2 += _branches("mixed_7a", _TWO, _TWO, _THREE)
_V2 += [unit for i in range(9) for unit in _branches(f"repeat_2.{i}", _ONE, _THREE)]
_V2 += _branches("block8", _ONE, _THREE)


def _numbered(names: Sequence[str], units: Sequence[str]) -> dict[str, str]:
    """Names of the numbered layers: a unit is a convolution and its normalization."""
    layers = layers_of(names)
    convs, norms = numbered(layers, "conv2d"), numbered(layers, "batch_normalization")
    if len(convs) != len(units) or len(norms) != len(units):
        return {}
    ours = {conv: f"{unit}.conv" for conv, unit in zip(convs, units, strict=True)}
    ours |= {norm: f"{unit}.bn" for norm, unit in zip(norms, units, strict=True)}
    found = {}
    for name in names:
        layer, _, variable = name.rpartition(".")
        if layer in ours:
            found[name] = f"{ours[layer]}.{variable}"
    return found


def _v3(names: Sequence[str]) -> dict[str, str]:
    return _numbered(names, _V3) | by_layer(((r"predictions", "fc"),))(names)


def _residual(match: re.Match[str]) -> str:
    """The 1x1 convolution that ends a residual block; Keras counts blocks from one."""
    size, number = match[1], int(match[2]) - 1
    if size == "8" and number == 9:
        return "block8.conv2d"
    return f"{({'35': 'repeat', '17': 'repeat_1', '8': 'repeat_2'})[size]}.{number}.conv2d"


def _v2(names: Sequence[str]) -> dict[str, str]:
    rules = (
        (r"block(35|17|8)_(\d+)_conv", _residual),
        (r"conv_7b", "conv2d_7b.conv"),
        (r"conv_7b_bn", "conv2d_7b.bn"),
        (r"predictions", "classif"),
    )
    return _numbered(names, _V2) | by_layer(rules)(names)


KERAS_V3 = Dialect("Keras' names of InceptionV3", "keras", _v3, with_gammas)
KERAS_RESNET_V2 = Dialect("Keras' names of InceptionResNetV2", "keras", _v2, with_gammas)
CADENE_RESNET_V2 = Dialect(
    "Cadène's names of Inception-ResNet-v2", "torch", by_layer(((r"last_linear", "classif"),))
)

ALL = (KERAS_V3, KERAS_RESNET_V2, CADENE_RESNET_V2)
