# SPDX-License-Identifier: Apache-2.0
"""The MobileNets."""

from zoo.row import Row

HOWARD = "Howard et al. 2017, arXiv:1704.04861"
SANDLER = "Sandler et al. 2018, arXiv:1801.04381"
KERAS = {"variant": "keras"}

ROWS = (
    Row(
        "MobileNet",
        4_231_976,
        568_740_352,
        "568.7 M",
        peer="timm:mobilenetv1_100",
        source=HOWARD,
    ),
    Row("MobileNet", 4_231_976, 568_740_352, arguments=KERAS, total=4_253_864, source=HOWARD),
    Row(
        "MobileNetV2",
        3_504_872,
        300_774_272,
        "300.8 M",
        peer="torchvision:mobilenet_v2",
        source=SANDLER,
    ),
    Row("MobileNetV2", 3_504_872, 300_774_272, arguments=KERAS, total=3_538_984, source=SANDLER),
)
