# SPDX-License-Identifier: Apache-2.0
"""The `cpu` backend: tuned float32 kernels in C, chosen by instruction set at run time."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import final

from fastcnn.backends import _cpu
from fastcnn.backends.calls import Array, Call, RunStatus
from fastcnn.backends.isas import check_isa, default_isa
from fastcnn.backends.threads import MAX_THREADS, get_num_threads
from fastcnn.errors import BackendError, KernelMissing
from fastcnn.storage import Blocks, aligned_empty

MAX_RANK = 6  # FCNN_MAX_RANK of kernel.h

# What one thread does in a nanosecond, about: to tell small calls from large ones.
_MACS_PER_NS = 32.0
_BYTES_PER_NS = 16.0
# Nanoseconds of work that make it worth while to meet another thread at two barriers, ...
THREAD_NS = 2000.0
# ... and to wake the team, which sleeps between runs.
TEAM_NS = 40000.0


def worth_threads(calls: Sequence[Call]) -> list[int]:
    """How many threads each call is worth, by its shape alone; 1 throughout for a small program.

    The first thread does alone what is worth 1. Results do not depend on it.
    """
    nanoseconds = [max(c.macs / _MACS_PER_NS, c.nbytes / _BYTES_PER_NS) for c in calls]
    if sum(nanoseconds) < TEAM_NS:
        return [1] * len(calls)
    return [int(min(max(1.0, ns / THREAD_NS), MAX_THREADS)) for ns in nanoseconds]


_OK = RunStatus("ok", 0)


class CpuProgram:
    """Calls over the C kernels of one instruction set."""

    def __init__(self, calls: Sequence[Call], backend: CpuBackend) -> None:
        self._backend = backend
        self._count = len(calls)
        self._bound: dict[int, Array] = {}
        records = [
            (*backend.candidates(call), list(call.inputs), list(call.outputs), threads)
            for call, threads in zip(calls, worth_threads(calls), strict=True)
        ]
        self._threads = get_num_threads()
        self._program = _cpu.Program(backend.isa, records, self._threads)
        chosen = list(zip(calls, self._program.chosen, strict=True))
        refused = [describe(call) for call, kernel in chosen if kernel is None]
        if refused:
            raise KernelMissing(missing_message(backend.name, refused))
        self.kernels = tuple(backend.kernels[k][0] for _, k in chosen if k is not None)
        self.scratch_bytes: int = self._program.scratch_bytes

    def bind(self, buffer: int, array: Array) -> None:
        """Let `buffer` be the memory of `array`."""
        self._program.bind(buffer, array)
        self._bound[buffer] = array

    def run(self, start: int = 0, stop: int | None = None) -> RunStatus:
        """Run calls [start, stop) without the GIL."""
        stop = self._count if stop is None else stop
        threads = min(get_num_threads(), self._threads)
        outcome = self._program.run(start, stop, threads)
        return _OK if outcome[0] == "ok" else RunStatus(*outcome)

    def poison_scratch(self) -> None:
        """Fill the scratch with NaN patterns."""
        self._program.fill_scratch(0xFF)


class CpuBackend:
    """The C kernels of one instruction set."""

    name = "cpu"

    def __init__(self, isa: str) -> None:
        self.isa = isa
        self.kernels: list[tuple[str, str, list[tuple[str, str]]]] = _cpu.kernels(isa)
        self._by_op: dict[str, list[int]] = {}
        for index, (_, op, _) in enumerate(self.kernels):
            self._by_op.setdefault(op, []).append(index)

    def candidates(self, call: Call) -> tuple[list[int], list[bytes]]:
        """Indices of the kernels that serve the call's op, with their packed attributes."""
        found = self._by_op.get(call.op, []) if _is_served(call) else []
        return found, [self._pack(index, call) for index in found]

    def _pack(self, index: int, call: Call) -> bytes:
        name, _, attributes = self.kernels[index]
        absent = [a for a, _ in attributes if a not in call.attributes]
        if absent:
            raise BackendError(
                f"kernel {name} wants the attributes {absent} that op {call.op} does not give; "
                "kernels.def and the op's `attributes` must agree"
            )
        layout = "=" + "".join(kind for _, kind in attributes)
        values = [
            float(call.attributes[a]) if kind == "d" else int(call.attributes[a])
            for a, kind in attributes
        ]
        return struct.pack(layout, *values) + bytes(8)

    def missing(self, calls: Sequence[Call]) -> list[str]:
        """Ops without any kernel."""
        return sorted({describe(c) for c in calls if not _is_served(c) or c.op not in self._by_op})

    def compile(self, calls: Sequence[Call]) -> CpuProgram:
        """A program, or KernelMissing naming all calls without a kernel."""
        missing = self.missing(calls)
        if missing:
            raise KernelMissing(missing_message(self.name, missing))
        return CpuProgram(calls, self)


def _is_served(call: Call) -> bool:
    """The kernels' floats are float32; indices, labels and images may be integers."""
    return all(
        slot.dtype not in ("float64", "float16") and len(slot.shape) <= MAX_RANK
        for slot in (*call.inputs, *call.outputs)
    )


def describe(call: Call) -> str:
    """Op with its tensors' dtypes and shapes."""
    inputs = ", ".join(f"{s.dtype}{list(s.shape)}" for s in call.inputs)
    return f"{call.op}({inputs})"


def missing_message(backend: str, missing: list[str]) -> str:
    """One sentence for operations without a kernel."""
    return (
        f"backend '{backend}' has no kernel for {'; '.join(missing)}: "
        f"use float32 tensors of up to {MAX_RANK} axes, or backend='reference'"
    )


@functools.cache
def _backend(isa: str) -> CpuBackend:
    return CpuBackend(isa)


def backend(isa: str | None = None) -> CpuBackend:
    """The backend of `isa`, or of the default instruction set."""
    return _backend(default_isa() if isa is None else check_isa(isa, "isa"))


@final
class BigPages:
    """Memory cut from arrays so large that NumPy asks for big pages for them (4 MB and more).

    Filters of a megabyte are read from end to end in every run; by pages of 4 KB a core looks up
    each of them anew, in a virtual machine through two sets of tables. What is not cut is never
    touched, and takes no memory.
    """

    SIZE = 16 << 20
    LEAST = 256 << 10  # what is smaller would mostly leave a page of 2 MB empty

    def __init__(self) -> None:
        self._blocks = Blocks(self.SIZE)

    def empty(self, nbytes: int) -> Array:
        """Uninitialised bytes at an address that is a multiple of 64."""
        if nbytes < self.LEAST:
            return aligned_empty(nbytes)
        return self._blocks.empty(nbytes)
