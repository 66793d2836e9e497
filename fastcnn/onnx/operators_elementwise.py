# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators of several tensors: arithmetic, comparison, logic, choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.layers import Add, Average, Layer, Maximum, Minimum, Multiply, Subtract
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Draw, Operator
from fastcnn.onnx.value import Value


def merging(layer: type[Layer], function: Callable[[Any, Any], Any]) -> Draw:
    """A merge layer where all operands are tensors, else the bare op on constants."""

    def draw(call: Call) -> Value:
        count = len(call.inputs)
        operands, order = call.broadcast(*range(count))
        if any(call.is_constant(i) for i in range(count)) or count == 1:
            return Value(reduce(function, operands), order)
        return Value(call.layer(layer, operands), order)

    return draw


def mean(call: Call) -> Value:
    """Mean of the inputs."""
    count = len(call.inputs)
    operands, order = call.broadcast(*range(count))
    if any(call.is_constant(i) for i in range(count)) or count == 1:
        return Value(ops.multiply(reduce(ops.add, operands), 1 / count), order)
    return Value(call.layer(Average, operands), order)


def binary(function: Callable[[Any, Any], Any], kind: str = "float") -> Draw:
    """A function of two tensors."""

    def draw(call: Call) -> Value:
        (a, b), order = call.broadcast(0, 1)
        return Value(function(a, b), order, kind)

    return draw


def logical_not(call: Call) -> Value:
    """Not."""
    x = call.floats(0)
    return x.with_tensor(ops.subtract(1.0, x.tensor), "bool")


def _differ(a: Any, b: Any) -> Any:
    return ops.subtract(1.0, ops.equal(a, b))


def where(call: Call) -> Value:
    """Where."""
    (condition, a, b), order = call.broadcast(0, 1, 2)
    kind = next((v.kind for v in call.inputs[1:] if isinstance(v, Value)), "float")
    return Value(ops.where(condition, a, b), order, kind)


def power(call: Call) -> Value:
    """Pow; exponents have to be known."""
    exponents = call.array(1)
    x = call.floats(0)
    if exponents.size == 1 and exponents.ndim <= x.rank:
        return x.with_tensor(ops.power(x.tensor, float(exponents.reshape(()))))
    (base, exponent), order = call.broadcast(0, 1)
    y = ops.exp(ops.multiply(ops.log(ops.abs(base)), exponent))
    y = ops.where(np.asarray(exponent == 0, exponent.dtype), 1.0, y)
    # Below 0: odd powers are negative, broken ones are nothing.
    signs = np.where(exponent % 2 == 1, -1, np.where(exponent % 1 == 0, 1, np.nan))
    below = ops.multiply(y, signs.astype(exponent.dtype))
    return Value(ops.where(ops.greater(0.0, base), below, y), order)


# How the second operand is broadcast, before operator set 7.
OLD = "axis broadcast"

OPERATORS = {
    "Add": Operator(merging(Add, ops.add), OLD),
    "And": Operator(binary(ops.multiply, "bool"), OLD),
    "Div": Operator(binary(ops.divide), OLD),
    "Equal": Operator(binary(ops.equal, "bool"), OLD),
    "Greater": Operator(binary(ops.greater, "bool"), OLD),
    "GreaterOrEqual": Operator(binary(ops.greater_equal, "bool")),
    "Less": Operator(binary(lambda a, b: ops.greater(b, a), "bool"), OLD),
    "LessOrEqual": Operator(binary(lambda a, b: ops.greater_equal(b, a), "bool")),
    "Max": Operator(merging(Maximum, ops.maximum)),
    "Mean": Operator(mean),
    "Min": Operator(merging(Minimum, ops.minimum)),
    "Mul": Operator(merging(Multiply, ops.multiply), OLD),
    "Not": Operator(logical_not),
    "Or": Operator(binary(ops.maximum, "bool"), OLD),
    "Pow": Operator(power, OLD),
    "Sub": Operator(merging(Subtract, ops.subtract), OLD),
    "Sum": Operator(merging(Add, ops.add)),
    "Where": Operator(where),
    "Xor": Operator(binary(_differ, "bool"), OLD),
}
