# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.layers import Concatenate
from fastcnn.onnx.call import Call
from fastcnn.onnx.folding import shape_of, size_of
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.reshaping import reshaped
from fastcnn.onnx.value import Unknown, Value, common_order


def reshape(call: Call) -> Value:
    """Reshape to sizes with 0 (as before) and -1 (what is left)."""
    x = call.value(0)
    target = list(call.sizes_of("shape", 1))
    if not call.attribute("allowzero", 0):
        target = [_kept(call, x, i) if d == 0 else d for i, d in enumerate(target)]
    return reshaped(call, x, target)


def _kept(call: Call, x: Value, axis: int) -> Any:
    if axis >= x.rank:
        raise ShapeError(f"{call.where}: keeps axis {axis} of an input of shape {x.shape}")
    size = x.shape[axis]
    return Unknown(axis) if size is None else size


def flatten(call: Call) -> Value:
    """Flatten to a matrix: axes before `axis` become its rows."""
    x = call.value(0)
    axis = call.attribute("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    if axis == 1 and x.rank > 1:
        return reshaped(call, x, [_kept(call, x, 0), -1])
    rows = x.shape[:axis]
    if None in rows:
        return reshaped(call, x, [-1, math.prod(d for d in x.shape[axis:] if d is not None)])
    known = math.prod(d for d in rows if d is not None)
    return reshaped(call, x, [known, -1 if 0 not in x.shape else 0])


def transpose(call: Call) -> Value:
    """Transpose: nothing moves, the axes get other names."""
    x = call.value(0).settled()
    moves = call.attribute("perm") or list(reversed(range(x.rank)))
    names = {old: new for new, old in enumerate(moves)}
    return Value(x.tensor, tuple(names[axis] for axis in x.order), x.kind)


def squeeze(call: Call) -> Value:
    """Squeeze axes of size 1."""
    x = call.value(0).settled()
    axes = call.sizes_of("axes", 1)
    gone = [i for i, d in enumerate(x.shape) if d == 1] if axes is None else axes
    gone = {a % x.rank for a in gone}
    kept = [a for a in range(x.rank) if a not in gone]
    tensor = ops.squeeze(x.tensor, [x.order.index(a) for a in gone]) if gone else x.tensor
    return Value(tensor, tuple(kept.index(a) for a in x.order if a in kept), x.kind)


def unsqueeze(call: Call) -> Value:
    """Unsqueeze: new axes of size 1, in front as they lie."""
    x = call.value(0).settled()
    given = call.sizes_of("axes", 1)
    rank = x.rank + len(given)
    new = sorted(a % rank for a in given)
    kept = [a for a in range(rank) if a not in new]
    tensor, order = x.tensor, [kept[a] for a in x.order]
    for axis in new:
        place = order.index(axis - 1) + 1 if axis - 1 in order else 0
        tensor = ops.expand_dims(tensor, place)
        order.insert(place, axis)
    return Value(tensor, tuple(order), x.kind)


def concat(call: Call) -> Value:
    """Concat along one axis."""
    values = [call.value(i) for i in range(len(call.inputs))]
    if len(values) == 1:
        return values[0]
    order = common_order(values)
    axis = order.index(call.attribute("axis", 1) % len(order))
    y = call.layer(Concatenate, [call.arranged(v, order) for v in values], axis=axis)
    return Value(y, order, values[0].kind)


OPERATORS = {
    "Concat": Operator(concat, "axis"),
    "Flatten": Operator(flatten, "axis"),
    "Reshape": Operator(reshape, "allowzero shape"),
    "Shape": Operator(shape_of, "end start"),
    "Size": Operator(size_of),
    "Squeeze": Operator(squeeze, "axes"),
    "Transpose": Operator(transpose, "perm"),
    "Unsqueeze": Operator(unsqueeze, "axes"),
}
