# SPDX-License-Identifier: Apache-2.0
"""The densely connected networks."""

from zoo.row import Row

HUANG = "Huang et al. 2016, arXiv:1608.06993"
KERAS = {"variant": "keras"}
CIFAR = {"output": (None, 10), "source": HUANG}

ROWS = (
    Row(
        "DenseNet121",
        7_978_856,
        2_834_161_664,
        "2.834 G",
        peer="torchvision:densenet121",
        source=HUANG,
    ),
    Row(
        "DenseNet161",
        28_681_000,
        7_727_907_072,
        "7.728 G",
        peer="torchvision:densenet161",
        source=HUANG,
    ),
    Row(
        "DenseNet169",
        14_149_480,
        3_359_843_328,
        "3.360 G",
        peer="torchvision:densenet169",
        source=HUANG,
    ),
    Row(
        "DenseNet201",
        20_013_928,
        4_291_365_888,
        "4.291 G",
        peer="torchvision:densenet201",
        source=HUANG,
    ),
    Row("DenseNet121", 7_978_856, 2_834_161_664, arguments=KERAS, total=8_062_504, source=HUANG),
    Row("DenseNet169", 14_149_480, 3_359_843_328, arguments=KERAS, total=14_307_880, source=HUANG),
    Row("DenseNet201", 20_013_928, 4_291_365_888, arguments=KERAS, total=20_242_984, source=HUANG),
    Row(
        "DenseNetCIFAR",
        1_019_722,
        264_812_928,
        "264.8 M",
        arguments={"depth": 40, "bottleneck": False},
        note="DenseNet (L=40, k=12)",
        **CIFAR,
    ),
    Row("DenseNetCIFAR", 769_162, 287_929_692, "287.9 M", note="BC (L=100, k=12)", **CIFAR),
    Row(
        "DenseNetCIFAR",
        15_324_406,
        5_418_785_724,
        "5,418.8 M",
        arguments={"depth": 250, "growth": 24},
        note="BC (L=250, k=24)",
        **CIFAR,
    ),
    Row(
        "DenseNetCIFAR",
        25_624_430,
        9_301_945_740,
        "9,301.9 M",
        arguments={"depth": 190, "growth": 40},
        note="BC (L=190, k=40)",
        **CIFAR,
    ),
)
