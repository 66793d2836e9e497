# SPDX-License-Identifier: Apache-2.0
"""AlexNet in its three forms, and ZFNet."""

from zoo.row import Row

KRIZHEVSKY = "Krizhevsky et al. 2012, NIPS 25"

ROWS = (
    Row(
        "AlexNet",
        61_100_840,
        714_188_480,
        "714.2 M",
        peer="torchvision:alexnet",
        source="Krizhevsky 2014, arXiv:1404.5997",
    ),
    Row(
        "AlexNet",
        60_965_224,
        724_406_816,
        "724.4 M",
        {"variant": "paper"},
        source=KRIZHEVSKY,
        note="227 pixels, two groups, local response normalization",
    ),
    Row(
        "AlexNet",
        62_378_344,
        1_135_256_096,
        "1,135.3 M",
        {"variant": "one_tower"},
        source=KRIZHEVSKY,
        note="227 pixels, without groups",
    ),
    Row(
        "ZFNet",
        62_357_608,
        1_168_032_896,
        "1,168.0 M",
        source="Zeiler and Fergus 2013, arXiv:1311.2901",
        note="14.8 % top-5 error as an ensemble; Clarifai's entry with more data had 11.2 %",
    ),
)
