# SPDX-License-Identifier: Apache-2.0
"""One block of memory for many tensors: those that are never alive together share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ALIGNMENT = 64


class Interval(NamedTuple):
    """A tensor alive from call `begin` to call `end`, both included."""

    begin: int
    end: int
    nbytes: int


def lay_out(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """Byte offsets, and the total, by first fit from the largest to the smallest.

    Two intervals that overlap in time never overlap in bytes. Offsets are multiples of ALIGNMENT.
    """
    offsets = [0] * len(intervals)
    placed: list[int] = []
    total = 0
    for index in sorted(range(len(intervals)), key=lambda i: (-intervals[i].nbytes, i)):
        size = _round_up(intervals[index].nbytes)
        offsets[index] = _first_gap(index, size, placed, intervals, offsets)
        placed.append(index)
        total = max(total, offsets[index] + size)
    return offsets, total


def _first_gap(
    index: int,
    size: int,
    placed: Sequence[int],
    intervals: Sequence[Interval],
    offsets: Sequence[int],
) -> int:
    """Lowest offset where `size` bytes are free while interval `index` is alive."""
    begin, end, _ = intervals[index]
    taken = sorted(
        (offsets[j], offsets[j] + _round_up(intervals[j].nbytes))
        for j in placed
        if intervals[j].begin <= end and begin <= intervals[j].end
    )
    offset = 0
    for low, high in taken:
        if low - offset >= size:
            break
        offset = max(offset, high)
    return offset


def _round_up(nbytes: int) -> int:
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT
