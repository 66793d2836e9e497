# SPDX-License-Identifier: Apache-2.0
"""Convolutions as Conv and ConvTranspose. Filters (R, S, C/G, K) become (K, C/G, R, S)."""

from __future__ import annotations

from typing import Any

from fastcnn.graph import Node
from fastcnn.onnx.export_graph import CannotExport, Emitter, GraphWriter, channels_first
from fastcnn.onnx.export_window import axis_pads, window
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.geometry import AXES, extent

FILTERS_FIRST = (3, 2, 0, 1)
IMAGE = channels_first(4)


def _convolve(
    g: GraphWriter, node: Node, kind: str, kernel: str, attributes: dict[str, Any]
) -> None:
    """A convolution, with the bias that is added behind it."""
    x = g.take(node.inputs[0], IMAGE)
    output, bias = g.bias_after(node)
    g.put(output, g.emit(kind, x, kernel, *bias, **attributes), IMAGE)


def conv2d(g: GraphWriter, node: Node, op: Conv2D) -> None:
    """Conv."""
    x, kernel = node.inputs
    taps = kernel.spec.sizes[:2]
    attributes = {
        "kernel_shape": taps,
        "strides": op.strides,
        "dilations": op.dilations,
        "group": op.groups,
        **window(op.padding, x.shape[1:3], taps, op.strides, op.dilations),
    }
    _convolve(g, node, "Conv", g.take(kernel, FILTERS_FIRST), attributes)


def depthwise_conv2d(g: GraphWriter, node: Node, op: DepthwiseConv2D) -> None:
    """Conv with a group for each channel; filters (R, S, C, M) become (C * M, 1, R, S)."""
    x, kernel = node.inputs
    R, S, C, M = kernel.spec.sizes
    array = g.fixed(kernel)
    shape = (C * M, 1, R, S)
    if array is None:
        filters = g.emit("Reshape", g.take(kernel, (2, 3, 0, 1)), g.integers(shape, "shape"))
    else:
        filters = g.store(g.name_of_fixed(kernel), array.transpose(2, 3, 0, 1).reshape(shape))
    attributes = {
        "kernel_shape": (R, S),
        "strides": op.strides,
        "dilations": op.dilations,
        "group": C,
        **window(op.padding, x.shape[1:3], (R, S), op.strides, op.dilations),
    }
    _convolve(g, node, "Conv", filters, attributes)


def conv2d_transpose(g: GraphWriter, node: Node, op: Conv2DGradInput) -> None:
    """ConvTranspose; what the strides leave over of the output is its output_padding."""
    x, kernel = node.inputs
    taps = kernel.spec.sizes[:2]
    sides = [
        _transposed(op, axis, x.shape[1 + axis], taps[axis]) for axis in range(len(op.strides))
    ]
    attributes = {
        "kernel_shape": taps,
        "strides": op.strides,
        "dilations": op.dilations,
        "group": op.groups,
        "pads": [before for before, _, _ in sides] + [after for _, after, _ in sides],
        "output_padding": [extra for _, _, extra in sides],
    }
    _convolve(g, node, "ConvTranspose", g.take(kernel, FILTERS_FIRST), attributes)


def _transposed(
    op: Conv2DGradInput, axis: int, size: int | None, taps: int
) -> tuple[int, int, int]:
    """Pads (before, after) and output_padding of one axis.

    Where sizes are not known, "same" still makes the output `stride` times the input.
    """
    stride, dilation = op.strides[axis], op.dilations[axis]
    large, padding = op.input_size[axis], op.padding[axis]
    if large is None or size is None:
        if not isinstance(padding, str):
            raise CannotExport(
                f"the {AXES[axis]} of its output is not known; give input_shape with known sizes"
            )
        size, large = 1, stride
    pads = axis_pads(padding, large, taps, stride, dilation)
    if pads is None:
        raise CannotExport(f"its padding along the {AXES[axis]} is not known; give input_shape")
    before, after = pads
    covered = (size - 1) * stride + extent(taps, dilation) - before - after
    return before, after, large - covered


EMITTERS: dict[str, Emitter] = {
    Conv2D.name: conv2d,
    Conv2DGradInput.name: conv2d_transpose,
    DepthwiseConv2D.name: depthwise_conv2d,
}
