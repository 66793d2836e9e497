# SPDX-License-Identifier: Apache-2.0
"""All op classes by name: each family file ends with its tuple OPS, joined here."""

from __future__ import annotations

from fastcnn.graph import Op
from fastcnn.ops.conv import OPS as CONV
from fastcnn.ops.conv_packed import OPS as CONV_PACKED
from fastcnn.ops.conv_packed_grad import OPS as CONV_PACKED_GRAD
from fastcnn.ops.conv_separable import OPS as CONV_SEPARABLE
from fastcnn.ops.dense import OPS as DENSE
from fastcnn.ops.elementwise import OPS as ELEMENTWISE
from fastcnn.ops.loss import OPS as LOSS
from fastcnn.ops.norm import OPS as NORM
from fastcnn.ops.norm_batch_fused import OPS as NORM_FUSED
from fastcnn.ops.pool import OPS as POOL
from fastcnn.ops.reduce import OPS as REDUCE
from fastcnn.ops.shape import OPS as SHAPE
from fastcnn.ops.update import OPS as UPDATE

FAMILIES = (
    *(CONV, CONV_PACKED, CONV_PACKED_GRAD, CONV_SEPARABLE, DENSE, ELEMENTWISE),
    *(REDUCE, LOSS, NORM, NORM_FUSED, POOL, SHAPE, UPDATE),
)
BY_NAME: dict[str, type[Op]] = {op.name: op for family in FAMILIES for op in family}

# Ops that a backend has no kernel for, on purpose; compiling a plan with one raises KernelMissing.
MISSING: dict[str, frozenset[str]] = {"cpu": frozenset()}
