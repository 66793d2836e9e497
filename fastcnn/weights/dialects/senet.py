# SPDX-License-Identifier: Apache-2.0
"""Squeeze-and-excitation networks: timm's names of today, and the older ones it took over.

SE-ResNet and SE-ResNeXt here have the first, SENet-154 the second; each kind loads into either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastcnn.weights.dialects.base import Dialect, by_layer

# SENet-154 begins with three convolutions, the others with one.
_STEM = {
    "conv1.0": "conv1",
    "conv1.1": "bn1",
    "conv1.3": "conv2",
    "conv1.4": "bn2",
    "conv1.6": "conv3",
    "bn1": "bn3",
}
_STEM_OLD = {old: new for new, old in _STEM.items()}

_to_old_blocks = by_layer(
    ((r"(layer\d\.\d+)\.se\.(fc\d)", r"\1.se_module.\2"), (r"fc", "last_linear"))
)
_to_new_blocks = by_layer(
    ((r"(layer\d\.\d+)\.se_module\.(fc\d)", r"\1.se.\2"), (r"last_linear", "fc"))
)


def _to_old(names: Sequence[str]) -> dict[str, str]:
    deep = "conv1.0.weight" in names
    stem = _STEM if deep else {"conv1": "conv1", "bn1": "bn1"}
    rules = [(re.escape(new), f"layer0.{old}") for new, old in stem.items()]
    return _to_old_blocks(names) | by_layer(rules)(names)


def _to_new(names: Sequence[str]) -> dict[str, str]:
    deep = "layer0.conv3.weight" in names
    stem = _STEM_OLD if deep else {"conv1": "conv1", "bn1": "bn1"}
    rules = [(re.escape(f"layer0.{old}"), new) for old, new in stem.items()]
    return _to_new_blocks(names) | by_layer(rules)(names)


TIMM = Dialect("timm's names of SENet", "torch", _to_old)
LEGACY = Dialect("timm's legacy names of SENet", "torch", _to_new)

ALL = (TIMM, LEGACY)
