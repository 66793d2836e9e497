# SPDX-License-Identifier: Apache-2.0
"""The verified zoo: every network with its exact counts, one file per family."""

from __future__ import annotations

from zoo import (
    alexnet,
    classic,
    googlenet,
    inception_resnet,
    inception_v3,
    lecture,
    resnet,
    resnet_cifar,
    senet,
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
    senet,
    wide_resnet,
    alexnet,
    vgg,
    googlenet,
    inception_v3,
    inception_resnet,
    xception,
)
ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in family.ROWS)
