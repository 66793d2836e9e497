# SPDX-License-Identifier: Apache-2.0
"""The `reference` backend: each op's own reference function, any float type. The oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.backends.calls import Array, Call, RunStatus, Slot
from fastcnn.backends.threads import get_num_threads


def run_reference(reference: Callable[..., Any], arrays: Sequence[Array]) -> tuple[Array, ...]:
    """What an op's reference function makes of arrays, on as many threads as a run uses."""
    get_num_threads()  # asks the environment the first time, and tells the Cython kernels
    with np.errstate(all="ignore"):
        results = reference(*arrays)
    return results if isinstance(results, tuple) else (results,)


class ReferenceProgram:
    """Calls over reference functions; results are copied into their slots."""

    scratch_bytes = 0

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = list(calls)
        self._buffers: dict[int, Array] = {}
        self.kernels = tuple(f"reference_{call.op}" for call in calls)

    def bind(self, buffer: int, array: Array) -> None:
        """Let `buffer` be the memory of `array`."""
        self._buffers[buffer] = array.reshape(-1).view(np.uint8)

    def _view(self, slot: Slot) -> Array:
        return slot.view(self._buffers[slot.buffer])

    def run(self, start: int = 0, stop: int | None = None) -> RunStatus:
        """Run calls [start, stop)."""
        for index, call in enumerate(self._calls[start:stop], start):
            try:
                results = run_reference(call.reference, [self._view(s) for s in call.inputs])
            except FloatingPointError:
                return RunStatus("nonfinite", index)
            for slot, result in zip(call.outputs, results, strict=True):
                self._view(slot)[...] = result
        return RunStatus("ok", -1)


class ReferenceBackend:
    """Runs every op."""

    name = "reference"

    def missing(self, calls: Sequence[Call]) -> list[str]:
        """Nothing: an op without a reference is not an op."""
        return []

    def compile(self, calls: Sequence[Call]) -> ReferenceProgram:
        """A program of reference functions."""
        return ReferenceProgram(calls)


BACKEND = ReferenceBackend()
