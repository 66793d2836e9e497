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
    Row(
        "MobileNet",
        6_270_840,
        879_516_800,
        arguments={"alpha": 1.25},
        peer="timm:mobilenetv1_125",
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
    *(
        Row(
            "MobileNetV2",
            parameters,
            macs,
            arguments={"alpha": alpha},
            peer="torchvision:mobilenet_v2",
            peer_arguments={"width_mult": alpha},
            source=SANDLER,
        )
        for alpha, parameters, macs in ((0.5, 1_968_680, 97_131_840), (1.4, 6_108_776, 582_195_824))
    ),
    Row("MobileNetV2", 3_504_872, 300_774_272, arguments=KERAS, total=3_538_984, source=SANDLER),
)
