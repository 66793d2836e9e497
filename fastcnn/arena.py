# SPDX-License-Identifier: Apache-2.0
"""One block of memory for many tensors: those that are never alive together share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64

Vector = np.ndarray[Any, np.dtype[np.int64]]


class Interval(NamedTuple):
    """A tensor alive from call `begin` to call `end`, both included."""

    begin: int
    end: int
    nbytes: int


def lay_out(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """Byte offsets, and the total, by first fit from the largest to the smallest.

    Two intervals that overlap in time never overlap in bytes. Offsets are multiples of ALIGNMENT.
    """
    order = sorted(range(len(intervals)), key=lambda i: (-intervals[i].nbytes, i))
    begin, end, nbytes = np.array([intervals[i] for i in order], np.int64).reshape(-1, 3).T
    sizes = np.maximum(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT
    offsets = np.zeros(len(order), np.int64)
    for i in range(len(order)):
        together = np.flatnonzero((begin[:i] <= end[i]) & (begin[i] <= end[:i]))
        offsets[i] = _first_gap(sizes[i], offsets[together], sizes[together])
    total = int(np.max(offsets + sizes, initial=0))
    offsets[order] = offsets.copy()
    return offsets.tolist(), total


def _first_gap(size: int, starts: Vector, sizes: Vector) -> int:
    """Lowest offset with `size` free bytes, beside blocks of `sizes` bytes from `starts`."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], starts[order] + sizes[order]
    free = np.maximum.accumulate(np.concatenate(([0], ends)))  # before each block, and after all
    fits = np.flatnonzero(starts - free[:-1] >= size)
    return int(free[fits[0] if fits.size else -1])
