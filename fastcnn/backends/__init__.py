# SPDX-License-Identifier: Apache-2.0
"""Backends run lists of calls over numbered buffers (`calls`).

They know nothing of graphs or op classes. `reference` calls the function each record carries; `cpu`
looks the op's name up in the list of C kernels. Exported plans run without either, so this package
asks for NumPy only where one of them is fetched.
"""

from __future__ import annotations

from fastcnn.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcnn.backends.calls import Backend


def get(name: str, isa: str | None = None) -> Backend:
    """The backend `name`: "cpu" (optionally of one instruction set) or "reference"."""
    if name == "cpu":
        from fastcnn.backends import cpu

        return cpu.backend(isa)
    if name == "reference":
        from fastcnn.backends import reference

        return reference.BACKEND
    raise ArgumentError(f"unknown backend '{name}'; there are 'cpu' and 'reference'")
