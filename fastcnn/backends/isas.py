# SPDX-License-Identifier: Apache-2.0
"""Which instruction sets there are, and which one kernels are taken from."""

from __future__ import annotations

import functools
import os

from fastcnn.backends import _cpu
from fastcnn.errors import BackendError


@functools.cache
def available_isas() -> tuple[str, ...]:
    """Instruction sets that are compiled in and run on this processor, best last."""
    return tuple(isa for isa, runs in _cpu.isas().items() if runs)


def default_isa() -> str:
    """The best instruction set, or what FASTCNN_ISA asks for."""
    return check_isa(os.environ.get("FASTCNN_ISA") or available_isas()[-1], "FASTCNN_ISA")


def check_isa(isa: str, where: str) -> str:
    """`isa` if it can run here, else an error that lists what exists."""
    if isa in available_isas():
        return isa
    compiled = list(_cpu.isas())
    found = "is compiled in but this processor cannot run it" if isa in compiled else "is unknown"
    raise BackendError(f"{where}='{isa}' {found}; available here: {', '.join(available_isas())}")
