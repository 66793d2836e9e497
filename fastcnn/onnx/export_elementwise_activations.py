# SPDX-License-Identifier: Apache-2.0
"""Activations: an operator where the opset has one, else composed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastcnn.graph import Node
from fastcnn.onnx.export_graph import Emitter, GraphWriter
from fastcnn.ops.elementwise_activations import (
    GELU_CUBIC,
    SCALED_TANH,
    SQRT_2_PI,
    BoundedReLU,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    ReLU,
    ReLU6,
    ScaledTanh,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)

# (writer, name of x, op, dtype) -> name of y
Activation = Callable[[GraphWriter, str, Any, str], str]

PLAIN = {
    ReLU.name: "Relu",
    Selu.name: "Selu",
    Sigmoid.name: "Sigmoid",
    Softplus.name: "Softplus",
    Softsign.name: "Softsign",
    Tanh.name: "Tanh",
}


def _plain(g: GraphWriter, x: str, op: Any, dtype: str) -> str:
    return g.emit(PLAIN[op.name], x)


def _relu6(g: GraphWriter, x: str, op: ReLU6, dtype: str) -> str:
    return g.emit("Clip", x, g.constant(0, dtype), g.constant(6, dtype))


def _leaky_relu(g: GraphWriter, x: str, op: LeakyReLU, dtype: str) -> str:
    return g.emit("LeakyRelu", x, alpha=op.negative_slope)


def _bounded_relu(g: GraphWriter, x: str, op: BoundedReLU, dtype: str) -> str:
    """The middle piece where x is not below the threshold, the lower one elsewhere."""
    bounded = math.isfinite(op.max_value)
    upper = g.constant(op.max_value, dtype) if bounded else ""
    if op.negative_slope == 0 and op.threshold == 0:
        return g.emit("Clip", x, g.constant(0, dtype), upper)
    threshold = g.constant(op.threshold, dtype)
    shifted = g.emit("Sub", x, threshold)
    low = g.emit("Mul", shifted, g.constant(op.negative_slope, dtype))
    high = g.emit("Clip", x, "", upper) if bounded else x
    return g.emit("Where", g.emit("Less", x, threshold), low, high)


def _elu(g: GraphWriter, x: str, op: Elu, dtype: str) -> str:
    return g.emit("Elu", x, alpha=op.alpha)


def _hard_sigmoid(g: GraphWriter, x: str, op: Any, dtype: str) -> str:
    return g.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def _scaled_tanh(g: GraphWriter, x: str, op: ScaledTanh, dtype: str) -> str:
    inner = g.emit("Mul", x, g.constant(2 / 3, dtype))
    return g.emit("Mul", g.emit("Tanh", inner), g.constant(SCALED_TANH, dtype))


def _silu(g: GraphWriter, x: str, op: Silu, dtype: str) -> str:
    return g.emit("Mul", x, g.emit("Sigmoid", x))


def _hard_swish(g: GraphWriter, x: str, op: HardSwish, dtype: str) -> str:
    if g.opset >= 14:
        return g.emit("HardSwish", x)
    return g.emit("Mul", x, _hard_sigmoid(g, x, op, dtype))


def _mish(g: GraphWriter, x: str, op: Mish, dtype: str) -> str:
    if g.opset >= 18:
        return g.emit("Mish", x)
    return g.emit("Mul", x, g.emit("Tanh", g.emit("Softplus", x)))


def _gelu(g: GraphWriter, x: str, op: Gelu, dtype: str) -> str:
    """x / 2 times (1 + erf(x / sqrt 2)), or times (1 + tanh u) with the approximation's u."""
    if g.opset >= 20:
        return g.emit("Gelu", x, approximate="tanh" if op.approximate else "none")
    if op.approximate:
        cube = g.emit("Mul", g.emit("Mul", x, x), x)
        bent = g.emit("Add", x, g.emit("Mul", cube, g.constant(GELU_CUBIC, dtype)))
        gate = g.emit("Tanh", g.emit("Mul", bent, g.constant(SQRT_2_PI, dtype)))
    else:
        gate = g.emit("Erf", g.emit("Div", x, g.constant(math.sqrt(2), dtype)))
    half = g.emit("Mul", x, g.constant(0.5, dtype))
    return g.emit("Mul", half, g.emit("Add", gate, g.constant(1, dtype)))


ACTIVATIONS: dict[str, Activation] = {
    BoundedReLU.name: _bounded_relu,
    Elu.name: _elu,
    Gelu.name: _gelu,
    HardSigmoid.name: _hard_sigmoid,
    HardSwish.name: _hard_swish,
    LeakyReLU.name: _leaky_relu,
    Mish.name: _mish,
    ReLU6.name: _relu6,
    ScaledTanh.name: _scaled_tanh,
    Silu.name: _silu,
    **dict.fromkeys(PLAIN, _plain),
}


def activation(g: GraphWriter, node: Node, op: Any) -> None:
    """y in the order of x."""
    (x,) = node.inputs
    name = ACTIVATIONS[op.name](g, g.value(x).name, op, x.dtype)
    g.put_like(node.outputs[0], name, x)


EMITTERS: dict[str, Emitter] = dict.fromkeys(ACTIVATIONS, activation)
