# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators of one tensor: mathematics, activations, dropout, conversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import UnsupportedError
from fastcnn.graph import Array
from fastcnn.layers import ELU, Activation, Dropout, LeakyReLU, PReLU, ReLU
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Draw, Operator, only
from fastcnn.onnx.operators_constant import numeric
from fastcnn.onnx.proto import DTYPES, FLOATS
from fastcnn.onnx.value import Value, channels_last


def on_each(function: Callable[[Any], Any]) -> Draw:
    """A function of one tensor, in whatever order its axes lie."""
    return lambda call: _each(call, function)


def activation(name: str) -> Draw:
    """An Activation layer."""
    return lambda call: _each(call, lambda x: call.layer(Activation, x, activation=name))


def _each(call: Call, function: Callable[[Any], Any], kind: str = "float") -> Value:
    x = call.floats(0)
    return x.with_tensor(function(x.tensor), kind)


# --- activations with attributes -----------------------------------------------------------------


def leaky_relu(call: Call) -> Value:
    """x above 0, alpha x below."""
    alpha = call.attribute("alpha", 0.01)
    if alpha < 0:
        return _each(call, lambda x: ops.where(ops.greater(x, 0.0), x, ops.multiply(x, alpha)))
    return _each(call, lambda x: call.layer(LeakyReLU, x, negative_slope=alpha))


def elu(call: Call) -> Value:
    """x above 0, alpha (e^x - 1) below."""
    return _each(call, lambda x: call.layer(ELU, x, alpha=call.attribute("alpha", 1.0)))


def selu(call: Call) -> Value:
    """gamma elu(x, alpha); the usual constants are a layer's own."""
    alpha, gamma = call.attribute("alpha", 1.67326319), call.attribute("gamma", 1.05070102)
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(gamma, 1.050701, rel_tol=1e-6):
        return activation("selu")(call)  # type: ignore[return-value]
    return _each(call, lambda x: ops.multiply(ops.elu(x, alpha), gamma))


def celu(call: Call) -> Value:
    """max(0, x) + min(0, alpha (e^(x / alpha) - 1))."""
    alpha = call.attribute("alpha", 1.0)
    return _each(call, lambda x: ops.multiply(ops.elu(ops.multiply(x, 1 / alpha)), alpha))


def thresholded_relu(call: Call) -> Value:
    """x above alpha, else 0."""
    alpha = call.attribute("alpha", 1.0)
    return _each(call, lambda x: ops.where(ops.greater(x, alpha), x, 0.0))


def hard_sigmoid(call: Call) -> Value:
    """alpha x + beta within [0, 1]."""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return activation("hard_sigmoid")(call)  # type: ignore[return-value]
    return _each(call, lambda x: ops.clip(ops.add(ops.multiply(x, alpha), beta), 0.0, 1.0))


def gelu(call: Call) -> Value:
    """x Phi(x), or its approximation by tanh."""
    if call.attribute("approximate", "none") == "tanh":
        return _each(call, ops.gelu)
    return activation("gelu")(call)  # type: ignore[return-value]


def swish(call: Call) -> Value:
    """x sigmoid(alpha x)."""
    alpha = call.attribute("alpha", 1.0)
    if alpha == 1:
        return activation("silu")(call)  # type: ignore[return-value]
    return _each(call, lambda x: ops.multiply(x, ops.sigmoid(ops.multiply(x, alpha))))


def shrink(call: Call) -> Value:
    """x moved towards 0 by `bias`, and 0 where |x| <= lambd."""
    bias, lambd = call.attribute("bias", 0.0), call.attribute("lambd", 0.5)

    def function(x: Any) -> Any:
        above = ops.where(ops.greater(x, lambd), ops.subtract(x, bias), 0.0)
        return ops.where(ops.greater(-lambd, x), ops.add(x, bias), above)

    return _each(call, function)


def prelu(call: Call) -> Value:
    """x above 0, slope x below; one slope per channel is a layer."""
    x = call.floats(0)
    if call.opset < 7 and call.is_constant(1):
        call.inputs[1] = call.array(1).reshape(-1, *(1,) * (x.rank - 2))
    if call.is_constant(1) and _per_channel(call.array(1), x):
        order = channels_last(x.rank)
        alpha = call.array(1).reshape((1,) * (x.rank - 2) + (-1,))
        shared = list(range(1, x.rank - 1)) or None
        tensor = call.arranged(x, order)
        return Value(call.layer(PReLU, tensor, {"alpha": alpha}, shared_axes=shared), order)
    (tensor, slope), order = call.broadcast(0, 1)
    return Value(ops.where(ops.greater(tensor, 0.0), tensor, ops.multiply(tensor, slope)), order)


def _per_channel(slope: Array, x: Value) -> bool:
    full = (1,) * (x.rank - slope.ndim) + slope.shape
    others = {d for i, d in enumerate(full) if i != 1}
    return x.rank > 1 and len(full) == x.rank and full[1] == x.shape[1] and others <= {1}


def clip(call: Call) -> Value:
    """Clip to bounds that are attributes (old) or inputs."""
    low = call.attribute("min", -math.inf)
    high = call.attribute("max", math.inf)
    if not all(call.is_constant(i) for i in (1, 2) if call.has(i)):
        return _clip_between(call)
    low = float(call.array(1).reshape(())) if call.has(1) else low
    high = float(call.array(2).reshape(())) if call.has(2) else high
    if low == 0 and high > 0:
        bound = None if high == math.inf else high
        return _each(call, lambda x: call.layer(ReLU, x, max_value=bound))
    # Where the bounds cross, ONNX gives the upper one.
    return _each(call, lambda x: ops.clip(x, min(low, high), high))


def _clip_between(call: Call) -> Value:
    x = call.floats(0)
    y = x.tensor
    if call.has(1):
        y = ops.maximum(y, call.floats(1).natural())
    if call.has(2):
        y = ops.minimum(y, call.floats(2).natural())
    return x.with_tensor(y)


# --- not quite elementwise -----------------------------------------------------------------------


def dropout(call: Call) -> list[Value | Array | None]:
    """Dropout, which does nothing but in training; the mask is all ones."""
    x = call.floats(0)
    rate = float(call.array(1).reshape(())) if call.has(1) else call.attribute("ratio", 0.5)
    training = call.has(2) and bool(call.array(2))
    if training and rate > 0:
        raise UnsupportedError(
            f"{call.where}: asks for training, in which elements are dropped at random; export the "
            "model for inference"
        )
    y = x if training else x.with_tensor(call.layer(Dropout, x.tensor, rate=rate))
    return [y, x.with_tensor(ops.equal(x.tensor, x.tensor), "bool") if call.wants(1) else None]


def cast(call: Call) -> Value:
    """Cast between floats, to booleans, and of integers to floats."""
    x = call.value(0)
    dtype = DTYPES[call.attribute("to")]
    return _cast(call, x, dtype)


def cast_like(call: Call) -> Value:
    """CastLike."""
    like = call.inputs[1]
    kind = like.kind if isinstance(like, Value) else ""
    return _cast(call, call.value(0), {"float": "float32", "bool": "bool"}.get(kind, "int64"))


def _cast(call: Call, x: Value, dtype: str) -> Value:
    if dtype in FLOATS:
        wide = "float64" if call.drawing.dtype == "float64" else "float32"
        if x.kind in ("int", "position"):
            return x.with_tensor(ops.cast(x.tensor, wide), "float")
        if x.kind == "float" and dtype == "float16":
            call.array(0)  # rounding to half precision is NumPy's
        return x.with_tensor(x.tensor, "float")
    if dtype == "bool":
        if x.kind == "bool":
            return x
        if x.kind == "float":
            return x.with_tensor(ops.subtract(1.0, ops.equal(x.tensor, 0.0)), "bool")
    if x.kind == "int" and dtype in ("int32", "int64"):
        return x
    call.array(0)
    raise AssertionError("a constant is folded")


def is_nan(call: Call) -> Value:
    """1 where x is NaN."""
    return _each(call, lambda x: ops.subtract(1.0, ops.equal(x, x)), "bool")


def is_inf(call: Call) -> Value:
    """1 where x is infinite, of the signs asked for."""
    up, down = call.attribute("detect_positive", 1), call.attribute("detect_negative", 1)

    def function(x: Any) -> Any:
        found = ops.multiply(x, 0.0) if not (up or down) else None
        if found is not None:
            return ops.subtract(ops.equal(found, found), ops.equal(found, found))
        if up and down:
            return ops.equal(ops.abs(x), np.inf)
        return ops.equal(x, np.inf if up else -np.inf)

    return _each(call, function, "bool")


def identity(call: Call) -> Value:
    """Identity."""
    return call.value(0)


OPERATORS = {
    "Abs": Operator(on_each(ops.abs)),
    "Cast": Operator(cast, "round_mode saturate to", numeric("to")),
    "CastLike": Operator(cast_like, "round_mode saturate"),
    "Ceil": Operator(on_each(ops.ceil)),
    "Celu": Operator(celu, "alpha"),
    "Clip": Operator(clip, "max min"),
    "Dropout": Operator(dropout, "is_test ratio seed", only("is_test", 0, 1)),
    "Elu": Operator(elu, "alpha"),
    "Erf": Operator(on_each(ops.erf)),
    "Exp": Operator(on_each(ops.exp)),
    "Floor": Operator(on_each(ops.floor)),
    "Gelu": Operator(gelu, "approximate", only("approximate", "none", "tanh")),
    "HardSigmoid": Operator(hard_sigmoid, "alpha beta"),
    "HardSwish": Operator(activation("hard_swish")),
    "Identity": Operator(identity),
    "IsInf": Operator(is_inf, "detect_negative detect_positive"),
    "IsNaN": Operator(is_nan),
    "LeakyRelu": Operator(leaky_relu, "alpha"),
    "Log": Operator(on_each(ops.log)),
    "Mish": Operator(activation("mish")),
    "Neg": Operator(on_each(ops.negative)),
    "PRelu": Operator(prelu),
    "Reciprocal": Operator(on_each(ops.reciprocal)),
    "Relu": Operator(activation("relu")),
    "Round": Operator(on_each(ops.round)),
    "Selu": Operator(selu, "alpha gamma"),
    "Shrink": Operator(shrink, "bias lambd"),
    "Sigmoid": Operator(activation("sigmoid")),
    "Sign": Operator(on_each(ops.sign)),
    "Softplus": Operator(activation("softplus")),
    "Softsign": Operator(activation("softsign")),
    "Sqrt": Operator(on_each(ops.sqrt)),
    "Swish": Operator(swish, "alpha"),
    "Tanh": Operator(activation("tanh")),
    "ThresholdedRelu": Operator(thresholded_relu, "alpha"),
}
