# SPDX-License-Identifier: Apache-2.0
"""Normalisations. Batch normalisation keeps its four vectors, so that it can be trained again."""

from __future__ import annotations

import numpy as np

from fastcnn.graph import Array, Node, Tensor
from fastcnn.onnx.export_graph import (
    CannotExport,
    Emitter,
    GraphWriter,
    as_drawn,
    channels_first,
    flat_order,
)
from fastcnn.ops.norm_batch import BatchNormInference
from fastcnn.ops.norm_group import GroupNorm, LayerNorm
from fastcnn.ops.norm_local import LocalResponseNorm


def batch_norm(g: GraphWriter, node: Node, op: BatchNormInference) -> None:
    """BatchNormalization; vectors of flattened maps follow the maps' order."""
    x, *vectors = node.inputs
    output = node.outputs[0]
    if x.ndim < 2:
        raise CannotExport("it has no batch axis; reshape its input to (N, C)")
    value = g.value(x)
    arrays = [array for v in vectors if (array := g.fixed(v)) is not None]
    if value.maps and len(arrays) == len(vectors):
        order = flat_order(value.maps)
        pairs = zip(vectors, arrays, strict=True)
        names = [g.store(g.name_of_fixed(v), array[order]) for v, array in pairs]
        g.put_like(output, _batch_norm(g, value.name, names, op), x)
        return
    first = channels_first(x.ndim)
    names = [g.take(v) for v in vectors]
    g.put(output, _batch_norm(g, g.take(x, first), names, op), first)


def _batch_norm(g: GraphWriter, x: str, vectors: list[str], op: BatchNormInference) -> str:
    return g.emit("BatchNormalization", x, *vectors, epsilon=op.epsilon)


def _no_statistics(g: GraphWriter, node: Node) -> None:
    if any(g.readers(t) for t in node.outputs[1:]):
        raise CannotExport("its mean and deviation are used; compute them with ops.mean")


def group_norm(g: GraphWriter, node: Node, op: GroupNorm) -> None:
    """InstanceNormalization of every group as one channel, then scale and shift."""
    _no_statistics(g, node)
    x, gamma, beta = node.inputs
    output, first = node.outputs[0], channels_first(x.ndim)
    source = g.take(x, first)
    if op.groups == x.shape[-1] and x.ndim > 2:
        scale = [g.take(gamma), g.take(beta)]
        g.put(output, g.emit("InstanceNormalization", source, *scale, epsilon=op.epsilon), first)
        return
    rows = g.emit("Reshape", source, g.integers([0, op.groups, -1], "shape"))
    ones, zeros = (g.constant(np.full(op.groups, v), x.dtype) for v in (1, 0))
    hat = g.emit("InstanceNormalization", rows, ones, zeros, epsilon=op.epsilon)
    whole = g.reshape_as(hat, source, [x.shape[axis] for axis in first])
    scaled = g.emit("Mul", whole, g.take_broadcast(gamma, first))
    g.put(output, g.emit("Add", scaled, g.take_broadcast(beta, first)), first)


def layer_norm(g: GraphWriter, node: Node, op: LayerNorm) -> None:
    """LayerNormalization from opset 17 on, else by its formula."""
    _no_statistics(g, node)
    x = node.inputs[0]
    order = g.plain(x).order
    leading = x.ndim - op.rank
    if g.opset >= 17 and min(order[leading:]) < leading:
        order = as_drawn(x.ndim)
    source = g.take(x, order)
    # gamma and beta have the normalised axes only, in the order in which these lie.
    own = tuple(axis - leading for axis in order if axis >= leading)
    if g.opset >= 17:
        scale = [g.take(v, own) for v in node.inputs[1:]]
        name = g.emit("LayerNormalization", source, *scale, axis=leading, epsilon=op.epsilon)
    else:
        positions = [order.index(axis) for axis in range(leading, x.ndim)]
        vectors = [g.take_broadcast(v, order) for v in node.inputs[1:]]
        name = _standardize(g, source, positions, vectors, op.epsilon, x.dtype)
    g.put(node.outputs[0], name, order)


def _standardize(
    g: GraphWriter, x: str, positions: list[int], scale: list[str], epsilon: float, dtype: str
) -> str:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the axes at `positions`."""
    centred = g.emit("Sub", x, g.reduce("ReduceMean", x, positions, keepdims=True))
    squares = g.emit("Mul", centred, centred)
    variance = g.reduce("ReduceMean", squares, positions, keepdims=True)
    deviation = g.emit("Sqrt", g.emit("Add", variance, g.constant(epsilon, dtype)))
    gamma, beta = scale
    return g.emit("Add", g.emit("Mul", g.emit("Div", centred, deviation), gamma), beta)


def local_response_norm(g: GraphWriter, node: Node, op: LocalResponseNorm) -> None:
    """LRN; by its formula where ONNX Runtime has none: even windows, float64, other ranks."""
    (x,) = node.inputs
    first = channels_first(x.ndim)
    source = g.take(x, first)
    if x.ndim == 4 and op.size % 2 and x.dtype == "float32":
        numbers = {"size": op.size, "alpha": op.alpha, "beta": op.beta, "bias": op.k}
        g.put(node.outputs[0], g.emit("LRN", source, **numbers), first)
        return
    sums = _window_sum(g, g.emit("Mul", source, source), x, op)
    share = g.emit("Mul", sums, g.constant(op.alpha / op.size, x.dtype))
    base = g.emit("Add", share, g.constant(op.k, x.dtype))
    denominator = g.emit("Pow", base, g.constant(op.beta, x.dtype))
    g.put(node.outputs[0], g.emit("Div", source, denominator), first)


def _window_sum(g: GraphWriter, squares: str, x: Tensor, op: LocalResponseNorm) -> str:
    """The sum over `size` neighbouring channels: shifted slices of the padded squares."""
    channels = x.shape[-1]
    if channels is None:
        raise CannotExport("its number of channels is not known; give input_shape")
    pads: Array = np.zeros((2, x.ndim), np.int64)
    pads[:, 1] = op.size // 2, (op.size - 1) // 2
    padded = g.emit("Pad", squares, g.integers(pads.ravel().tolist(), "pads"))
    parts = [
        g.emit(
            "Slice",
            padded,
            g.integers([start], "starts"),
            g.integers([start + channels], "ends"),
            g.integers([1], "axes"),
        )
        for start in range(op.size)
    ]
    return g.emit("Sum", *parts)


EMITTERS: dict[str, Emitter] = {
    BatchNormInference.name: batch_norm,
    GroupNorm.name: group_norm,
    LayerNorm.name: layer_norm,
    LocalResponseNorm.name: local_response_norm,
}
