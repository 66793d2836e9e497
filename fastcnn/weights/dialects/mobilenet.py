# SPDX-License-Identifier: Apache-2.0
"""MobileNet and MobileNetV2; ours are timm's names for the first, torchvision's for the second."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fastcnn.weights.dialects.base import Dialect, by_layer

# Depthwise separable blocks in each of timm's stages of MobileNet.
_STAGES = (1, 2, 2, 6, 2)
_PLACES = [(stage, block) for stage, count in enumerate(_STAGES) for block in range(count)]

# Layers of an inverted residual as torchvision numbers them: with an expansion, and without.
_EXPANDED = ("0.0", "0.1", "1.0", "1.1", "2", "3")
_PLAIN = ("0.0", "0.1", "1", "2")
_TIMM_EXPANDED = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_TIMM_PLAIN = ("conv_dw", "bn1", "conv_pw", "bn2")
_KERAS_EXPANDED = ("expand", "expand_BN", "depthwise", "depthwise_BN", "project", "project_BN")

_TIMM_LAYER = re.compile(r"blocks\.(\d+)\.(\d+)\.(\w+)")


def _block(block: int, layers: Sequence[str]) -> dict[str, str]:
    """Names of a block's layers to torchvision's."""
    places = _EXPANDED if len(layers) == len(_EXPANDED) else _PLAIN
    return {
        layer: f"features.{block}.conv.{place}" for layer, place in zip(layers, places, strict=True)
    }


def _timm(names: Sequence[str]) -> dict[str, str]:
    """torchvision counts blocks through; timm counts stages, and blocks in each."""
    found = {(int(m[1]), int(m[2])) for m in map(_TIMM_LAYER.match, names) if m}
    ours = {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": f"features.{len(found) + 1}.0",
        "bn2": f"features.{len(found) + 1}.1",
        "classifier": "classifier.1",
    }
    for number, (stage, block) in enumerate(sorted(found), 1):
        layers = _TIMM_PLAIN if number == 1 else _TIMM_EXPANDED
        for layer, name in _block(number, layers).items():
            ours[f"blocks.{stage}.{block}.{layer}"] = name
    return by_layer([(re.escape(layer), name) for layer, name in ours.items()])(names)


def _place(layer: str) -> Callable[[re.Match[str]], str]:
    def name(match: re.Match[str]) -> str:
        number = int(match[1]) - 1
        if number >= len(_PLACES):
            return match[0]
        stage, block = _PLACES[number]
        return f"blocks.{stage}.{block}.{layer}"

    return name


def _inverted(match: re.Match[str]) -> str:
    return _block(int(match[1]) + 1, _KERAS_EXPANDED)[match[2]]


def _first(match: re.Match[str]) -> str:
    return _block(1, _KERAS_EXPANDED[2:])[match[1]]


TIMM_V2 = Dialect("timm's names of MobileNetV2", "torch", _timm)
KERAS = Dialect(
    "Keras' names of MobileNet",
    "keras",
    by_layer(
        (
            (r"conv1", "conv_stem"),
            (r"conv1_bn", "bn1"),
            (r"conv_dw_(\d+)", _place("conv_dw")),
            (r"conv_dw_(\d+)_bn", _place("bn1")),
            (r"conv_pw_(\d+)", _place("conv_pw")),
            (r"conv_pw_(\d+)_bn", _place("bn2")),
            (r"conv_preds", "classifier"),
        )
    ),
)
KERAS_V2 = Dialect(
    "Keras' names of MobileNetV2",
    "keras",
    by_layer(
        (
            (r"Conv1", "features.0.0"),
            (r"bn_Conv1", "features.0.1"),
            (r"expanded_conv_((?:depthwise|project)(?:_BN)?)", _first),
            (r"block_(\d+)_((?:expand|depthwise|project)(?:_BN)?)", _inverted),
            (r"Conv_1", "features.18.0"),
            (r"Conv_1_bn", "features.18.1"),
            (r"predictions|Logits", "classifier.1"),
        )
    ),
)

ALL = (TIMM_V2, KERAS, KERAS_V2)
