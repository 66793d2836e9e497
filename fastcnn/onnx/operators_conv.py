# SPDX-License-Identifier: Apache-2.0
"""Convolutions: with constant weights a layer, else the bare op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.graph import Array
from fastcnn.layers import Conv2D, Conv2DTranspose, DepthwiseConv2D
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.value import Value
from fastcnn.onnx.windows import ATTRIBUTES, Pair, Window, two_dimensional, window_of
from fastcnn.ops.geometry import extent


def _as_filters(weights: Any) -> Any:
    """(K, C, S) as (K, C, 1, S); filters of images as they are."""
    return ops.expand_dims(weights, 2) if len(weights.shape) == 3 else weights


def _weights(call: Call) -> Any:
    """(K, C/G, R, S): an array where it is known now."""
    known = call.is_constant(1)
    return _as_filters(call.array(1).astype(_dtype(call)) if known else call.floats(1).natural())


def _dtype(call: Call) -> str:
    return call.drawing.dtype


def _bias(call: Call, index: int = 2) -> Any:
    if not call.has(index):
        return None
    if call.is_constant(index):
        return call.array(index).astype(_dtype(call))
    return call.floats(index).natural()


def conv(call: Call) -> Value:
    """Conv: x (N, C, H, W), weights (K, C/G, R, S), bias (K)."""
    x, rank = call.image(0)
    weights, bias = _weights(call), _bias(call)
    window = window_of(call, weights.shape[4 - rank + 2 :])
    groups = call.attribute("group", 1)
    if isinstance(weights, np.ndarray) and (bias is None or isinstance(bias, np.ndarray)):
        return call.from_image(_conv_layer(call, x, weights, bias, window, groups), rank)
    kernel = ops.transpose(weights, (2, 3, 1, 0))
    y = ops.conv2d(x, kernel, bias, window.strides, window.padding, window.dilations, groups)
    return call.from_image(y, rank)


def _conv_layer(
    call: Call, x: Any, weights: Array, bias: Array | None, window: Window, groups: int
) -> Any:
    K, C, R, S = weights.shape
    arrays = {} if bias is None else {"bias": bias}
    config: dict[str, Any] = {
        "kernel_size": (R, S),
        "strides": window.strides,
        "padding": window.simple_padding,
        "dilation_rate": window.dilations,
        "use_bias": bias is not None,
    }
    if groups == x.shape[-1] and C == 1 and groups > 1:
        arrays["kernel"] = weights.reshape(groups, K // groups, R, S).transpose(2, 3, 0, 1)
        return call.layer(
            DepthwiseConv2D,
            x,
            arrays,
            depth_multiplier=K // groups,
            **config,
        )
    arrays["kernel"] = weights.transpose(2, 3, 1, 0)
    return call.layer(Conv2D, x, arrays, filters=K, groups=groups, **config)


def conv_transpose(call: Call) -> Value:
    """ConvTranspose: x (N, C, H, W), weights (C, K/G, R, S), bias (K)."""
    x, rank = call.image(0)
    weights, bias = _weights(call), _bias(call)
    window = window_of(call, weights.shape[4 - rank + 2 :])
    pads, extra = _transposed_pads(call, window, x.shape[1:3])
    groups = call.attribute("group", 1)
    cropped = any(min(p) < 0 for p in pads) or any(
        e >= s for e, s in zip(extra, window.strides, strict=True)
    )
    known = isinstance(weights, np.ndarray) and (bias is None or isinstance(bias, np.ndarray))
    if known and groups == 1 and not cropped:
        return call.from_image(_transposed_layer(call, x, weights, bias, window, pads, extra), rank)
    y = _transposed(x, weights, window, groups)
    y = _cut(y, [(a, b - e) for (a, b), e in zip(pads, extra, strict=True)])
    return call.from_image(y if bias is None else ops.add(y, bias), rank)


def _transposed_pads(
    call: Call, window: Window, image: Sequence[int | None]
) -> tuple[tuple[Pair, Pair], Pair]:
    """What is cut off ((top, bottom), (left, right)), and the output_padding."""
    extra = call.attribute("output_padding") or [0]
    extra = (0, *extra) if len(extra) == 1 else tuple(extra)
    wanted = call.attribute("output_shape")
    if isinstance(window.padding, tuple) and not wanted:
        return window.padding, extra
    sizes = call.known(image)
    steps = window.strides
    wanted = wanted or [d * s for d, s in zip(sizes, steps, strict=True)]
    wanted = (1, *wanted) if len(wanted) == 1 else wanted[-2:]
    pads = []
    for size, step, taps, dilation, more, target in zip(
        sizes, steps, window.size, window.dilations, extra, wanted, strict=True
    ):
        total = step * (size - 1) + more + extent(taps, dilation) - target
        # What is missing of a larger output is added at its end.
        small = max(total, 0) // 2
        pads.append((small, total - small) if window.padding == "same" else (total - small, small))
        if total < 0:
            pads[-1] = (0, total)
    return (pads[0], pads[1]), extra


def _transposed_layer(
    call: Call, x: Any, weights: Array, bias: Any, window: Window, pads: Any, extra: Pair
) -> Any:
    arrays = {"kernel": weights.transpose(2, 3, 1, 0), **({} if bias is None else {"bias": bias})}
    return call.layer(
        Conv2DTranspose,
        x,
        arrays,
        filters=weights.shape[1],
        kernel_size=weights.shape[2:],
        strides=window.strides,
        padding=pads,
        output_padding=extra,
        dilation_rate=window.dilations,
        use_bias=bias is not None,
    )


def _transposed(x: Any, weights: Any, window: Window, groups: int) -> Any:
    """All of the transposed convolution, nothing cut off: (n - 1) stride + extent pixels."""
    each_x = ops.split(x, groups, 3)
    each_w = ops.split(weights, groups, 0)
    parts = [
        ops.conv2d_transpose(
            part,
            ops.transpose(w, (2, 3, 1, 0)),
            None,
            window.strides,
            "valid",
            (0, 0),
            window.dilations,
        )
        for part, w in zip(each_x, each_w, strict=True)
    ]
    return parts[0] if groups == 1 else ops.concatenate(parts, -1)


def _cut(y: Any, sides: Sequence[Pair]) -> Any:
    """y without (before, after) pixels of each axis; zeros are added where they are negative."""
    more = [(max(-a, 0), max(-b, 0)) for a, b in sides]
    less = [(max(a, 0), max(b, 0)) for a, b in sides]
    y = ops.pad(y, ((0, 0), *more, (0, 0))) if any(map(any, more)) else y
    return ops.crop(y, ((0, 0), *less, (0, 0))) if any(map(any, less)) else y


OPERATORS = {
    "Conv": Operator(conv, f"{ATTRIBUTES} group", two_dimensional),
    "ConvTranspose": Operator(
        conv_transpose, f"{ATTRIBUTES} group output_padding output_shape", two_dimensional
    ),
}
