# SPDX-License-Identifier: Apache-2.0
"""VGG."""

from zoo.row import Row

SOURCE = "Simonyan and Zisserman 2014, arXiv:1409.1556"


def _row(layers: int, parameters: int, macs: int, published: str = "", **arguments: bool) -> Row:
    peer = f"torchvision:vgg{layers}{'_bn' if arguments else ''}"
    return Row(f"VGG{layers}", parameters, macs, published, arguments, peer=peer, source=SOURCE)


ROWS = (
    _row(11, 132_863_336, 7_609_090_048, "7.609 G"),
    _row(13, 133_047_848, 11_308_466_176, "11.308 G"),
    _row(16, 138_357_544, 15_470_264_320, "15.470 G"),
    _row(19, 143_667_240, 19_632_062_464, "19.632 G"),
    _row(11, 132_868_840, 7_609_090_048, batch_norm=True),
    _row(13, 133_053_736, 11_308_466_176, batch_norm=True),
    _row(16, 138_365_992, 15_470_264_320, batch_norm=True),
    _row(19, 143_678_248, 19_632_062_464, batch_norm=True),
    Row(
        "VGG16",
        134_268_738,
        15_466_176_512,
        "15.466 G",
        {"classes": 2},
        output=(None, 2),
        source=SOURCE,
        note="the slide's 134,268,737 is one short",
    ),
    Row(
        "VGG16",
        134_264_641,
        15_466_172_416,
        arguments={"classes": 1, "classifier_activation": "sigmoid"},
        output=(None, 1),
        source=SOURCE,
    ),
)
