# SPDX-License-Identifier: Apache-2.0
"""The receptive field of a layer: which part of the input its units depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from fastcnn.analysis.boxes import Boxes, boxes
from fastcnn.analysis.lines import Line, lines
from fastcnn.analysis.lookup import AnyModel, Graph, output_of
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, Tensor

Number = int | float
Box = tuple[slice, ...]


@final
@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer see of the input, per axis: (height, width), or (width,) in 1-D.

    `size`, `stride`, `padding` and `center` are those of an image without borders, as papers print
    them: unit p sees `size` positions from p * stride - padding on, the middle one being
    p * stride + center. Where units see fields of several sizes in turn (behind a transposed
    convolution or a resizing), `size` is the largest, and `padding` and `center` are those of unit
    0. A field that does not move along with the unit has stride 0 (a global pooling, a dense layer:
    all units see the same) or NaN (no rule), and its other numbers are those of this very input.

    Attributes:
        layer: path of the layer.
        input_size, output_size: positions of the input and of the layer's output per axis.
        size: pixels from the first that a unit depends on to the last.
        stride: pixels between the fields of neighbouring units ("jump").
        padding: pixels by which the field of unit 0 begins before the first of the input.
        center: middle of the field of unit 0, in pixels from the middle of the first.
    """

    layer: str
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[Number, ...]
    padding: tuple[Number, ...]
    center: tuple[float, ...]
    _boxes: Boxes = field(repr=False, compare=False)

    def box(self, unit: Sequence[int] | int | None = None) -> Box:
        """The input box that one unit depends on, as slices: `image[field.box((3, 4))]`.

        Nothing outside of it changes the unit, and each of its edges can. It ends at the border of
        the input; it is empty for a unit that sees padding only.

        Args:
            unit: position (row, column) in the layer's output, or (row, column, channel); negative
                numbers count from the end. The middle unit when None.

        Raises:
            ArgumentError: there is no such unit.
        """
        low, high = self._bounds(self._index(unit))
        return tuple(
            slice(0, 0) if first > last else slice(int(first), int(last) + 1)
            for first, last in zip(low, high, strict=True)
        )

    def boxes(self) -> tuple[Array, Array]:
        """First and last position that each unit sees: two arrays (*output_size, axes).

        First is larger than last where a unit sees nothing.
        """
        low, high = self._boxes.low, self._boxes.high
        if low.ndim > 2:
            low, high = low.min(axis=(1, -1)), high.max(axis=(1, -1))
        shape = (len(low), *self.output_size)
        low, high = (np.moveaxis(np.broadcast_to(a, shape), 0, -1) for a in (low, high))
        return low, high

    def _index(self, unit: Sequence[int] | int | None) -> tuple[int, ...]:
        """The unit's position with nothing negative."""
        sizes = self.output_size
        if unit is None:
            return tuple(d // 2 for d in sizes)
        places = (int(unit),) if isinstance(unit, (int, np.integer)) else tuple(unit)
        fits = len(places) in (len(sizes), len(sizes) + 1) and all(
            -d <= p < d for p, d in zip(places, sizes, strict=False)
        )
        if not fits:
            raise ArgumentError(
                f"layer '{self.layer}' has no unit {unit!r}; its output is {sizes}, and a unit one "
                "position in it, with or without a channel"
            )
        return (*(p % d for p, d in zip(places, sizes, strict=False)), *places[len(sizes) :])

    def _bounds(self, index: Sequence[int]) -> tuple[Array, Array]:
        """First and last position on each input axis; of all channels, where none is named."""
        low, high = self._boxes.low, self._boxes.high
        for axis, place in enumerate(index, 2):  # behind the input axes and the batch
            if low.ndim > axis and low.shape[axis] > 1:
                low, high = low.take([place], axis), high.take([place], axis)
        rest = tuple(range(1, low.ndim))
        return low.min(axis=rest), high.max(axis=rest)

    def __str__(self) -> str:
        def by(numbers: Sequence[Number]) -> str:
            return " x ".join(f"{n:g}" for n in numbers)

        return (
            f"layer '{self.layer}' sees {by(self.size)} pixels, stride {by(self.stride)}, padding "
            f"{by(self.padding)}, center {by(self.center)}"
        )


def receptive_field(
    model: AnyModel, layer: Any = None, input_shape: Any = None, input: int | str = 0
) -> ReceptiveField:
    """The receptive field of a layer of any model, with branches and everything else.

    Exact for what is between input and layer in inference: convolutions and poolings of any
    stride, padding and dilation, transposed convolutions, resizing, padding, joined branches.
    Whatever mixes whole maps (global pooling, Flatten and Dense, squeeze-and-excitation, group
    normalization) sees the whole input. Max-unpooling counts as seeing all that it may.

    Args:
        model: a model.
        layer: a layer, its path ("block/conv") or its unique name; the model's output when None.
        input_shape: shape of one sample (H, W, C) or (W, C), or a list of them; the model's own
            when None. Only `box` and padding="same" depend on the size.
        input: index or name of the input that is looked at.

    Raises:
        ArgumentError: no such layer or input, sizes that are not known, or an input without rows
            or columns.
    """
    graph = model.graph(input_shape)
    path, tensor = output_of(model, graph, layer)
    return fields_of(graph, [(path, tensor)], input)[0]


def fields_of(
    graph: Graph, layers: Sequence[tuple[str, Tensor]], input: int | str = 0
) -> list[ReceptiveField]:
    """Receptive fields of several tensors of one graph, given with the paths of their layers."""
    source = _source(graph, input)
    tensors = [tensor for _, tensor in layers]
    found = boxes(source, tensors)
    paths = [lines(source, axis, tensors) for axis in range(1, source.ndim - 1)]
    return [
        _field(path, source, tensor, found[i], [axis[i] for axis in paths])
        for i, (path, tensor) in enumerate(layers)
    ]


def _source(graph: Graph, input: int | str) -> Tensor:
    names = [t.node.layer for t in graph.inputs]
    index = names.index(input) if input in names else input
    if not isinstance(index, int) or not -len(names) <= index < len(names):
        raise ArgumentError(f"there is no input {input!r}; the model has the inputs {names}")
    source = graph.inputs[index]
    if source.ndim < 3:
        raise ArgumentError(
            f"input '{names[index]}' of shape {source.shape} has no rows or columns, expected "
            "(N, H, W, C) or (N, W, C); a receptive field is a part of an image"
        )
    return source


def _field(
    path: str, source: Tensor, tensor: Tensor, found: Boxes, axes: Sequence[Any]
) -> ReceptiveField:
    numbers = []
    for i, line in enumerate(axes):
        moving = isinstance(line, Line) and line.axis < tensor.ndim - 1 and len(line.some)
        numbers.append(_moving(line) if moving else _fixed(found.low[i], found.high[i]))
    size, stride, padding, center = zip(*numbers, strict=True)
    return ReceptiveField(
        path,
        source.spec.sizes[1:-1],
        tensor.spec.sizes[1:-1],
        size,
        stride,
        padding,
        center,
        found,
    )


def _moving(line: Line) -> tuple[int, Number, Number, float]:
    stride: Number = (
        line.jump / line.period if line.jump % line.period else line.jump // line.period
    )
    first = line.some[0]
    low, high = (float(bound[first]) - float(first * stride) for bound in (line.low, line.high))
    padding: Number = int(-low) if low.is_integer() else -low
    sizes = (line.high - line.low + 1)[line.some]
    return int(sizes.max()), stride, padding, (low + high) / 2


def _fixed(low: Array, high: Array) -> tuple[int, Number, Number, float]:
    """The numbers of this very input, where the field does not move along with the unit."""
    some = low <= high
    if not some.any():
        return 0, 0, 0, 0.0
    first, last = int(low[some][0]), int(high[some][0])
    same = bool((low[some] == first).all() and (high[some] == last).all())
    size = int((high - low + 1)[some].max())
    return size, 0 if same else math.nan, -first, (first + last) / 2
