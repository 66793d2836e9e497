# SPDX-License-Identifier: Apache-2.0
"""The part of the input that every element of every tensor depends on, as a box.

A box is the smallest one around all input positions that matter, so it ends at the image's border.
Channels at one position share a box: that of all of them together, until they are flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np

from fastcnn.analysis.dependence import Along, Over, Shaped, Step, dependence
from fastcnn.graph import Array, Tensor, topological

# Bounds of an empty box: any other box is larger in both directions.
_NO_LOW, _NO_HIGH = np.iinfo(np.int64).max, -1


@final
@dataclass(frozen=True)
class Boxes:
    """Boxes of all elements of one tensor.

    Attributes:
        low, high: first and last position, (input axes, *shape), where `shape` is the tensor's, or
            1 along axes that share boxes. A box with low > high is empty.
    """

    low: Array
    high: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, 1 along axes that share boxes."""
        return tuple(self.low.shape[1:])

    def spread(self, shape: Sequence[int]) -> Boxes:
        """One box for every element of a tensor of `shape`."""
        full = (len(self.low), *shape)
        aligned = (len(self.low), *[1] * (len(shape) - len(self.shape)), *self.shape)
        return Boxes(
            *(np.broadcast_to(a.reshape(aligned), full) for a in (self.low, self.high)),
        )


def boxes(source: Tensor, outputs: Sequence[Tensor]) -> list[Boxes]:
    """Boxes of `outputs` over the axes of `source` between batch and channels."""
    known: dict[Tensor, Boxes] = {source: _own(source)}
    axes = source.ndim - 2
    for node in topological(outputs):
        for index, tensor in enumerate(node.outputs):
            if tensor not in known:
                steps = dependence(node, index)
                parts = [
                    _follow(known[t], t.spec.sizes, path)
                    for t, path in zip(node.inputs, steps, strict=True)
                ]
                known[tensor] = _joined(parts, tensor.ndim, axes)
    return [known[t] for t in outputs]


def _own(source: Tensor) -> Boxes:
    """Every position of the input is its own box."""
    _, *sizes, _ = source.spec.sizes
    places = np.indices(sizes, np.int64)[:, None, ..., None]
    return Boxes(places, places)


def _joined(parts: Sequence[Boxes], rank: int, axes: int) -> Boxes:
    """The smallest boxes around those of all parts."""
    nothing = (axes, *[1] * rank)
    low, high = np.full(nothing, _NO_LOW), np.full(nothing, _NO_HIGH)
    for part in parts:
        aligned = (axes, *[1] * (rank - len(part.shape)), *part.shape)
        low = np.minimum(low, part.low.reshape(aligned))
        high = np.maximum(high, part.high.reshape(aligned))
    if rank and low.shape[-1] > 1:
        low, high = _shared_channels(low, high)
    return Boxes(low, high)


def _shared_channels(low: Array, high: Array) -> tuple[Array, Array]:
    first = low[..., :1], high[..., :1]
    same = bool((low == first[0]).all() and (high == first[1]).all())
    return first if same else (low, high)


def _follow(found: Boxes, sizes: Sequence[int], steps: Sequence[Step]) -> Boxes:
    for step in steps:
        if isinstance(step, Along):
            found = _along(found, sizes, step)
            sizes = [step.size if i == step.axis else d for i, d in enumerate(sizes)]
        elif isinstance(step, Over):
            found = _over(found, step)
            kept = [1 if i in step.axes else d for i, d in enumerate(sizes)]
            dropped = [d for i, d in enumerate(sizes) if i not in step.axes]
            sizes = kept if step.keepdims else dropped
        elif isinstance(step, Shaped):
            full = found.spread(sizes)
            shape = (len(full.low), *step.shape)
            found, sizes = Boxes(full.low.reshape(shape), full.high.reshape(shape)), step.shape
        else:
            order = (0, *(1 + axis for axis in step.permutation))
            found = Boxes(found.low.transpose(order), found.high.transpose(order))
            sizes = [sizes[axis] for axis in step.permutation]
    return found


def _over(found: Boxes, step: Over) -> Boxes:
    axes = tuple(1 + axis for axis in step.axes)
    return Boxes(
        found.low.min(axes, keepdims=step.keepdims), found.high.max(axes, keepdims=step.keepdims)
    )


def _along(found: Boxes, sizes: Sequence[int], step: Along) -> Boxes:
    size, rank = sizes[step.axis], len(sizes)
    if found.shape[step.axis] == 1 and size > 1:
        if step.axis == rank - 1:
            return found  # channels stay together
        found = found.spread([size if i == step.axis else d for i, d in enumerate(found.shape)])
    sources = step.reading.sources(np.arange(step.size))
    taps = [(places, (places >= 0) & (places < size)) for places in sources.T]
    column = (-1, *[1] * (rank - 1 - step.axis))

    def take(values: Array, nothing: int, places: Array, inside: Array) -> Array:
        taken = values.take(np.where(inside, places, 0), 1 + step.axis)
        return np.where(inside.reshape(column), taken, nothing)

    return Boxes(
        reduce(np.minimum, (take(found.low, _NO_LOW, *tap) for tap in taps)),
        reduce(np.maximum, (take(found.high, _NO_HIGH, *tap) for tap in taps)),
    )
