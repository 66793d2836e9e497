# SPDX-License-Identifier: Apache-2.0
"""The plan: a graph as a flat list of kernel calls over one memory arena.

schedule   ancestors of the outputs first; then a guard; then the updates of state
place      inputs, state and constants where they are, outputs in fresh arrays, the rest in one
           arena laid out by lifetimes
compile    the backend picks a kernel for every call
run        bind inputs and outputs, walk the calls once
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from fastcnn import backends
from fastcnn.backends.calls import Call, RunStatus, Slot
from fastcnn.errors import DtypeError, NonFiniteError, ShapeError
from fastcnn.graph import Array, Tensor, native
from fastcnn.placement import ARENA, Placement
from fastcnn.schedule import Schedule, Updates, own_outputs
from fastcnn.storage import aligned_empty


class Arena:
    """Memory for what lives during a run: plans that share it run one after the other.

    It is as large as the largest of them, so a model's training and validation take it in turns.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._memory = aligned_empty(0)

    def memory(self, nbytes: int) -> Array:
        """At least so many bytes; what they hold is lost when they become more."""
        if self._memory.nbytes < nbytes:
            self._memory = aligned_empty(0)  # the old ones are free before new ones are taken
            self._memory = aligned_empty(nbytes)
        return self._memory


class Plan:
    """A compiled graph.

    Args:
        inputs: placeholders of static shape, in the order `run` takes arrays.
        outputs: tensors whose values `run` returns.
        updates: parameters and the tensors they take when the run is done.
        guard: a tensor that must be finite, or no parameter is written.
        backend: "cpu" or "reference".
        isa: instruction set of the cpu backend; the default one when None.
        arena: memory to share with other plans; the plan's own when None.

    `run` holds the arena's lock: threads take turns.

    Attributes:
        nodes, calls: in running order.
        fixed: weights and constants, by buffer.
        input_buffers: of the inputs, in order.
        output_slots: of the outputs, in order; each is the whole of its buffer.
        arena_bytes: of the memory that is shared.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        updates: Updates = (),
        guard: Tensor | None = None,
        backend: str = "cpu",
        isa: str | None = None,
        arena: Arena | None = None,
    ) -> None:
        self.inputs = list(inputs)
        owned = own_outputs(outputs)
        schedule = Schedule(owned, updates, guard)
        for parameter in schedule.targets.values():
            parameter.own()
        placement = Placement(self.inputs, owned, schedule, views=backend == "cpu")
        self.nodes = placement.nodes
        self.calls = placement.calls
        self.fixed = placement.fixed
        self.input_buffers = placement.inputs
        self.output_slots = [placement.slot(t) for t in owned]
        self.arena_bytes = placement.arena_bytes
        self._updated = list(schedule.targets.values())
        self._inputs = [
            (tensor, buffer, np.dtype(tensor.dtype), tensor.shape)
            for tensor, buffer in zip(self.inputs, placement.inputs, strict=True)
        ]
        self._outputs = [
            (slot, slot.buffer, np.dtype(slot.dtype), slot.nbytes) for slot in self.output_slots
        ]
        self._arena = arena or Arena()
        self._buffers: dict[int, Array] = dict(self.fixed)
        self._program = backends.get(backend, isa).compile(self.calls)
        for buffer, array in self._buffers.items():
            self._program.bind(buffer, array)
        with self._arena.lock:
            self._bind_arena()

    @property
    def kernels(self) -> tuple[str, ...]:
        """Name of the kernel that serves each call."""
        return self._program.kernels

    @property
    def scratch_bytes(self) -> int:
        """Scratch memory that the kernels share."""
        return self._program.scratch_bytes

    def run(self, *arrays: Array) -> list[Array]:
        """Values of the outputs for these inputs, as fresh arrays.

        Raises:
            ShapeError, DtypeError: an input is not what its placeholder says; nothing ran.
            NonFiniteError: the guard is NaN or infinite; no parameter was written.
        """
        with self._arena.lock:
            results = self._bind(arrays)
            self._raise_if_stopped(self._program.run())
            self._count_writes()
            return results

    def step(self, *arrays: Array) -> Iterator[tuple[Call, list[Array], float]]:
        """Run one call at a time, yielding each with copies of its outputs and its seconds."""
        with self._arena.lock:
            self._bind(arrays)
            try:
                for index, call in enumerate(self.calls):
                    begin = time.perf_counter()
                    outcome = self._program.run(index, index + 1)
                    seconds = time.perf_counter() - begin
                    self._raise_if_stopped(outcome)
                    yield call, [self._view(slot).copy() for slot in call.outputs], seconds
            finally:
                self._count_writes()  # of steps left halfway too: a count too many does no harm

    def time_calls(self, *arrays: Array) -> list[float]:
        """Run once, and return the seconds of every call, where it stands among the others."""
        with self._arena.lock:
            self._bind(arrays)
            clock, seconds = time.perf_counter, []
            try:
                for index in range(len(self.calls)):
                    begin = clock()
                    outcome = self._program.run(index, index + 1)
                    seconds.append(clock() - begin)
                    self._raise_if_stopped(outcome)
            finally:
                self._count_writes()
            return seconds

    def _bind_arena(self) -> None:
        memory = self._arena.memory(self.arena_bytes)
        if memory is not self._buffers.get(ARENA):
            self._buffers[ARENA] = memory
            self._program.bind(ARENA, memory)

    def _bind(self, arrays: Sequence[Array]) -> list[Array]:
        if len(arrays) != len(self.inputs):
            raise ShapeError(
                f"the plan takes {len(self.inputs)} inputs but was given {len(arrays)}"
            )
        self._bind_arena()
        bind, held = self._program.bind, self._buffers
        for (tensor, buffer, dtype, shape), array in zip(self._inputs, arrays, strict=True):
            flags = array.flags
            fits = array.dtype is dtype and array.shape == shape
            if not (fits and flags.c_contiguous and flags.aligned):
                array = _checked(tensor, array)
            held[buffer] = array
            bind(buffer, array)
        results = []
        for slot, buffer, dtype, nbytes in self._outputs:
            result = np.empty(slot.shape, dtype) if nbytes < _SMALL else _aligned(slot)
            held[buffer] = result
            bind(buffer, result)
            results.append(result)
        return results

    def _count_writes(self) -> None:
        for parameter in self._updated:
            parameter.count_write()

    def _view(self, slot: Slot) -> Array:
        return slot.view(self._buffers[slot.buffer].reshape(-1).view(np.uint8))

    def _raise_if_stopped(self, outcome: RunStatus) -> None:
        if outcome.status == "nonfinite":
            call = self.calls[outcome.call]
            raise NonFiniteError(
                f"{call.label}: the loss is NaN or infinite, expected a finite number; no weight "
                "was changed, so lower the learning rate or look for NaN in the data"
            )

    def __str__(self) -> str:
        rows = [("#", "node", "kernel", "outputs", "bytes")]
        for i, (call, kernel) in enumerate(zip(self.calls, self.kernels, strict=True)):
            shapes = " ".join(f"{s.dtype}{list(s.shape)}" for s in call.outputs)
            nbytes = sum(s.nbytes for s in call.outputs)
            rows.append((str(i), call.label, kernel, shapes, f"{nbytes:,}"))
        widths = [max(len(row[c]) for row in rows) for c in range(5)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows
        ]
        lines.append(f"arena {self.arena_bytes:,} bytes, scratch {self.scratch_bytes:,} bytes")
        return "\n".join(line.rstrip() for line in lines)


# Bytes of an output from which on its alignment is worth a few microseconds.
_SMALL = 1 << 14


def _aligned(slot: Slot) -> Array:
    """A fresh array on a boundary of cache lines: packed weights are read by whole vectors."""
    return aligned_empty(slot.nbytes).view(slot.dtype).reshape(slot.shape)


def _checked(tensor: Tensor, array: Array) -> Array:
    """The array as kernels read it, if it is what the placeholder says."""
    if array.dtype.name != tensor.dtype:
        raise DtypeError(
            f"input '{tensor.node.layer}' has dtype {array.dtype}, expected {tensor.dtype}; "
            f"convert it with .astype('{tensor.dtype}')"
        )
    if array.shape != tensor.shape:
        raise ShapeError(
            f"input '{tensor.node.layer}' has shape {array.shape}, expected {tensor.shape}; "
            "give an array of that shape"
        )
    return native(array)
