# SPDX-License-Identifier: Apache-2.0
"""Residual networks for ImageNet, the lecture's table, ResNeXt and wide ones."""

from zoo.row import Row

HE = "He et al. 2015, arXiv:1512.03385"
XIE = "Xie et al. 2016, arXiv:1611.05431"
ZAGORUYKO = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"

CIFAR = {"stem": "cifar", "classes": 10}
TAUGHT = "the lecture's table of parameters is that of the networks for CIFAR-10"
EARLY = "strides in the first 1x1 convolution of a block, as in the paper"


def imagenet(network: str, parameters: int, macs: int, published: str) -> Row:
    """A network of He et al. as torchvision has it."""
    peer = f"torchvision:{network.lower()}"
    return Row(network, parameters, macs, published, peer=peer, source=HE)


def lecture(network: str, parameters: int, macs: int, published: str) -> Row:
    """The same network with a small stem and 10 classes."""
    return Row(network, parameters, macs, published, CIFAR, (None, 10), source=HE, note=TAUGHT)


def paper(network: str, parameters: int, macs: int) -> Row:
    """The same network with the paper's strides."""
    return Row(network, parameters, macs, arguments={"variant": "paper"}, source=HE, note=EARLY)


def keras(network: str, parameters: int, macs: int, total: int) -> Row:
    """The same network as Keras has it."""
    note = f"{EARLY}; convolutions have biases, epsilon is 1.001e-5"
    return Row(
        network, parameters, macs, arguments={"variant": "keras"}, total=total, source=HE, note=note
    )


ROWS = (
    imagenet("ResNet18", 11_689_512, 1_814_073_344, "1.814 G"),
    imagenet("ResNet34", 21_797_672, 3_663_761_408, "3.664 G"),
    imagenet("ResNet50", 25_557_032, 4_089_184_256, "4.089 G"),
    imagenet("ResNet101", 44_549_160, 7_801_405_440, "7.801 G"),
    imagenet("ResNet152", 60_192_808, 11_513_626_624, "11.514 G"),
    lecture("ResNet18", 11_173_962, 555_422_720, "555.4 M"),
    lecture("ResNet34", 21_282_122, 1_159_402_496, "1,159.4 M"),
    lecture("ResNet50", 23_520_842, 1_297_829_888, "1,297.8 M"),
    lecture("ResNet101", 42_512_970, 2_509_983_744, "2,510.0 M"),
    lecture("ResNet152", 58_156_618, 3_722_137_600, "3,722.1 M"),
    paper("ResNet50", 25_557_032, 3_857_973_248),
    paper("ResNet101", 44_549_160, 7_570_194_432),
    paper("ResNet152", 60_192_808, 11_282_415_616),
    keras("ResNet50", 25_583_592, 3_857_973_248, total=25_636_712),
    keras("ResNet101", 44_601_832, 7_570_194_432, total=44_707_176),
    keras("ResNet152", 60_268_520, 11_282_415_616, total=60_419_944),
    Row(
        "ResNeXt50",
        25_028_904,
        4_230_479_872,
        "4.230 G",
        peer="torchvision:resnext50_32x4d",
        source=XIE,
        note="32x4d",
    ),
    Row(
        "ResNeXt101",
        88_791_336,
        16_414_015_488,
        "16.414 G",
        peer="torchvision:resnext101_32x8d",
        source=XIE,
        note="32x8d",
    ),
    Row(
        "ResNeXt101",
        83_455_272,
        15_460_270_080,
        "15.460 G",
        {"groups": 64, "width_per_group": 4},
        peer="torchvision:resnext101_64x4d",
        source=XIE,
        note="64x4d",
    ),
    Row(
        "WideResNet50_2",
        68_883_240,
        11_398_021_120,
        "11.398 G",
        peer="torchvision:wide_resnet50_2",
        source=ZAGORUYKO,
    ),
    Row(
        "WideResNet101_2",
        126_886_696,
        22_753_050_624,
        "22.753 G",
        peer="torchvision:wide_resnet101_2",
        source=ZAGORUYKO,
    ),
)
