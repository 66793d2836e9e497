# SPDX-License-Identifier: Apache-2.0
"""All op classes by name: each family file ends with its tuple OPS, joined here."""

from __future__ import annotations

from fastcnn.graph import Op
from fastcnn.ops import conv, dense, elementwise, loss, norm, pool, reduce, shape, update

FAMILIES = (conv, dense, elementwise, reduce, loss, norm, pool, shape, update)
BY_NAME: dict[str, type[Op]] = {op.name: op for family in FAMILIES for op in family.OPS}

# Ops that a backend has no kernel for, on purpose; compiling a plan with one raises KernelMissing.
MISSING: dict[str, frozenset[str]] = {"cpu": frozenset()}
