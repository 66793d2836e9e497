# SPDX-License-Identifier: Apache-2.0
"""Inception v3."""

from zoo.row import Row

SOURCE = "Szegedy et al. 2015, arXiv:1512.00567"

ROWS = (
    Row(
        "InceptionV3",
        23_834_568,
        5_713_216_096,
        "5.713 G",
        peer="torchvision:inception_v3",
        peer_arguments={"aux_logits": False, "init_weights": False},
        source=SOURCE,
    ),
    Row(
        "InceptionV3",
        27_161_264,
        5_718_899_296,
        arguments={"auxiliary": True},
        peer="torchvision:inception_v3",
        peer_arguments={"aux_logits": True, "init_weights": False},
        source=SOURCE,
    ),
    Row(
        "InceptionV3",
        23_817_352,
        5_713_216_096,
        "5.713 G",
        {"variant": "keras"},
        total=23_851_784,
        source=SOURCE,
        note="normalization without gamma, average pooling without its padding",
    ),
)
