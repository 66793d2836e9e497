# SPDX-License-Identifier: Apache-2.0
"""Receptive fields on an image without borders, one input axis at a time.

There the field of unit p is an interval that moves along with p: by `jump` for every `period` units
(a transposed convolution or a resizing makes periods longer than 1). This gives the numbers that
papers print; 212 for the last pooling of VGG-16 is more than what its units at the border see.

Source: A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019, for chains and branches of convolutions and poolings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd, lcm, prod
from typing import final

import numpy as np

from fastcnn.analysis.dependence import Along, Over, Shaped, Step, Turned, dependence
from fastcnn.analysis.reading import NOWHERE, Reading
from fastcnn.graph import Array, Tensor, topological

# Bounds of an empty interval, far from overflow.
_NO_LOW, _NO_HIGH = 1 << 60, -(1 << 60)


@final
@dataclass(frozen=True)
class Line:
    """Intervals of the input along one axis of a tensor.

    Unit m * period + i depends on m * jump + low[i] to m * jump + high[i]; on nothing where
    low[i] > high[i].

    Attributes:
        axis: the tensor's axis along which the intervals move.
        period: units after which the pattern repeats.
        jump: input positions that a period advances.
        low, high: (period,) first and last position.
    """

    axis: int
    period: int
    jump: int
    low: Array
    high: Array

    @property
    def some(self) -> Array:
        """Places in the period whose interval is not empty."""
        return np.flatnonzero(self.low <= self.high)


@final
class Whole:
    """A field that does not move along: all of the input, or no regular part of it."""


WHOLE = Whole()
Path = Line | Whole | None  # None: nothing of the input matters


def lines(source: Tensor, axis: int, outputs: Sequence[Tensor]) -> list[Path]:
    """For each of `outputs`, how it depends on one axis of `source`."""
    known: dict[Tensor, Path] = {source: Line(axis, 1, 1, np.zeros(1, int), np.zeros(1, int))}
    for node in topological(outputs):
        for index, tensor in enumerate(node.outputs):
            if tensor not in known:
                parts = [
                    _aligned(_follow(known[t], t.spec.sizes, path), t.ndim, path, tensor.ndim)
                    for t, path in zip(node.inputs, dependence(node, index), strict=True)
                ]
                known[tensor] = reduce(_joined, parts, None)
    return [known[t] for t in outputs]


def _follow(path: Path, sizes: Sequence[int], steps: Sequence[Step]) -> Path:
    for step in steps:
        if not isinstance(path, Line):
            return path
        path, sizes = _step(path, sizes, step)
    return path


def _step(line: Line, sizes: Sequence[int], step: Step) -> tuple[Path, Sequence[int]]:
    if isinstance(step, Along):
        after = [step.size if i == step.axis else d for i, d in enumerate(sizes)]
        return (_read(line, step.reading) if step.axis == line.axis else line), after
    if isinstance(step, Turned):
        place = step.permutation.index(line.axis)
        return _moved(line, place), [sizes[i] for i in step.permutation]
    if isinstance(step, Shaped):
        return _shaped(line, sizes, step.shape), step.shape
    if line.axis in step.axes:
        return WHOLE, sizes
    if step.keepdims:
        return line, [1 if i in step.axes else d for i, d in enumerate(sizes)]
    before = sum(axis < line.axis for axis in step.axes)
    return _moved(line, line.axis - before), [d for i, d in enumerate(sizes) if i not in step.axes]


def _moved(line: Line, axis: int) -> Line:
    return Line(axis, line.period, line.jump, line.low, line.high)


def _shaped(line: Line, before: Sequence[int], after: Sequence[int]) -> Path:
    """The axis of the same size with as many elements in front of it, if there is one."""
    front, size = prod(before[: line.axis]), before[line.axis]
    places = [i for i, d in enumerate(after) if d == size and prod(after[:i]) == front]
    if size == 1:  # among several axes of one position, the one as far from the end
        places.sort(key=lambda i: abs((len(after) - i) - (len(before) - line.axis)))
    return _moved(line, places[0]) if places else WHOLE


def _aligned(path: Path, rank: int, steps: Sequence[Step], rank_after: int) -> Path:
    """NumPy's rule puts new axes in front."""
    if not isinstance(path, Line):
        return path
    for step in steps:
        if isinstance(step, Over) and not step.keepdims:
            rank -= len(step.axes)
        elif isinstance(step, Shaped):
            rank = len(step.shape)
    return _moved(path, path.axis + rank_after - rank)


def _read(line: Line, reading: Reading) -> Line:
    turns = line.period // gcd(line.period, reading.inputs)
    period = reading.outputs * turns
    jump = line.jump * (reading.inputs * turns // line.period)
    sources = reading.sources(np.arange(period))
    periods, place = np.divmod(np.where(sources == NOWHERE, 0, sources), line.period)
    low, high = line.low[place], line.high[place]
    there = (sources != NOWHERE) & (low <= high)
    low = np.where(there, low + periods * line.jump, _NO_LOW).min(axis=1)
    high = np.where(there, high + periods * line.jump, _NO_HIGH).max(axis=1)
    return _shortest(line.axis, period, jump, low, high)


def _shortest(axis: int, period: int, jump: int, low: Array, high: Array) -> Line:
    """The line with the shortest period that says the same."""
    some = low <= high
    for short in range(1, period):
        if period % short or jump * short % period:
            continue
        step = jump * short // period
        same = (some[short:] == some[:-short]).all()
        for bound in (low, high):
            moves = bound[short:] - bound[:-short] == step
            same = same and (moves | ~some[short:]).all()
        if same:
            return Line(axis, short, step, low[:short], high[:short])
    return Line(axis, period, jump, low, high)


def _joined(a: Path, b: Path) -> Path:
    """Around both; WHOLE where they do not move along the same way."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Whole) or isinstance(b, Whole):
        return WHOLE
    if a.axis != b.axis or a.jump * b.period != b.jump * a.period:
        return WHOLE
    period = lcm(a.period, b.period)
    (low_a, high_a), (low_b, high_b) = (_repeated(line, period) for line in (a, b))
    low, high = np.minimum(low_a, low_b), np.maximum(high_a, high_b)
    return _shortest(a.axis, period, a.jump * (period // a.period), low, high)


def _repeated(line: Line, period: int) -> tuple[Array, Array]:
    """Bounds over a multiple of the line's period."""
    some = np.tile(line.low <= line.high, period // line.period)
    moved = np.repeat(np.arange(period // line.period), line.period) * line.jump
    low, high = (np.tile(b, period // line.period) + moved for b in (line.low, line.high))
    return np.where(some, low, _NO_LOW), np.where(some, high, _NO_HIGH)
