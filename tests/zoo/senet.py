# SPDX-License-Identifier: Apache-2.0
"""Squeeze-and-excitation networks."""

from zoo.row import Row

HU = "Hu et al. 2017, arXiv:1709.01507"

ROWS = (
    Row(
        "SEResNet50",
        28_088_024,
        4_091_699_200,
        "4.092 G",
        peer="timm:seresnet50",
        source=HU,
        note="strides in the 3x3 convolution of a block",
    ),
    Row(
        "SEResNet50",
        28_088_024,
        3_860_488_192,
        "3.860 G",
        {"variant": "legacy"},
        peer="timm:legacy_seresnet50",
        peer_arguments={"drop_rate": 0.0},
        source=HU,
        note="strides in the first 1x1 convolution of a block, as in the paper",
    ),
    Row(
        "SEResNeXt50",
        27_559_896,
        4_232_994_816,
        "4.233 G",
        peer="timm:seresnext50_32x4d",
        source=HU,
        note="32x4d",
    ),
    Row(
        "SEResNeXt50",
        27_559_896,
        4_232_994_816,
        "4.233 G",
        {"variant": "legacy"},
        peer="timm:legacy_seresnext50_32x4d",
        peer_arguments={"drop_rate": 0.0},
        source=HU,
        note="32x4d",
    ),
    Row(
        "SENet154",
        115_088_984,
        20_688_363_520,
        "20.688 G",
        peer="timm:legacy_senet154",
        peer_arguments={"drop_rate": 0.0},
        source=HU,
    ),
)
