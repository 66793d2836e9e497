# SPDX-License-Identifier: Apache-2.0
"""Inception-ResNet v1 and v2."""

from zoo.row import Row

SOURCE = "Szegedy et al. 2016, arXiv:1602.07261"

ROWS = (
    Row(
        "InceptionResNetV1",
        22_756_328,
        6_206_361_696,
        "6.206 G",
        source=SOURCE,
        note="5, 10 and 5 residual blocks",
    ),
    Row(
        "InceptionResNetV1",
        24_357_096,
        6_308_597_856,
        arguments={"variant": "facenet"},
        source=SOURCE,
        note="5, 10 and 6 residual blocks",
    ),
    Row(
        "InceptionResNetV1",
        27_910_327,
        1_422_081_376,
        arguments={"variant": "facenet", "embedding": 512, "classes": 8631},
        output=(None, 8631),
        source=SOURCE,
        note="as facenet-pytorch's vggface2, 160 pixels",
    ),
    Row(
        "InceptionResNetV2",
        55_843_464,
        13_155_794_016,
        "13.156 G",
        peer="timm:inception_resnet_v2",
        source=SOURCE,
    ),
    Row(
        "InceptionResNetV2",
        55_813_192,
        13_155_794_016,
        "13.156 G",
        {"variant": "keras"},
        total=55_873_736,
        source=SOURCE,
        note="normalization without gamma",
    ),
)
