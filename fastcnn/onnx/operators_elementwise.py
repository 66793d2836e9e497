# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators of one tensor and of several, logic and choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from fastcnn import ops
from fastcnn.layers import Activation, Add, Dropout, Layer, Maximum, Minimum, Multiply, Subtract
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Draw, Operator
from fastcnn.onnx.value import Value


def on_each(function: Callable[[Any], Any]) -> Draw:
    """The function of one tensor, in whatever order its axes lie."""

    def draw(call: Call) -> Value:
        x = call.floats(0)
        return x.with_tensor(function(x.tensor), "float")

    return draw


def activation(name: str) -> Draw:
    """An Activation layer."""

    def draw(call: Call) -> Value:
        x = call.floats(0)
        return x.with_tensor(call.layer(Activation, x.tensor, activation=name), "float")

    return draw


def merging(layer: type[Layer], function: Callable[[Any, Any], Any]) -> Draw:
    """A merge layer where all operands are tensors, else the bare op on constants."""

    def draw(call: Call) -> Value:
        operands, order = call.broadcast(*range(len(call.inputs)))
        if len(operands) == 1:
            return call.floats(0)
        if any(call.is_constant(i) for i in range(len(call.inputs))):
            return Value(reduce(function, operands), order)
        return Value(call.layer(layer, operands), order)

    return draw


def dropout(call: Call) -> Value:
    """Dropout, which does nothing but in training."""
    x = call.floats(0)
    rate = float(call.array(1)) if call.has(1) else call.attribute("ratio", 0.5)
    return x.with_tensor(call.layer(Dropout, x.tensor, rate=rate))


OPERATORS = {
    "Add": Operator(merging(Add, ops.add), since=7),
    "Dropout": Operator(dropout, "ratio seed", since=7),
    "Mul": Operator(merging(Multiply, ops.multiply), since=7),
    "Relu": Operator(activation("relu")),
    "Sigmoid": Operator(activation("sigmoid")),
    "Sub": Operator(merging(Subtract, ops.subtract), since=7),
    "Sum": Operator(merging(Add, ops.add), since=8),
}
