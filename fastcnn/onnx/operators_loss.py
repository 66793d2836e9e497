# SPDX-License-Identifier: Apache-2.0
"""Softmax, the losses made of it, and class numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.layers import Softmax
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator, only
from fastcnn.onnx.value import Value, natural


def softmax(call: Call) -> Value:
    """Softmax along an axis."""
    return _along(call, lambda x, axis: call.layer(Softmax, x, axis=axis))


def log_softmax(call: Call) -> Value:
    """LogSoftmax along an axis."""
    return _along(call, ops.log_softmax)


def hardmax(call: Call) -> Value:
    """1 at the first maximum along an axis, else 0."""

    def function(x: Any, axis: int) -> Any:
        (size,) = call.known(x.shape[axis : axis + 1])
        rows = ops.one_hot(ops.argmax(x, axis), size, x.dtype)
        order = [i if i < axis else i - 1 for i in range(x.ndim)]
        order[axis] = x.ndim - 1
        return ops.transpose(rows, order)

    return _along(call, function)


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


def negative_log_likelihood(call: Call) -> Value:
    """NegativeLogLikelihoodLoss: log probabilities (N, C, ...), labels (N, ...), weights (C)."""
    return _loss(call, _classes_last(call, call.floats(0)))


def softmax_cross_entropy(call: Call) -> list[Value | None]:
    """SoftmaxCrossEntropyLoss: the same of logits, and the log probabilities."""
    x = call.floats(0)
    log_probability = ops.log_softmax(_classes_last(call, x))
    loss = _loss(call, log_probability)
    if not call.wants(1):
        return [loss]
    N, C, *sizes = x.shape
    moved = ops.transpose(log_probability, (0, 2, 1))
    return [loss, Value(ops.reshape(moved, (-1 if N is None else N, C, *sizes)), natural(x.rank))]


def _classes_last(call: Call, x: Value) -> Any:
    """(N, C, ...) as (N, places, C)."""
    tensor = x.natural()
    N = tensor.shape[0]
    C, *sizes = call.known(tensor.shape[1:])
    rows = ops.reshape(tensor, (-1 if N is None else N, C, math.prod(sizes)))
    return ops.transpose(rows, (0, 2, 1))


def _loss(call: Call, log_probability: Any) -> Value:
    """The weighted mean, sum, or each of -log p[label]; an ignored label has no weight."""
    N, places, C = log_probability.shape
    labels = _labels(call)
    weight = np.ones(C, call.drawing.dtype)
    ignored = call.attribute("ignore_index")
    if ignored is not None and 0 <= ignored < C:
        weight[ignored] = 0
    if call.has(2):
        weight = ops.multiply(weight, call.floats(2).natural())
    rows = ops.reshape(labels.tensor, (-1 if N is None else N, places))
    chosen = ops.multiply(ops.one_hot(rows, C, call.drawing.dtype), weight)
    losses = ops.negative(ops.sum(ops.multiply(chosen, log_probability), -1))
    reduction = call.attribute("reduction", "mean")
    if reduction == "none":
        sizes = labels.shape
        return Value(
            ops.reshape(losses, tuple(-1 if d is None else d for d in sizes)), natural(len(sizes))
        )
    total = ops.sum(losses)
    return Value(total if reduction == "sum" else ops.divide(total, ops.sum(chosen)), ())


def _labels(call: Call) -> Value:
    value = call.value(1).settled()
    return Value(value.natural(), natural(value.rank), value.kind)


REDUCTIONS = only("reduction", "mean", "sum", "none")

OPERATORS = {
    "Hardmax": Operator(hardmax, "axis"),
    "LogSoftmax": Operator(log_softmax, "axis"),
    "NegativeLogLikelihoodLoss": Operator(
        negative_log_likelihood, "ignore_index reduction", REDUCTIONS
    ),
    "Softmax": Operator(softmax, "axis"),
    "SoftmaxCrossEntropyLoss": Operator(
        softmax_cross_entropy, "ignore_index reduction", REDUCTIONS
    ),
}
