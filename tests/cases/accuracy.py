# SPDX-License-Identifier: Apache-2.0
"""How far float32 may be from float64 in a convolution: three times what was measured.

The table was measured before there were kernels: images behind a ReLU, filters as He et al. draw
them, 64 and 512 channels. An error is given as its largest absolute value by the largest
absolute output (max), and as root mean square by that of the outputs (rms).
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Errors(NamedTuple):
    """Errors of 64 and of 512 channels."""

    at_64: float
    at_512: float


MAX = {
    "direct": Errors(1.5e-7, 2.4e-7),
    "F2": Errors(2.6e-7, 4.3e-7),  # F(2x2, 3x3), points 0, +-1
    "F4": Errors(1.4e-6, 2.5e-6),  # F(4x4, 3x3), points 0, +-sqrt(2), +-1/sqrt(2)
    "F3x4": Errors(1.2e-6, 3.0e-6),  # F(3x3, 4x4), the same points; in NumPy, as F2x5
    "F2x5": Errors(8.4e-7, 2.1e-6),  # F(2x2, 5x5)
}
RMS = {
    "direct": Errors(1.1e-7, 2.1e-7),
    "F2": Errors(1.9e-7, 3.4e-7),
    "F4": Errors(6e-7, 1.1e-6),
    "F3x4": Errors(6.8e-7, 1.8e-6),
    "F2x5": Errors(7.6e-7, 2.0e-6),
}
# Of the gradient for the kernel, F(3x3, 4x4) with F4's points, max alone, and of the direct sum.
GRAD_KERNEL = 1.9e-6
GRAD_KERNEL_DIRECT = GRAD_KERNEL / 6

ALLOWED = 3


def allowed(errors: Errors, channels: int) -> float:
    """Three times the error at so many channels: a power of them between the two of the table.

    Fewer than 64 may be as far off as 64. Of more than 512 the table says nothing.
    """
    assert channels <= 512
    growth = math.log(errors.at_512 / errors.at_64) / math.log(512 / 64)
    return ALLOWED * errors.at_64 * float(max(1.0, channels / 64) ** growth)
