# SPDX-License-Identifier: Apache-2.0
"""Softmax and the losses made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn import ops
from fastcnn.layers import Softmax
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.value import Value, natural


def softmax(call: Call) -> Value:
    """Softmax along an axis."""
    return _along(call, lambda x, axis: call.layer(Softmax, x, axis=axis))


def log_softmax(call: Call) -> Value:
    """LogSoftmax along an axis."""
    return _along(call, ops.log_softmax)


def _along(call: Call, function: Callable[[Any, int], Any]) -> Value:
    """Along one axis; before operator set 13 along all axes from `axis` on, as one."""
    x = call.floats(0)
    axis = call.attribute("axis", -1 if call.opset >= 13 else 1) % x.rank
    if call.opset < 13:
        wide = [a for a in range(axis, x.rank) if x.shape[a] != 1]
        if len(wide) > 1:
            tensor = x.natural()
            rows = ops.reshape(tensor, (*(d or -1 for d in tensor.shape[:axis]), -1))
            y = ops.reshape(function(rows, axis), tuple(d or -1 for d in tensor.shape))
            return Value(y, natural(x.rank))
        axis = wide[0] if wide else axis
    x = x.settled()
    return x.with_tensor(function(x.tensor, x.axis(axis)))


OPERATORS = {
    "LogSoftmax": Operator(log_softmax, "axis"),
    "Softmax": Operator(softmax, "axis"),
}
