# SPDX-License-Identifier: Apache-2.0
"""Reductions over axes wherever these lie; means and maxima of whole images as global pooling."""

from __future__ import annotations

from fastcnn.graph import Node
from fastcnn.onnx.export_graph import TYPES, Emitter, GraphWriter, Order, channels_first
from fastcnn.ops.reduce import (
    Argmax,
    Reduce,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    resolve_axes,
)

KINDS = {
    ReduceSum.name: "ReduceSum",
    ReduceMean.name: "ReduceMean",
    ReduceMax.name: "ReduceMax",
    ReduceMin.name: "ReduceMin",
}
GLOBAL = {ReduceMean.name: "GlobalAveragePool", ReduceMax.name: "GlobalMaxPool"}


def without(order: Order, axes: tuple[int, ...]) -> Order:
    """The order of the axes that are left."""
    left = sorted(axis for axis in order if axis not in axes)
    return tuple(left.index(axis) for axis in order if axis not in axes)


def reduction(g: GraphWriter, node: Node, op: Reduce) -> None:
    """ReduceSum and so on."""
    (x,) = node.inputs
    axes = resolve_axes(op.axes, x.ndim)
    value = g.plain(x)
    order = value.order if op.keepdims else without(value.order, axes)
    if op.name in GLOBAL and axes == (1, 2) and value.order == channels_first(4):
        name = g.emit(GLOBAL[op.name], value.name)
        name = name if op.keepdims else g.emit("Flatten", name, axis=1)
    else:
        positions = sorted(value.order.index(axis) for axis in axes)
        name = g.reduce(KINDS[op.name], value.name, positions, op.keepdims)
    g.put(node.outputs[0], name, order)


def argmax(g: GraphWriter, node: Node, op: Argmax) -> None:
    """ArgMax; the first of equal elements, as ONNX has it too."""
    (x,) = node.inputs
    (axis,) = resolve_axes((op.axis,), x.ndim)
    value = g.plain(x)
    found = g.emit("ArgMax", value.name, axis=value.order.index(axis), keepdims=0)
    name = g.emit("Cast", found, to=TYPES["int32"])
    g.put(node.outputs[0], name, without(value.order, (axis,)))


EMITTERS: dict[str, Emitter] = {Argmax.name: argmax, **dict.fromkeys(KINDS, reduction)}
