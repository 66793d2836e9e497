# SPDX-License-Identifier: Apache-2.0
"""The verified zoo: every network with its exact counts, one file per family."""

from __future__ import annotations

from zoo import (
    alexnet,
    classic,
    densenet,
    googlenet,
    inception_resnet,
    inception_v3,
    lecture,
    mobilenet,
    resnet,
    resnet_cifar,
    senet,
    shufflenet,
    vgg,
    wide_resnet,
    xception,
)
from zoo.row import Row as Row

FAMILIES = (
    classic,
    lecture,
    resnet,
    resnet_cifar,
    wide_resnet,
    senet,
    densenet,
    mobilenet,
    shufflenet,
    alexnet,
    vgg,
    googlenet,
    inception_v3,
    inception_resnet,
    xception,
)
ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in family.ROWS)
