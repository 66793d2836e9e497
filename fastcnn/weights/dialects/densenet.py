# SPDX-License-Identifier: Apache-2.0
"""DenseNet; ours are torchvision's names, which timm shares."""

from __future__ import annotations

import re

from fastcnn.weights.dialects.base import Dialect, by_layer

# Files from before torchvision 0.3, whose names today's Python cannot have as attributes.
OLD = Dialect(
    "torchvision's old names of DenseNet",
    "torch",
    by_layer(((r"(.*denselayer\d+\.(?:norm|conv))\.([12])", r"\1\2"),)),
)

# Keras' layers of one dense layer, in order, and ours.
_PARTS = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}


def _layer(match: re.Match[str]) -> str:
    block, layer, part = match.groups()
    return f"features.denseblock{int(block) - 1}.denselayer{layer}.{_PARTS[part]}"


def _transition(match: re.Match[str]) -> str:
    part = "norm" if match[2] == "bn" else "conv"
    return f"features.transition{int(match[1]) - 1}.{part}"


KERAS = Dialect(
    "Keras' names of DenseNet",
    "keras",
    by_layer(
        (
            (r"conv1_conv", "features.conv0"),
            (r"conv1_bn", "features.norm0"),
            (r"conv(\d)_block(\d+)_(0_bn|1_conv|1_bn|2_conv)", _layer),
            (r"pool(\d)_(bn|conv)", _transition),
            (r"bn", "features.norm5"),
            (r"predictions|fc1000", "classifier"),
        )
    ),
)

ALL = (OLD, KERAS)
