# SPDX-License-Identifier: Apache-2.0
"""Operators that take parts, repeat parts, and put values around."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.onnx.call import Call
from fastcnn.onnx.folding import slices, split_sizes
from fastcnn.onnx.operator import Operator, only
from fastcnn.onnx.value import Unknown, Value, lifted, natural


def gather(call: Call) -> Value:
    """Gather: elements at known positions along an axis."""
    x = call.value(0).settled()
    indices = call.array(1)
    axis = call.attribute("axis", 0) % x.rank
    place = x.order.index(axis)
    tensor = ops.take(x.tensor, indices, place)
    more = indices.ndim - 1
    order = [a + more if a > axis else a for a in x.order]
    order[place : place + 1] = range(axis, axis + indices.ndim)
    return Value(tensor, tuple(order), x.kind)


def gather_elements(call: Call) -> Value:
    """GatherElements: along an axis, every output element has a known position of its own."""
    x = call.value(0)
    sizes = call.known(x.shape)
    axis = call.attribute("axis", 0) % x.rank
    places = list(np.indices(call.array(1).shape))
    places[axis] = call.array(1) % sizes[axis]
    rows = ops.reshape(x.natural(), (math.prod(sizes),))
    return Value(ops.take(rows, np.ravel_multi_index(places, sizes)), natural(x.rank), x.kind)


def slice_(call: Call) -> Value:
    """Slice: blocks, and elements by steps."""
    x = call.value(0).settled()
    tensor = x.tensor
    begins, sizes = [0] * x.rank, [None] * x.rank  # type: list[int], list[int | None]
    for axis, part in enumerate(slices(call, x.rank)):
        place = x.order.index(axis)
        if part == slice(None) or (part.start == 0 and part.stop >= 2**31 - 1 and part.step == 1):
            continue
        (size,) = call.known(tensor.shape[place : place + 1])
        start, stop, step = part.indices(size)
        if step == 1:
            begins[place], sizes[place] = start, max(stop - start, 0)
        else:
            tensor = ops.take(tensor, np.arange(start, stop, step), place)
    if any(begins) or any(s is not None for s in sizes):
        tensor = ops.slice(tensor, begins, sizes)
    return x.with_tensor(tensor)


def split(call: Call) -> list[Value]:
    """Split along an axis."""
    x = call.value(0).settled()
    axis = call.attribute("axis", 0) % x.rank
    (size,) = call.known(x.shape[axis : axis + 1])
    cuts = np.cumsum(split_sizes(call, size))[:-1].tolist()
    return [x.with_tensor(t) for t in ops.split(x.tensor, cuts, x.order.index(axis))]


def expand(call: Call) -> Value:
    """Expand by NumPy's rule of broadcasting."""
    x = call.value(0)
    wanted = call.integers(1) if call.array(1).size else []
    rank = max(x.rank, len(wanted))
    value = lifted(x, rank)
    wanted = [1] * (rank - len(wanted)) + wanted
    target = [w if h == 1 else h for h, w in zip(value.shape, wanted, strict=True)]
    lying: list[Any] = [target[a] for a in value.order]
    if any(d is None or isinstance(d, Unknown) for d in lying):
        sizes = tuple(d if isinstance(d, int) else 1 for d in lying)
        return value.with_tensor(ops.add(value.tensor, np.zeros(sizes, call.drawing.dtype)))
    return value.with_tensor(ops.broadcast_to(value.tensor, lying))


def tile(call: Call) -> Value:
    """Tile: whole copies side by side."""
    x = call.value(0).settled()
    tensor = x.tensor
    for axis, count in enumerate(call.integers(1)):
        if count == 0:
            raise ShapeError(f"{call.where}: found 0 repeats of axis {axis}, expected at least 1")
        if count > 1:
            tensor = ops.concatenate([tensor] * count, x.order.index(axis))
    return x.with_tensor(tensor)


def pad(call: Call) -> Value:
    """Pad with a constant, or with what mode makes of the input's own elements."""
    x = call.value(0).settled()
    pads = [int(p) for p in call.sizes_of("pads", 1)]
    axes = [a % x.rank for a in (call.integers(3) if call.has(3) else range(x.rank))]
    sides = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    lying = [sides.get(a, (0, 0)) for a in x.order]
    mode = call.attribute("mode", "constant")
    if mode != "constant":
        return x.with_tensor(_pad_by_taking(call, x.tensor, lying, mode))
    value = float(call.array(2).reshape(-1)[0]) if call.has(2) else call.attribute("value", 0.0)
    tensor = x.tensor
    less = [(max(-a, 0), max(-b, 0)) for a, b in lying]
    if any(map(any, less)):
        tensor = ops.crop(tensor, less)
    more = [(max(a, 0), max(b, 0)) for a, b in lying]
    return x.with_tensor(ops.pad(tensor, more, constant_values=value))


def _pad_by_taking(call: Call, tensor: Any, sides: list[tuple[int, int]], mode: str) -> Any:
    for place, (before, after) in enumerate(sides):
        if not (before or after):
            continue
        (size,) = call.known(tensor.shape[place : place + 1])
        more = (max(before, 0), max(after, 0))
        places = np.pad(np.arange(size), more, mode=mode)  # type: ignore[call-overload]
        tensor = ops.take(tensor, places[max(-before, 0) : len(places) - max(-after, 0)], place)
    return tensor


def depth_to_space(call: Call) -> Value:
    """DepthToSpace: channels become blocks of pixels."""
    x, rank = call.image(0)
    b = call.attribute("blocksize")
    N, H, W, C = _sizes(call, x)
    if call.attribute("mode", "DCR") == "DCR":
        moved = ops.transpose(ops.reshape(x, (N, H, W, b, b, C // b**2)), (0, 1, 3, 2, 4, 5))
    else:
        moved = ops.transpose(ops.reshape(x, (N, H, W, C // b**2, b, b)), (0, 1, 4, 2, 5, 3))
    return call.from_image(ops.reshape(moved, (N, H * b, W * b, C // b**2)), rank)


def space_to_depth(call: Call) -> Value:
    """SpaceToDepth: blocks of pixels become channels."""
    x, rank = call.image(0)
    b = call.attribute("blocksize")
    N, H, W, C = _sizes(call, x)
    blocks = ops.reshape(x, (N, H // b, b, W // b, b, C))
    order = (0, 1, 3, 2, 4, 5) if call.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = ops.transpose(blocks, order)
    return call.from_image(ops.reshape(moved, (N, H // b, W // b, C * b * b)), rank)


def _sizes(call: Call, x: Any) -> tuple[int, int, int, int]:
    """N, H, W, C with -1 for an unknown batch."""
    N = x.shape[0]
    H, W, C = call.known(x.shape[1:])
    return (-1 if N is None else N), H, W, C


MODES = only("mode", "DCR", "CRD")

OPERATORS = {
    "DepthToSpace": Operator(depth_to_space, "blocksize mode", MODES),
    "Expand": Operator(expand),
    "Gather": Operator(gather, "axis"),
    "GatherElements": Operator(gather_elements, "axis"),
    "Pad": Operator(
        pad, "mode pads value", only("mode", "constant", "reflect", "edge", "wrap"), since=2
    ),
    "Slice": Operator(slice_, "axes ends starts"),
    "SpaceToDepth": Operator(space_to_depth, "blocksize mode", MODES),
    "Split": Operator(split, "axis num_outputs split", since=2),
    "Tile": Operator(tile, since=6),
}
