# SPDX-License-Identifier: Apache-2.0
"""Operations that move elements. A transposition is only noted: nothing is moved for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fastcnn.graph import Node, Shape, Spec, Tensor
from fastcnn.onnx.export_graph import (
    CannotExport,
    Emitter,
    GraphWriter,
    Value,
    as_drawn,
    channels_first,
)
from fastcnn.onnx.export_shape_resize import EMITTERS as RESIZE
from fastcnn.ops.shape import BroadcastTo, ChannelShuffle, Reshape, Transpose
from fastcnn.ops.shape_join import Concat, Pad, Slice, normal_axis
from fastcnn.ops.shape_take import Take

END = 2**63 - 1  # of a slice that reaches to the end


@final
@dataclass(frozen=True)
class Units:
    """A reshape that only takes axes of size 1 away and puts others in.

    Attributes:
        pairs: axes of the input that stay, and what they become.
        dropped: axes of the input.
        added: axes of the output.
    """

    pairs: dict[int, int]
    dropped: tuple[int, ...]
    added: tuple[int, ...]


def unit_axes(before: Shape, after: Shape, target: Shape) -> Units | None:
    """How `before` becomes `after`, or None where more than axes of size 1 changes."""
    pairs: dict[int, int] = {}
    dropped, added = [], []
    i = j = 0
    while i < len(before) or j < len(after):
        x = before[i] if i < len(before) else 0
        y = after[j] if j < len(after) else 0
        if x == y:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif x == 1:
            dropped.append(i)
            i += 1
        elif y == 1:
            added.append(j)
            j += 1
        else:
            return None
    # A size that is not known is the same one where the target keeps it, or names all others.
    kept = [i for i, j in pairs.items() if after[j] is None and target[j] is None]
    if any(pairs[i] != i for i in kept):
        return None
    return Units(pairs, tuple(dropped), tuple(added))


def reshape(g: GraphWriter, node: Node, op: Reshape) -> None:
    """No node, Squeeze and Unsqueeze, Flatten, or Reshape: the least that will do."""
    (x,), (y,) = node.inputs, node.outputs
    if x.shape == y.shape:
        g.put_like(y, g.value(x).name, x)
        return
    if _flattens(x.shape, y.shape):
        _flatten(g, x, y)
        return
    units = unit_axes(x.shape, y.shape, op.target)
    if units is not None:
        _squeeze(g, x, y, units)
        return
    sizes = [
        0 if given is None else -1 if size is None else size
        for given, size in zip(op.target, y.shape, strict=True)
    ]
    g.put(y, g.emit("Reshape", g.take(x), g.integers(sizes, "shape")))


def _flattens(before: Shape, after: Shape) -> bool:
    return (
        len(before) > 2
        and len(after) == 2
        and None not in before[1:]
        and before[0] == after[0]
        and after[1] == math.prod(d for d in before[1:] if d is not None)
    )


def _flatten(g: GraphWriter, x: Tensor, y: Tensor) -> None:
    """Maps are flattened as they lie; what reads them is told how (H, W, C) were mixed."""
    value = g.plain(x)
    sizes = Spec(x.shape[1:]).sizes
    if value.order == channels_first(x.ndim):
        mixed = sum(size > 1 for size in sizes[:-1]) and sizes[-1] > 1
        g.put(y, g.emit("Flatten", value.name, axis=1), maps=sizes if mixed else ())
    else:
        g.put(y, g.emit("Flatten", g.take(x), axis=1))


def _squeeze(g: GraphWriter, x: Tensor, y: Tensor, units: Units) -> None:
    """Squeeze and Unsqueeze, so that the result lies channels first or as drawn."""
    value = g.plain(x)
    moved = [units.pairs[axis] for axis in value.order if axis in units.pairs]
    for order in (channels_first(y.ndim), as_drawn(y.ndim)):
        if [axis for axis in order if axis not in units.added] == moved:
            break
    else:
        value, order = Value(g.take(x), as_drawn(x.ndim)), as_drawn(y.ndim)
    gone = sorted(value.order.index(axis) for axis in units.dropped)
    come = sorted(order.index(axis) for axis in units.added)
    g.put(y, g.unsqueeze(g.squeeze(value.name, gone), come), order)


def transpose(g: GraphWriter, node: Node, op: Transpose) -> None:
    """No node: the axes lie where they were under other numbers."""
    value = g.plain(node.inputs[0])
    order = tuple(op.permutation.index(axis) for axis in value.order)
    g.put(node.outputs[0], value.name, order)


def broadcast_to(g: GraphWriter, node: Node, op: BroadcastTo) -> None:
    """Expand."""
    (x,) = node.inputs
    rank = len(op.shape)
    order = g.common_order([x], rank)
    shape = g.integers([op.shape[axis] for axis in order], "shape")
    g.put(node.outputs[0], g.emit("Expand", g.take_broadcast(x, order), shape), order)


def channel_shuffle(g: GraphWriter, node: Node, op: ChannelShuffle) -> None:
    """Channels as (G, C/G), transposed, and as C again."""
    (x,) = node.inputs
    value = g.plain(x)
    at = value.order.index(x.ndim - 1)
    sizes = [x.shape[axis] for axis in value.order]
    rest = sizes[at + 1 :]
    if sum(size is None for size in rest) > 1:
        rest = [None]
    groups = [op.groups, (sizes[at] or 0) // op.groups]
    shape = [0] * at + groups + [-1 if size is None else size for size in rest]
    permutation = [*range(at), at + 1, at, *range(at + 2, len(shape))]
    split = g.emit("Reshape", value.name, g.integers(shape, "shape"))
    shuffled = g.emit("Transpose", split, perm=permutation)
    g.put(node.outputs[0], g.reshape_as(shuffled, value.name, sizes), value.order)


def concat(g: GraphWriter, node: Node, op: Concat) -> None:
    """Concat."""
    rank = node.specs[0].rank
    order = g.common_order(node.inputs, rank)
    names = [g.take(tensor, order) for tensor in node.inputs]
    axis = order.index(normal_axis(op.axis, rank))
    g.put(node.outputs[0], g.emit("Concat", *names, axis=axis), order)


def slice_(g: GraphWriter, node: Node, op: Slice) -> None:
    """Slice along the axes that are cut."""
    (x,) = node.inputs
    value = g.plain(x)
    cut = [
        (value.order.index(axis), begin, END if size is None else begin + size)
        for axis, (begin, size) in enumerate(zip(op.begin, op.size, strict=True))
        if begin or size not in (None, x.shape[axis])
    ]
    name = value.name
    if cut:
        positions, begins, ends = zip(*sorted(cut), strict=True)
        limits = (g.integers(begins, "starts"), g.integers(ends, "ends"))
        name = g.emit("Slice", name, *limits, g.integers(positions, "axes"))
    g.put(node.outputs[0], name, value.order)


def pad(g: GraphWriter, node: Node, op: Pad) -> None:
    """Pad with a constant."""
    (x,) = node.inputs
    value = g.plain(x)
    pads = [op.pads[axis][side] for side in (0, 1) for axis in value.order]
    number = [g.constant(op.value, x.dtype)] if op.value else []
    name = g.emit("Pad", value.name, g.integers(pads, "pads"), *number)
    g.put(node.outputs[0], name, value.order)


def take(g: GraphWriter, node: Node, op: Take) -> None:
    """Gather, from an axis with a zero at its end for indices outside of it."""
    x, indices = node.inputs
    value = g.plain(x)
    axis = normal_axis(op.axis, x.ndim)
    at, size = value.order.index(axis), x.shape[axis]
    array = g.fixed(indices)
    if array is not None and ((array >= 0) & (array < (size or math.inf))).all():
        name = g.emit("Gather", value.name, g.take(indices), axis=at)
    elif size is None:
        raise CannotExport("the size of the axis it takes from is not known; give input_shape")
    else:
        pads = [0] * (x.ndim + at) + [1] + [0] * (x.ndim - 1 - at)
        padded = g.emit("Pad", value.name, g.integers(pads, "pads"))
        name = g.emit("Gather", padded, _places(g, g.take(indices), size), axis=at)
    # Axes behind make room for those of the indices.
    moved = [a if a < axis else a + indices.ndim - 1 for a in value.order]
    order = (*moved[:at], *range(axis, axis + indices.ndim), *moved[at + 1 :])
    g.put(node.outputs[0], name, order)


def _places(g: GraphWriter, indices: str, size: int) -> str:
    """The indices, and `size` for those outside of [0, size)."""
    below, end = (g.constant(number, "int32", "bound") for number in (-1, size))
    inside = g.emit("And", g.emit("Less", below, indices), g.emit("Less", indices, end))
    return g.emit("Where", inside, indices, end)


EMITTERS: dict[str, Emitter] = {
    BroadcastTo.name: broadcast_to,
    ChannelShuffle.name: channel_shuffle,
    Concat.name: concat,
    Pad.name: pad,
    Reshape.name: reshape,
    Slice.name: slice_,
    Take.name: take,
    Transpose.name: transpose,
    **RESIZE,
}
