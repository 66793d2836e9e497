# SPDX-License-Identifier: Apache-2.0
"""Cases for the kernel and gradient tests: what to run every op on, one file per family.

A new op adds its cases to its family's file; everything else is found by enumeration.
"""

from cases import (
    conv,
    conv_packed,
    conv_packed_grad,
    conv_separable,
    dense,
    elementwise,
    loss,
    norm,
    norm_fused,
    pool,
    reduce,
    shape,
    update,
)
from cases.case import Case

FAMILIES = (
    *(conv, conv_packed, conv_packed_grad, conv_separable, dense, elementwise),
    *(reduce, loss, norm, norm_fused, pool, shape, update),
)
CASES: list[Case] = [case for family in FAMILIES for case in family.CASES]
