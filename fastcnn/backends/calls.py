# SPDX-License-Identifier: Apache-2.0
"""What backends take and give: calls over numbered buffers.

Slot     where a tensor lies: (buffer, byte offset, shape, dtype)
Call     one operation on slots, with the numbers its kernel needs
Program  calls made ready by a backend: `bind` buffers, then `run`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastcnn.records import dataclass

Array = np.ndarray[Any, Any]


class Slot(NamedTuple):
    """A row-major tensor inside a numbered buffer, its pixels `ld` elements apart (0: dense)."""

    buffer: int
    offset: int
    shape: tuple[int, ...]
    dtype: str
    ld: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes from its first element to its last."""
        count, itemsize = math.prod(self.shape), np.dtype(self.dtype).itemsize
        if self.ld and count:
            count = (count // self.shape[-1] - 1) * self.ld + self.shape[-1]
        return count * itemsize

    def view(self, raw: Array) -> Array:
        """The tensor in its buffer, given as bytes."""
        part = raw[self.offset : self.offset + self.nbytes].view(self.dtype)
        if not self.ld or not part.size:
            return part.reshape(self.shape)
        steps = [part.itemsize, self.ld * part.itemsize]
        for dim in self.shape[-2:0:-1]:
            steps.append(steps[-1] * dim)
        return np.lib.stride_tricks.as_strided(part, self.shape, steps[::-1])


@dataclass(frozen=True)
class Call:
    """One operation: its name, its numbers, where its tensors lie, and its reference function.

    `macs` are its multiply-adds, where it has any.
    """

    op: str
    attributes: Mapping[str, int | float]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    reference: Callable[..., Any]
    label: str = ""
    macs: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(slot.nbytes for slot in (*self.inputs, *self.outputs))


class RunStatus(NamedTuple):
    """How a run ended: 'ok' or 'nonfinite', and which call stopped it."""

    status: str
    call: int


class Program(Protocol):
    """Calls made ready to run."""

    kernels: tuple[str, ...]
    scratch_bytes: int

    def bind(self, buffer: int, array: Array) -> None:
        """Let buffer number `buffer` be the memory of `array` (C-contiguous, kept alive)."""

    def run(self, start: int = 0, stop: int | None = None) -> RunStatus:
        """Run calls [start, stop)."""


class Backend(Protocol):
    """Makes programs. `missing(calls)` names the ops that have no kernel."""

    name: str

    def missing(self, calls: Sequence[Call]) -> list[str]:
        """'op (dtype)' of every call that no kernel takes."""

    def compile(self, calls: Sequence[Call]) -> Program:
        """A program, or KernelMissing naming all calls without a kernel at once."""
