# SPDX-License-Identifier: Apache-2.0
"""The verified zoo: every network with its exact counts, one file per family."""

from __future__ import annotations

from zoo import (
    classic,
    densenet,
    lecture,
    mobilenet,
    resnet,
    resnet_cifar,
    senet,
    shufflenet,
    wide_resnet,
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
)
ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in family.ROWS)
