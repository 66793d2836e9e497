# SPDX-License-Identifier: Apache-2.0
"""VGG; ours are torchvision's names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastcnn.weights.dialects.base import Dialect, by_layer, layers_of

# timm has the first two dense layers as convolutions of 7x7 and 1x1; the numbers are the same.
TIMM = Dialect(
    "timm's names of VGG",
    "torch",
    by_layer(
        (
            (r"pre_logits\.fc1", "classifier.0"),
            (r"pre_logits\.fc2", "classifier.3"),
            (r"head\.fc", "classifier.6"),
        )
    ),
)

_CONV = re.compile(r"block(\d)_conv(\d)")
_DENSE = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}


def _keras(names: Sequence[str]) -> dict[str, str]:
    """torchvision numbers all layers: a convolution and its ReLU are two, a pool is one."""
    convs = [match for match in map(_CONV.fullmatch, layers_of(names)) if match]
    ours = dict(_DENSE)
    number = 0
    block = "1"
    for match in sorted(convs, key=lambda m: (int(m[1]), int(m[2]))):
        number += match[1] != block
        block = match[1]
        ours[match[0]] = f"features.{number}"
        number += 2
    return by_layer([(re.escape(layer), name) for layer, name in ours.items()])(names)


KERAS = Dialect("Keras' names of VGG", "keras", _keras)

ALL = (TIMM, KERAS)
