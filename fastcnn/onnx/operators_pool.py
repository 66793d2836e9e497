# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over whole images, and its undoing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import UnsupportedError
from fastcnn.graph import Array
from fastcnn.layers import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.proto import NodeView
from fastcnn.onnx.value import Value, channels_last
from fastcnn.onnx.windows import ATTRIBUTES, Window, cells, two_dimensional, window_of


def max_pool(call: Call) -> list[Value]:
    """MaxPool, with positions of the maxima where the node has a second output."""
    x, rank = call.image(0)
    window = window_of(call)
    if window.dilations != (1, 1):
        gathered, _ = cells(call, x, window, -math.inf)
        return [call.from_image(ops.max_pool2d(gathered, window.size), rank)]
    if not call.wants(1):
        return [call.from_image(call.layer(MaxPooling2D, x, **_config(call, window)), rank)]
    y, index = call.layer(MaxPooling2D, x, return_indices=True, **_config(call, window))
    found = call.from_image(index, rank, "position")
    plane = (x.shape[1] or 0, x.shape[2] or 0, bool(call.attribute("storage_order", 0)))
    return [call.from_image(y, rank), found.with_plane(plane)]


def _config(call: Call, window: Window) -> dict[str, Any]:
    return {
        "pool_size": window.size,
        "strides": window.strides,
        "padding": window.simple_padding,
        "ceil_mode": bool(call.attribute("ceil_mode", 0)),
    }


def average_pool(call: Call) -> Value:
    """AveragePool."""
    x, rank = call.image(0)
    window = window_of(call)
    counted = bool(call.attribute("count_include_pad", 0))
    if window.dilations == (1, 1):
        y = call.layer(AveragePooling2D, x, count_include_pad=counted, **_config(call, window))
        return call.from_image(y, rank)
    total, shares = _window_sums(call, x, window, counted)
    return call.from_image(ops.multiply(total, 1 / shares), rank)


def _window_sums(call: Call, x: Any, window: Window, counted: bool) -> tuple[Any, Array]:
    """The sum of every window, and the number of its cells that count."""
    gathered, inside = cells(call, x, window, 0.0)
    R, S = window.size
    total = ops.multiply(ops.avg_pool2d(gathered, window.size), float(R * S))
    if counted:
        return total, np.array(R * S, call.drawing.dtype)
    P, Q = inside.shape[0] // R, inside.shape[1] // S
    counts = inside.reshape(P, R, Q, S).sum((1, 3))[..., None]
    return total, counts.astype(call.drawing.dtype)


def lp_pool(call: Call) -> Value:
    """LpPool: the p-norm of every window."""
    x, rank = call.image(0)
    p = float(call.attribute("p", 2))
    window = window_of(call)
    total, _ = _window_sums(call, ops.power(ops.abs(x), p), window, True)
    return call.from_image(ops.power(total, 1 / p), rank)


def max_unpool(call: Call) -> Value:
    """MaxUnpool: zeros, but for values put back where MaxPool found them."""
    x, rank = call.image(0)
    window = window_of(call)
    steps = zip(call.known(x.shape[1:3]), window.strides, window.size, strict=True)
    H, W = (
        (n - 1) * step + taps - sum(window.padding_of(axis))  # type: ignore[arg-type]
        for axis, (n, step, taps) in enumerate(steps)
    )
    y = ops.max_unpool2d(x, _plane_positions(call, rank, H, W), (H, W))
    if call.has(2):
        wanted = call.integers(2)[2:]
        more = [(0, n - have) for n, have in zip(wanted, (H, W)[4 - rank :], strict=True)]
        y = ops.pad(y, ((0, 0), *([(0, 0)] * (4 - rank)), *more, (0, 0)))
    return call.from_image(y, rank)


def _plane_positions(call: Call, rank: int, H: int, W: int) -> Any:
    """The second input as int32 positions h W + w."""
    found = call.inputs[1]
    if isinstance(found, Value) and found.kind == "position":
        if found.plane != (H, W, False):
            raise UnsupportedError(f"{call.where}: positions come from a plane of another size")
        tensor = call.arranged(found, channels_last(rank))
        return ops.expand_dims(tensor, 1) if rank == 3 else tensor
    positions = call.array(1).transpose(channels_last(rank)) % (H * W)
    return np.expand_dims(positions, 1) if rank == 3 else np.ascontiguousarray(positions)


# --- whole images --------------------------------------------------------------------------------


def global_average_pool(call: Call) -> Value:
    """GlobalAveragePool: (N, C, 1, 1)."""
    x, rank = call.image(0)
    return call.from_image(call.layer(GlobalAveragePooling2D, x, keepdims=True), rank)


def global_max_pool(call: Call) -> Value:
    """GlobalMaxPool: (N, C, 1, 1)."""
    x, rank = call.image(0)
    return call.from_image(call.layer(GlobalMaxPooling2D, x, keepdims=True), rank)


def global_lp_pool(call: Call) -> Value:
    """GlobalLpPool: the p-norm of every map."""
    x, rank = call.image(0)
    p = float(call.attribute("p", 2))
    total = ops.sum(ops.power(ops.abs(x), p), (1, 2), keepdims=True)
    return call.from_image(ops.power(total, 1 / p), rank)


def _indices_without_dilation(node: NodeView, constants: dict[str, Array]) -> str:
    dilated = set(node.attributes.get("dilations", [1])) != {1}
    if dilated and len(node.outputs) > 1 and node.outputs[1]:
        return "dilations and an output of indices"
    return two_dimensional(node, constants)


OPERATORS = {
    "AveragePool": Operator(
        average_pool, f"{ATTRIBUTES} ceil_mode count_include_pad", two_dimensional
    ),
    "GlobalAveragePool": Operator(global_average_pool),
    "GlobalLpPool": Operator(global_lp_pool, "p", since=2),
    "GlobalMaxPool": Operator(global_max_pool),
    "LpPool": Operator(lp_pool, f"{ATTRIBUTES} ceil_mode p", two_dimensional, since=2),
    "MaxPool": Operator(
        max_pool, f"{ATTRIBUTES} ceil_mode storage_order", _indices_without_dilation
    ),
    "MaxUnpool": Operator(max_unpool, "kernel_shape pads strides", two_dimensional),
}
