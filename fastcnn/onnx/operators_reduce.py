# SPDX-License-Identifier: Apache-2.0
"""Reductions over axes, and positions of extrema."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Draw, Operator
from fastcnn.onnx.value import Value

Reduction = Callable[[Any, "tuple[int, ...]", bool], Any]


def reduction(
    function: Reduction, empty: float = 0.0, alone: Callable[[Any], Any] = lambda x: x
) -> Draw:
    """A reduction; `empty` is its value of nothing, `alone` what it does along no axis."""

    def draw(call: Call) -> Value:
        x = call.floats(0).settled()
        given = call.sizes_of("axes", 1)
        if not given and call.attribute("noop_with_empty_axes", 0):
            return x.with_tensor(alone(x.tensor))
        axes = {a % x.rank for a in given} if given else set(range(x.rank))
        keepdims = bool(call.attribute("keepdims", 1))
        if any(x.shape[a] == 0 for a in axes):
            sizes = enumerate(call.known(x.shape))
            kept = [1 if a in axes else d for a, d in sizes if keepdims or a not in axes]
            return call.constant(np.full(kept, empty, call.drawing.dtype))
        return _reduced(x, axes, keepdims, function)

    return draw


def _reduced(x: Value, axes: set[int], keepdims: bool, function: Reduction) -> Value:
    places = tuple(sorted(x.order.index(a) for a in axes))
    y = function(x.tensor, places, keepdims) if places else x.tensor
    return Value(y, x.order if keepdims else _renumbered(x, axes), x.kind)


def _renumbered(x: Value, gone: set[int]) -> tuple[int, ...]:
    """The order of the axes that are left, counted anew."""
    kept = [a for a in range(x.rank) if a not in gone]
    return tuple(kept.index(a) for a in x.order if a in kept)


def _log_sum_exp(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """max + ln sum e^(x - max); an infinite maximum is not subtracted."""
    most = ops.max(x, axes, True)
    level = ops.where(ops.equal(ops.abs(most), np.inf), 0.0, most)
    total = ops.log(ops.sum(ops.exp(ops.subtract(x, level)), axes, True))
    y = ops.add(total, level)
    return y if keepdims else ops.squeeze(y, axes)


def _product(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Halves multiplied until one element is left."""
    others = [i for i in range(x.ndim) if i not in axes]
    sizes = x.shape
    count = math.prod(_known(x, i) for i in axes)
    rows = ops.reshape(ops.transpose(x, (*others, *axes)), (-1, count)) if x.ndim else x
    while count > 1:
        half = count // 2
        first, second = (_columns(rows, begin, half) for begin in (0, half))
        product = ops.multiply(first, second)
        rows = ops.concatenate([product, _columns(rows, 2 * half, 1)], 1) if count % 2 else product
        count = half + count % 2
    kept = [1 if i in axes else d for i, d in enumerate(sizes) if keepdims or i not in axes]
    return ops.reshape(rows, tuple(-1 if d is None else d for d in kept))


def _columns(rows: Any, begin: int, size: int) -> Any:
    return ops.slice(rows, (0, begin), (None, size))


def _known(x: Any, axis: int) -> int:
    size = x.shape[axis]
    if size is None:
        raise ShapeError(f"axis {axis} of shape {x.shape} is reduced by products; fix its size")
    return int(size)


def extremum(largest: bool) -> Draw:
    """ArgMax or ArgMin: the first position, or the last one."""

    def draw(call: Call) -> Value:
        x = call.floats(0).settled()
        axis = call.attribute("axis", 0) % x.rank
        place = x.order.index(axis)
        tensor = x.tensor if largest else ops.negative(x.tensor)
        if call.attribute("select_last_index", 0):
            size = _known(tensor, place)
            ramp = np.arange(1, size + 1, dtype=call.drawing.dtype)
            ramp = ramp.reshape([-1 if i == place else 1 for i in range(x.rank)])
            best = ops.max(tensor, place, True)
            tensor = ops.multiply(ops.equal(tensor, best), ramp)
        y = ops.argmax(tensor, place)
        if call.attribute("keepdims", 1):
            return Value(ops.expand_dims(y, place), x.order, "int")
        return Value(y, _renumbered(x, {axis}), "int")

    return draw


def _sum_of(function: Callable[[Any], Any]) -> Reduction:
    return lambda x, axes, keepdims: ops.sum(function(x), axes, keepdims)


def _l2(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    return ops.sqrt(ops.sum(ops.square(x), axes, keepdims))


def _log_sum(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    return ops.log(ops.sum(x, axes, keepdims))


ATTRIBUTES = "axes keepdims noop_with_empty_axes"

OPERATORS = {
    "ArgMax": Operator(extremum(True), "axis keepdims select_last_index"),
    "ArgMin": Operator(extremum(False), "axis keepdims select_last_index"),
    "ReduceL1": Operator(reduction(_sum_of(ops.abs), alone=ops.abs), ATTRIBUTES),
    "ReduceL2": Operator(reduction(_l2, alone=ops.abs), ATTRIBUTES),
    "ReduceLogSum": Operator(reduction(_log_sum, -math.inf, ops.log), ATTRIBUTES),
    "ReduceLogSumExp": Operator(reduction(_log_sum_exp, -math.inf), ATTRIBUTES),
    "ReduceMax": Operator(reduction(ops.max, -math.inf), ATTRIBUTES),
    "ReduceMean": Operator(reduction(ops.mean, math.nan), ATTRIBUTES),
    "ReduceMin": Operator(reduction(ops.min, math.inf), ATTRIBUTES),
    "ReduceProd": Operator(reduction(_product, 1.0), ATTRIBUTES),
    "ReduceSum": Operator(reduction(ops.sum), ATTRIBUTES),
    "ReduceSumSquare": Operator(reduction(_sum_of(ops.square), alone=ops.square), ATTRIBUTES),
}
