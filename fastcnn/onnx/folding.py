# SPDX-License-Identifier: Apache-2.0
"""Operators on numbers that are known before anything is drawn: shapes, indices and other integers.

Sizes that are not known yet (the batch) may stand in the arrays as `Unknown`; moving them about and
simple arithmetic is possible. Float operators of networks are not here: they run on the engine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.onnx.call import Call
from fastcnn.onnx.proto import DTYPES
from fastcnn.onnx.value import Unknown

Folder = Callable[[Call], "Array | list[Array]"]


def _constant(call: Call) -> Array:
    for name, value in call.node.attributes.items():
        if name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            dtype = np.float32 if "float" in name else np.int64
            return value if isinstance(value, np.ndarray) else np.array(value, dtype)
    raise ShapeError(f"{call.where}: found no value; export the model again")


def _constant_of_shape(call: Call) -> Array:
    fill = call.attribute("value", np.zeros(1, np.float32))
    sizes = call.integers(0) if call.array(0).size else []
    if any(isinstance(d, Unknown) for d in sizes):
        raise ShapeError(f"{call.where}: the shape is not known; fix the model's input sizes")
    return np.full(sizes, fill.reshape(-1)[0], fill.dtype)


def _shape(call: Call) -> Array:
    return np.array(call.array(0).shape, np.int64)[_shape_range(call, call.array(0).ndim)]


def _shape_range(call: Call, rank: int) -> slice:
    return slice(*slice(call.attribute("start", 0), call.attribute("end")).indices(rank)[:2])


def shape_of(call: Call) -> Array:
    """The shape of a symbolic input, with `Unknown` where it has to wait."""
    sizes = [Unknown(i) if d is None else d for i, d in enumerate(call.value(0).shape)]
    chosen = sizes[_shape_range(call, len(sizes))]
    known = not any(isinstance(d, Unknown) for d in chosen)
    return np.array(chosen, np.int64 if known else object)


def size_of(call: Call) -> Array:
    """The number of elements of a symbolic input."""
    shape = call.value(0).shape
    known = None not in shape
    count: Any = math.prod(d for d in shape if d is not None) if known else Unknown()
    return np.array(count, np.int64 if known else object)


def _cast(call: Call) -> Array:
    return _converted(call, DTYPES[call.attribute("to")])


def _converted(call: Call, dtype: str) -> Array:
    array = call.array(0)
    return array if array.dtype == object else array.astype(dtype)


def _reshape(call: Call) -> Array:
    array, target = call.array(0), call.sizes_of("shape", 1)
    if not call.attribute("allowzero", 0):
        target = [array.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return array.reshape(target)


def _axes(call: Call, rank: int) -> tuple[int, ...] | None:
    axes = call.sizes_of("axes", 1)
    return None if axes is None else tuple(a % rank for a in axes)


def _squeeze(call: Call) -> Array:
    return np.squeeze(call.array(0), _axes(call, call.array(0).ndim))


def _unsqueeze(call: Call) -> Array:
    given = call.sizes_of("axes", 1)
    return np.expand_dims(call.array(0), tuple(given))


def _gather(call: Call) -> Array:
    return np.asarray(np.take(call.array(0), call.array(1), call.attribute("axis", 0)))


def slices(call: Call, rank: int) -> tuple[slice, ...]:
    """Python's slices of a Slice node, one for each axis."""
    starts, ends = call.sizes_of("starts", 1), call.sizes_of("ends", 2)
    axes = call.sizes_of("axes", 3, list(range(len(starts))))
    steps = call.integers(4) if call.has(4) else [1] * len(starts)
    found = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end before the first element cannot be said in Python but by leaving it out.
        last = None if step < 0 and end < -(2**30) else end
        found[axis % rank] = slice(start, last, step)
    return tuple(found)


def _slice(call: Call) -> Array:
    return call.array(0)[slices(call, call.array(0).ndim)]


def split_sizes(call: Call, size: int) -> list[int]:
    """Sizes of the parts of a Split node along an axis of `size`."""
    given = call.sizes_of("split", 1)
    if given is not None:
        return [int(d) for d in given]
    count = call.attribute("num_outputs", len(call.node.outputs))
    each = -(-size // count)
    return [min(each, size - i * each) for i in range(count)]


def _split(call: Call) -> list[Array]:
    array, axis = call.array(0), call.attribute("axis", 0)
    cuts = np.cumsum(split_sizes(call, array.shape[axis]))[:-1]
    return list(np.split(array, cuts, axis))


def _range(call: Call) -> Array:
    start, limit, delta = (call.array(i).reshape(()) for i in range(3))
    count = max(math.ceil((limit - start) / delta), 0)
    return (start + np.arange(count) * delta).astype(start.dtype)


def _tile(call: Call) -> Array:
    return np.tile(call.array(0), call.integers(1))


def _expand(call: Call) -> Array:
    shape = np.broadcast_shapes(call.array(0).shape, tuple(call.integers(1)))
    return np.broadcast_to(call.array(0), shape).copy()


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        # Towards zero, unlike NumPy's.
        return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)), a.dtype)
    if object in (a.dtype, b.dtype):
        return np.asarray(a // b)
    return np.asarray(a / b)


def _modulo(call: Call) -> Array:
    operation = np.fmod if call.attribute("fmod", 0) else np.mod
    return np.asarray(operation(call.array(0), call.array(1)))


def _power(a: Array, b: Array) -> Array:
    return np.asarray(np.power(a, b)).astype(a.dtype)


def _unary(function: Callable[[Array], Any]) -> Folder:
    return lambda call: np.asarray(function(call.array(0)))


def _binary(function: Callable[[Array, Array], Any]) -> Folder:
    return lambda call: np.asarray(function(call.array(0), call.array(1)))


def _variadic(function: Callable[[Array, Array], Any]) -> Folder:
    def fold(call: Call) -> Array:
        arrays = [call.array(i) for i in range(len(call.inputs))]
        return np.asarray(functools.reduce(function, arrays))

    return fold


def _mean(call: Call) -> Array:
    arrays = [call.array(i) for i in range(len(call.inputs))]
    return np.asarray(functools.reduce(np.add, arrays) / len(arrays)).astype(arrays[0].dtype)


def _reduction(function: Callable[..., Any]) -> Folder:
    def fold(call: Call) -> Array:
        array = call.array(0)
        axes = _axes(call, array.ndim)
        if axes is None and call.attribute("noop_with_empty_axes", 0):
            return array
        kept = bool(call.attribute("keepdims", 1))
        return np.asarray(function(array, axis=axes or None, keepdims=kept)).astype(array.dtype)

    return fold


def _clip(call: Call) -> Array:
    array = call.array(0)
    low = call.array(1) if call.has(1) else call.attribute("min", -np.inf)
    high = call.array(2) if call.has(2) else call.attribute("max", np.inf)
    return np.asarray(np.minimum(np.maximum(array, low), high)).astype(array.dtype)


def _where(call: Call) -> Array:
    return np.where(call.array(0), call.array(1), call.array(2))


def _transpose(call: Call) -> Array:
    return call.array(0).transpose(call.attribute("perm"))


def _concat(call: Call) -> Array:
    arrays = [call.array(i) for i in range(len(call.inputs))]
    return np.concatenate(arrays, call.attribute("axis", 0))


def _flatten(call: Call) -> Array:
    array, axis = call.array(0), call.attribute("axis", 1)
    rows = math.prod(array.shape[: axis + array.ndim if axis < 0 else axis])
    return array.reshape(rows, -1) if array.size else array.reshape(rows, 0)


FOLDERS: dict[str, Folder] = {
    "Abs": _unary(np.abs),
    "Add": _binary(lambda a, b: a + b),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "CastLike": lambda call: _converted(call, call.array(1).dtype.name),
    "Ceil": _unary(np.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_divide),
    "Equal": _binary(np.equal),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Identity": lambda call: call.array(0),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Max": _variadic(np.maximum),
    "Mean": _mean,
    "Min": _variadic(np.minimum),
    "Mod": _modulo,
    "Mul": _binary(lambda a, b: a * b),
    "Neg": _unary(lambda a: -a),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Pow": _binary(_power),
    "Range": _range,
    "ReduceMax": _reduction(np.max),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sign": _unary(np.sign),
    "Size": lambda call: np.array(call.array(0).size, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary(lambda a, b: a - b),
    "Sum": _variadic(np.add),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
