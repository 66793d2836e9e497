# SPDX-License-Identifier: Apache-2.0
"""Pooling. Sizes that are known give explicit pads, so that no reader has to round as we do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.graph import Node, Tensor
from fastcnn.onnx.export_graph import TYPES, CannotExport, Emitter, GraphWriter, channels_first
from fastcnn.onnx.export_window import window
from fastcnn.ops.pool_adaptive import AdaptiveAvgPool2D, AdaptiveMaxPool2D
from fastcnn.ops.pool_average import AvgPool2D
from fastcnn.ops.pool_max import MaxPool2D, MaxUnpool2D, WindowToFlat
from fastcnn.ops.pool_window import Pads2D, WindowOp, bins

IMAGE = channels_first(4)
Attributes = dict[str, Any]


def _window(op: WindowOp, x: Tensor) -> Attributes:
    """Window, strides and padding; ceil_mode only where sizes are not known."""
    found: Attributes = {"kernel_shape": op.pool_size, "strides": op.strides}
    if None in x.shape[1:3]:
        found |= window(op.padding, x.shape[1:3], op.pool_size, op.strides)
        return found | ({"ceil_mode": 1} if _may_hang_over(op, found) else {})
    top, bottom, left, right = op.pads(x.spec)
    return found | {"pads": [top, left, *_reach(op, x, (top, bottom, left, right))]}


def _may_hang_over(op: WindowOp, found: Attributes) -> bool:
    """Whether a last, incomplete window is kept in an image of open sizes.

    ONNX has not always left one out that begins in the padding: then sizes must be known.
    """
    if not op.ceil_mode or "pads" not in found:
        return False
    ends = zip(op.strides, found["pads"][2:], op.pool_size, strict=True)
    if any(stride + after > window for stride, after, window in ends):
        raise CannotExport(
            "which windows ceil_mode keeps depends on sizes that are not known; give input_shape"
        )
    return True


def _reach(op: WindowOp, x: Tensor, pads: Pads2D) -> list[int]:
    """Pads at the bottom and right that also hold an incomplete last window."""
    before, after = pads[::2], pads[1::2]
    sizes, outputs = x.shape[1:3], op.output_spec(x.spec).shape[1:3]
    reach = []
    for axis, (size, count) in enumerate(zip(sizes, outputs, strict=True)):
        end = ((count or 1) - 1) * op.strides[axis] + op.pool_size[axis]
        reach.append(max(after[axis], end - (size or 0) - before[axis]))
    return reach


def max_pool2d(g: GraphWriter, node: Node, op: MaxPool2D) -> None:
    """MaxPool, with indices where they are turned into positions in the plane."""
    (x,) = node.inputs
    y, index = node.outputs
    readers = g.readers(index)
    if any(r is None or not isinstance(r.op, WindowToFlat) for r in readers):
        raise CannotExport("its positions in windows are used; ask for return_indices=True")
    names = g.emit_several(2 if readers else 1, "MaxPool", g.take(x, IMAGE), **_window(op, x))
    g.put(y, names[0], IMAGE)
    if readers:
        g.put(index, names[1], IMAGE)


def window_to_flat(g: GraphWriter, node: Node, op: WindowToFlat) -> None:
    """ONNX counts winners through the whole tensor: within a plane they are that modulo H * W."""
    (index,) = node.inputs
    pool = index.node
    if not isinstance(pool.op, MaxPool2D):
        raise CannotExport("it is given positions that no max_pool2d has made")
    _, H, W, _ = pool.inputs[0].shape
    plane = g.integers([(H or 1) * (W or 1)], "pixels")
    flat = g.emit("Mod", g.value(index).name, plane)
    g.put(node.outputs[0], g.emit("Cast", flat, to=TYPES["int32"]), IMAGE)


def max_unpool2d(g: GraphWriter, node: Node, op: MaxUnpool2D) -> None:
    """Values scattered into planes of zeros; ONNX's MaxUnpool counts through the whole tensor."""
    x, index = node.inputs
    H, W = op.output_size
    source = g.take(x, IMAGE)
    flat = g.integers([0, 0, -1], "shape")
    values, places = (g.emit("Reshape", name, flat) for name in (source, g.take(index, IMAGE)))
    ends = (g.integers([end], what) for end, what in ((0, "starts"), (2, "ends")))
    planes = g.emit("Slice", g.emit("Shape", source), *ends)
    shape = g.emit("Concat", planes, g.integers([H * W], "pixels"), axis=0)
    zeros = g.emit("Expand", g.constant(0, x.dtype), shape)
    filled = g.emit("ScatterElements", zeros, places, values, axis=2)
    y = g.emit("Reshape", filled, g.integers([0, 0, H, W], "shape"))
    g.put(node.outputs[0], y, IMAGE)


def avg_pool2d(g: GraphWriter, node: Node, op: AvgPool2D) -> None:
    """AveragePool. Padding that counts is written as zeros where the last window is incomplete."""
    (x,) = node.inputs
    source, attributes = g.take(x, IMAGE), _window(op, x)
    pads = attributes.get("pads", [0] * 4)
    counts = op.count_include_pad and ("auto_pad" in attributes or any(pads))
    if counts and _overhangs(op, x, attributes):
        declared = _declared(op, x, pads)
        zeros = [0, 0, *declared[:2], 0, 0, *declared[2:]]
        source = g.emit("Pad", source, g.integers(zeros, "pads"))
        attributes["pads"] = [0, 0, *(p - d for p, d in zip(pads[2:], declared[2:], strict=True))]
        counts = False
    y = g.emit("AveragePool", source, **attributes, count_include_pad=int(counts))
    g.put(node.outputs[0], y, IMAGE)


def _overhangs(op: AvgPool2D, x: Tensor, attributes: Attributes) -> bool:
    """Whether a window may reach beyond the padding, which never counts."""
    if None in x.shape[1:3]:
        return "ceil_mode" in attributes
    _, bottom, _, right = op.pads(x.spec)
    return bool(attributes["pads"][2:] != [bottom, right])


def _declared(op: AvgPool2D, x: Tensor, pads: Sequence[int]) -> list[int]:
    """The padding that was asked for: top, left, bottom, right."""
    if None in x.shape[1:3]:
        return list(pads)
    top, bottom, left, right = op.pads(x.spec)
    return [top, left, bottom, right]


def adaptive_avg_pool2d(g: GraphWriter, node: Node, op: AdaptiveAvgPool2D) -> None:
    """As `_adaptive`."""
    _adaptive(g, node, op.output_size, "Average")


def adaptive_max_pool2d(g: GraphWriter, node: Node, op: AdaptiveMaxPool2D) -> None:
    """As `_adaptive`; ONNX has no positions to go with it."""
    if g.readers(node.outputs[1]):
        raise CannotExport("its positions are used, for which ONNX has nothing")
    _adaptive(g, node, op.output_size, "Max")


def _adaptive(g: GraphWriter, node: Node, outputs: tuple[int, int], kind: str) -> None:
    """Global pooling, a sliding window where all bins are alike, else bins cut out and reduced."""
    (x,) = node.inputs
    source = g.take(x, IMAGE)
    _, H, W, _ = x.shape
    if outputs == (1, 1):
        name = g.emit(f"Global{kind}Pool", source)
    elif H is None or W is None:
        raise CannotExport("the size of its input is not known; give input_shape")
    else:
        cuts = [bins(size, count) for size, count in zip((H, W), outputs, strict=True)]
        slides = [_sliding(axis) for axis in cuts]
        if None in slides:
            name = source
            for position, axis in zip((2, 3), cuts, strict=True):
                name = _reduced(g, name, position, axis, "Mean" if kind == "Average" else kind)
        else:
            sizes, strides = zip(*(s for s in slides if s), strict=True)
            name = g.emit(f"{kind}Pool", source, kernel_shape=sizes, strides=strides)
    g.put(node.outputs[0], name, IMAGE)


def _sliding(cuts: Sequence[slice]) -> tuple[int, int] | None:
    """(window, stride) of bins that are all alike, else None."""
    starts = np.array([cut.start for cut in cuts])
    sizes, steps = {cut.stop - cut.start for cut in cuts}, set(np.diff(starts).tolist()) or {1}
    alike = len(sizes) == len(steps) == 1 and 0 not in steps
    return (sizes.pop(), steps.pop()) if alike else None


def _reduced(g: GraphWriter, x: str, position: int, cuts: Sequence[slice], kind: str) -> str:
    """The bins of one axis, each reduced to one element."""
    parts = []
    for cut in cuts:
        ends = (g.integers([cut.start], "starts"), g.integers([cut.stop], "ends"))
        part = g.emit("Slice", x, *ends, g.integers([position], "axes"))
        parts.append(g.reduce(f"Reduce{kind}", part, [position], keepdims=True))
    return g.emit("Concat", *parts, axis=position)


EMITTERS: dict[str, Emitter] = {
    AdaptiveAvgPool2D.name: adaptive_avg_pool2d,
    AdaptiveMaxPool2D.name: adaptive_max_pool2d,
    AvgPool2D.name: avg_pool2d,
    MaxPool2D.name: max_pool2d,
    MaxUnpool2D.name: max_unpool2d,
    WindowToFlat.name: window_to_flat,
}
