# SPDX-License-Identifier: Apache-2.0
"""Resizing images as Resize, and as Gather where rounding would decide which pixel is taken."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn.graph import Node
from fastcnn.onnx.export_graph import Emitter, GraphWriter, channels_first
from fastcnn.ops.shape_resize import ResizeBilinear, ResizeNearest

IMAGE = channels_first(4)


def resize_nearest(g: GraphWriter, node: Node, op: ResizeNearest) -> None:
    """Whole multiples repeat pixels; half-pixel centres otherwise, unless two are equally near."""
    image, output = node.inputs[0].shape[1:3], node.outputs[0]
    sizes = list(zip(image, op.size, strict=True))
    if all(small and large % small == 0 for small, large in sizes):
        _resize(g, node, mode="nearest", coordinate="asymmetric", nearest_mode="floor")
    elif None not in image and any(_has_ties(small or 1, large) for small, large in sizes):
        name = g.take(node.inputs[0], IMAGE)
        for position, (small, large) in zip((2, 3), sizes, strict=True):
            taken = (2 * np.arange(large) + 1) * (small or 1) // (2 * large)
            name = g.emit("Gather", name, g.integers(taken.tolist(), "pixels"), axis=position)
        g.put(output, name, IMAGE)
    else:
        mode = "round_prefer_ceil"
        _resize(g, node, mode="nearest", coordinate="half_pixel", nearest_mode=mode)


def _has_ties(small: int, large: int) -> bool:
    """Whether an output lies halfway between two pixels."""
    return bool(((2 * np.arange(large) + 1) * small % (2 * large) == 0).any())


def resize_bilinear(g: GraphWriter, node: Node, op: ResizeBilinear) -> None:
    """Linear in both directions."""
    coordinate = "align_corners" if op.align_corners else "half_pixel"
    _resize(g, node, mode="linear", coordinate=coordinate)


def _resize(g: GraphWriter, node: Node, mode: str, coordinate: str, **attributes: Any) -> None:
    """Resize by factors, or to a size where that of the input is not known."""
    (x,), (y,) = node.inputs, node.outputs
    source = g.take(x, IMAGE)
    _, H, W, _ = x.shape
    _, P, Q, _ = y.spec.with_shape(1, *y.shape[1:3], 1).sizes
    attributes |= {"mode": mode, "coordinate_transformation_mode": coordinate}
    # A region is of no concern, but had to be there before opset 13; so had factors.
    unused = g.constant([], "float32", "unused") if g.opset < 13 else ""
    if H is not None and W is not None:
        factors = g.constant([1, 1, _factor(H, P), _factor(W, Q)], "float32", "scales")
        inputs = [unused, factors]
    else:
        ends = (g.integers([0], "starts"), g.integers([2], "ends"))
        planes = g.emit("Slice", g.emit("Shape", source), *ends)
        size = g.emit("Concat", planes, g.integers([P, Q], "sizes"), axis=0)
        inputs = [unused, unused, size]
    g.put(y, g.emit("Resize", source, *inputs, **attributes), IMAGE)


def _factor(small: int, large: int) -> np.float32:
    """large / small, rounded so that a reader's floor(small * factor) is `large`."""
    factor = np.float32(large / small)
    if int(np.float32(small) * factor) < large or int(small * float(factor)) < large:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


EMITTERS: dict[str, Emitter] = {
    ResizeBilinear.name: resize_bilinear,
    ResizeNearest.name: resize_nearest,
}
