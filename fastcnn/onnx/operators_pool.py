# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over whole images, and its undoing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import UnsupportedError
from fastcnn.graph import Array
from fastcnn.layers import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.proto import NodeView
from fastcnn.onnx.value import Value
from fastcnn.onnx.windows import ATTRIBUTES, Window, two_dimensional, window_of


def _config(call: Call, window: Window) -> dict[str, Any]:
    return {
        "pool_size": window.size,
        "strides": window.strides,
        "padding": window.simple_padding,
        "ceil_mode": bool(call.attribute("ceil_mode", 0)),
    }


def max_pool(call: Call) -> list[Value]:
    """MaxPool, with positions of the maxima where the node has a second output."""
    x, rank = call.image(0)
    window = window_of(call)
    if call.wants(1):
        y, index = call.layer(MaxPooling2D, x, return_indices=True, **_config(call, window))
        return [call.from_image(y, rank), call.from_image(index, rank, "position")]
    return [call.from_image(call.layer(MaxPooling2D, x, **_config(call, window)), rank)]


def average_pool(call: Call) -> Value:
    """AveragePool."""
    x, rank = call.image(0)
    window = window_of(call)
    counted = bool(call.attribute("count_include_pad", 0))
    y = call.layer(AveragePooling2D, x, count_include_pad=counted, **_config(call, window))
    return call.from_image(y, rank)


def global_average_pool(call: Call) -> Value:
    """GlobalAveragePool: (N, C, 1, 1)."""
    x, rank = call.image(0)
    return call.from_image(call.layer(GlobalAveragePooling2D, x, keepdims=True), rank)


def global_max_pool(call: Call) -> Value:
    """GlobalMaxPool: (N, C, 1, 1)."""
    x, rank = call.image(0)
    return call.from_image(call.layer(GlobalMaxPooling2D, x, keepdims=True), rank)


OPERATORS = {
    "AveragePool": Operator(
        average_pool, f"{ATTRIBUTES} ceil_mode count_include_pad", two_dimensional
    ),
    "GlobalAveragePool": Operator(global_average_pool),
    "GlobalMaxPool": Operator(global_max_pool),
    "MaxPool": Operator(max_pool, f"{ATTRIBUTES} ceil_mode storage_order", two_dimensional),
}
