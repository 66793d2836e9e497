# SPDX-License-Identifier: Apache-2.0
"""Xception."""

from zoo.row import Row

SOURCE = "Chollet 2016, arXiv:1610.02357"

ROWS = (
    Row(
        "Xception",
        22_855_952,
        8_357_403_496,
        "8.357 G",
        peer="timm:legacy_xception",
        source=SOURCE,
    ),
    Row(
        "Xception",
        22_855_952,
        8_357_403_496,
        "8.357 G",
        {"variant": "keras"},
        total=22_910_480,
        source=SOURCE,
        note="poolings padded by TensorFlow's rule",
    ),
)
