# SPDX-License-Identifier: Apache-2.0
"""Activations: each a function and its derivative, side by side. Formulas as in Keras 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.elementwise_binary import broadcast_shapes, minimum, multiply, where
from fastcnn.ops.elementwise_unary import Differentiable, gradient_op
from fastcnn.ops.reduce import sum_to
from fastcnn.records import dataclass

SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017, "Self-normalizing neural networks"
SELU_ALPHA = 1.6732632423543772
SQRT_2_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016, "Gaussian error linear units"
SCALED_TANH = 1.7159  # LeCun et al. 1998, "Efficient backprop"
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _gated(x: Any, gate: Any) -> Any:
    """x gate, and 0 where the gate is shut even for infinite x."""
    return np.where(gate == 0, 0, x * gate)


def _bounded(x: Any) -> Any:
    """x where gates are neither fully open nor shut: slopes have x (1 - gate) in them."""
    return np.clip(x, -1e3, 1e3)


class SlopeOfY(Differentiable):
    """An activation whose derivative is told by its value: x may be overwritten."""

    slope_of: ClassVar[Literal["x", "y"]] = "y"


@final
@dataclass(frozen=True)
class ReLU(SlopeOfY):
    """max(x, 0); slope 0 at 0."""

    name: ClassVar[str] = "relu"

    def value(self, x: Array) -> Any:
        """max(x, 0)."""
        return np.maximum(x, 0)

    def slope(self, v: Array) -> Any:
        """1 above 0."""
        return v > 0


@final
@dataclass(frozen=True)
class ReLU6(SlopeOfY):
    """min(max(x, 0), 6)."""

    name: ClassVar[str] = "relu6"

    def value(self, x: Array) -> Any:
        """x within [0, 6]."""
        return np.clip(x, 0, 6)

    def slope(self, v: Array) -> Any:
        """1 strictly between 0 and 6."""
        return (v > 0) & (v < 6)


@final
@dataclass(frozen=True)
class LeakyReLU(SlopeOfY):
    """x above 0, negative_slope x below; negative_slope >= 0."""

    negative_slope: float = 0.2
    name: ClassVar[str] = "leaky_relu"

    def value(self, x: Array) -> Any:
        """x or negative_slope x."""
        return np.where(x > 0, x, self.negative_slope * x)

    def slope(self, v: Array) -> Any:
        """1 or negative_slope."""
        return np.where(v > 0, 1, self.negative_slope)


@final
@dataclass(frozen=True)
class BoundedReLU(Differentiable):
    """min(x, max_value) from threshold on, negative_slope (x - threshold) below it."""

    negative_slope: float = 0.0
    max_value: float = math.inf
    threshold: float = 0.0
    name: ClassVar[str] = "bounded_relu"

    def value(self, x: Array) -> Any:
        """The three pieces."""
        below = self.negative_slope * (x - self.threshold)
        return np.where(x >= self.threshold, np.minimum(x, self.max_value), below)

    def slope(self, v: Array) -> Any:
        """negative_slope up to the threshold, 1 up to max_value, 0 from there on."""
        return np.where(v > self.threshold, v < self.max_value, self.negative_slope)


@final
@dataclass(frozen=True)
class Elu(SlopeOfY):
    """x above 0, alpha (e^x - 1) below; alpha >= 0."""

    alpha: float = 1.0
    name: ClassVar[str] = "elu"

    def value(self, x: Array) -> Any:
        """x or alpha (e^x - 1)."""
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def slope(self, v: Array) -> Any:
        """1, or alpha e^x = y + alpha."""
        return np.where(v > 0, 1, v + self.alpha)


@final
@dataclass(frozen=True)
class Selu(SlopeOfY):
    """scale * elu(x, alpha) with the two constants of self-normalizing networks."""

    name: ClassVar[str] = "selu"

    def value(self, x: Array) -> Any:
        """scale * elu(x)."""
        return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))

    def slope(self, v: Array) -> Any:
        """scale, or scale alpha e^x."""
        return np.where(v > 0, SELU_SCALE, v + SELU_SCALE * SELU_ALPHA)


@final
@dataclass(frozen=True)
class Sigmoid(SlopeOfY):
    """1 / (1 + e^-x)."""

    name: ClassVar[str] = "sigmoid"

    def value(self, x: Array) -> Any:
        """The logistic function."""
        return _sigmoid(x)

    def slope(self, v: Array) -> Any:
        """y (1 - y)."""
        return v * (1 - v)


@final
@dataclass(frozen=True)
class HardSigmoid(SlopeOfY):
    """relu6(x + 3) / 6."""

    name: ClassVar[str] = "hard_sigmoid"

    def value(self, x: Array) -> Any:
        """relu6(x + 3) / 6."""
        return np.clip(x + 3, 0, 6) / 6

    def slope(self, v: Array) -> Any:
        """1/6 strictly between 0 and 1."""
        return np.where((v > 0) & (v < 1), 1 / 6, 0)


@final
@dataclass(frozen=True)
class Tanh(SlopeOfY):
    """tanh x."""

    name: ClassVar[str] = "tanh"

    def value(self, x: Array) -> Any:
        """tanh x."""
        return np.tanh(x)

    def slope(self, v: Array) -> Any:
        """1 - y^2."""
        return 1 - v * v


@final
@dataclass(frozen=True)
class ScaledTanh(SlopeOfY):
    """1.7159 tanh(2x/3), the activation of LeNet-5."""

    name: ClassVar[str] = "scaled_tanh"

    def value(self, x: Array) -> Any:
        """A tanh(Sx)."""
        return SCALED_TANH * np.tanh(x * (2 / 3))

    def slope(self, v: Array) -> Any:
        """A S (1 - tanh^2) = A S - y^2 S/A."""
        return SCALED_TANH * 2 / 3 - v * v * (2 / 3 / SCALED_TANH)


@final
@dataclass(frozen=True)
class Softplus(Differentiable):
    """ln(1 + e^x)."""

    name: ClassVar[str] = "softplus"

    def value(self, x: Array) -> Any:
        """max(x, 0) + ln(1 + e^-|x|): does not overflow."""
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def slope(self, v: Array) -> Any:
        """sigmoid x."""
        return _sigmoid(v)


@final
@dataclass(frozen=True)
class Softsign(Differentiable):
    """x / (1 + |x|)."""

    name: ClassVar[str] = "softsign"

    def value(self, x: Array) -> Any:
        """x / (1 + |x|)."""
        return x / (1 + np.abs(x))

    def slope(self, v: Array) -> Any:
        """1 / (1 + |x|)^2."""
        root = 1 / (1 + np.abs(v))
        return root * root


@final
@dataclass(frozen=True)
class Silu(Differentiable):
    """x sigmoid(x), also called swish."""

    name: ClassVar[str] = "silu"

    def value(self, x: Array) -> Any:
        """x sigmoid x."""
        return _gated(x, _sigmoid(x))

    def slope(self, v: Array) -> Any:
        """s (1 + x (1 - s))."""
        gate = _sigmoid(v)
        return gate * (1 + _bounded(v) * (1 - gate))


@final
@dataclass(frozen=True)
class HardSwish(Differentiable):
    """x relu6(x + 3) / 6."""

    name: ClassVar[str] = "hard_swish"

    def value(self, x: Array) -> Any:
        """x hard_sigmoid(x)."""
        return _gated(x, np.clip(x + 3, 0, 6) / 6)

    def slope(self, v: Array) -> Any:
        """0 up to -3, 1 from 3 on, (2x + 3) / 6 between."""
        return np.where(v <= -3, 0, np.where(v >= 3, 1, v / 3 + 0.5))


@final
@dataclass(frozen=True)
class Mish(Differentiable):
    """x tanh(softplus(x)) (Misra 2019)."""

    name: ClassVar[str] = "mish"

    def value(self, x: Array) -> Any:
        """x tanh(ln(1 + e^x))."""
        return _gated(x, np.tanh(np.log1p(np.exp(np.minimum(x, 40)))))

    def slope(self, v: Array) -> Any:
        """g + x (1 - g^2) sigmoid x."""
        gate = np.tanh(np.log1p(np.exp(np.minimum(v, 40))))
        return gate + _bounded(v) * (1 - gate * gate) * _sigmoid(v)


@final
@dataclass(frozen=True)
class Gelu(Differentiable):
    """x Phi(x), Phi the normal distribution function; or its approximation by tanh."""

    approximate: bool = False
    name: ClassVar[str] = "gelu"

    def value(self, x: Array) -> Any:
        """x/2 (1 + erf(x/sqrt 2)), or x/2 (1 + tanh u) = x sigmoid(2u)."""
        return _gated(x, self._gate(x))

    def slope(self, v: Array) -> Any:
        """Phi(x) + x phi(x), or the approximation's own derivative."""
        gate, x = self._gate(v), _bounded(v)
        if self.approximate:
            inner = SQRT_2_PI * (1 + 3 * GELU_CUBIC * x * x)
            return gate * (1 + 2 * x * inner * (1 - gate))
        return gate + x * np.exp(-x * x / 2) * (SQRT_2_PI / 2)

    def _gate(self, x: Array) -> Any:
        if self.approximate:
            return _sigmoid(2 * SQRT_2_PI * (x + GELU_CUBIC * x * x * x))
        return 0.5 * np.asarray(_erfc(-x / math.sqrt(2)), x.dtype)


@final
@dataclass(frozen=True)
class PReLU(Op):
    """(x, alpha) -> x above 0, alpha x below; alpha's shape is that of x's last axes, or ones."""

    name: ClassVar[str] = "prelu"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Spec of x."""
        require_float(*inputs)
        x, alpha = inputs
        if broadcast_shapes(x.shape, alpha.shape) != x.shape:
            raise ShapeError(
                f"alpha of shape {alpha.shape} does not fit an input of shape {x.shape}; "
                "expected the sizes of its last axes, each possibly 1"
            )
        return x

    def reference(self, *inputs: Array) -> Array:
        """x or alpha x."""
        x, alpha = inputs
        return np.where(x > 0, x, alpha * x)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy or alpha dy; to alpha the sum of dy x where x < 0."""
        x, alpha = node.inputs
        dx = where(x, dys[0], multiply(dys[0], alpha))
        return (dx, sum_to(multiply(dys[0], minimum(x, 0.0)), alpha.shape))


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Any:
    """max(x, 0), or the general form of Keras.

    That is min(x, max_value) from threshold on and negative_slope (x - threshold) below it. The
    gradient of relu at 0 is 0; in general it is negative_slope at the threshold and 0 at the bound.

    Args:
        x: float array or tensor of any shape.
        negative_slope: slope below the threshold, >= 0.
        max_value: upper bound, >= threshold; none when None.
        threshold: where the function leaves its lower part.

    Raises:
        ArgumentError: a negative slope, or bounds in the wrong order.
    """
    if (negative_slope, max_value, threshold) == (0, None, 0):
        return apply(ReLU(), x)
    if max_value is None and threshold == 0:
        return leaky_relu(x, negative_slope)
    if (negative_slope, max_value, threshold) == (0, 6, 0):
        return apply(ReLU6(), x)
    _require_not_negative("relu", "negative_slope", negative_slope)
    bound = math.inf if max_value is None else float(max_value)
    if not bound >= threshold:
        raise ArgumentError(
            f"ops.relu: max_value={max_value} is below threshold={threshold}; exchange them"
        )
    return apply(BoundedReLU(float(negative_slope), bound, float(threshold)), x)


def _require_not_negative(function: str, name: str, value: float) -> None:
    if not value >= 0:
        raise ArgumentError(f"ops.{function}: found {name}={value}, expected a number >= 0")


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return apply(ReLU6(), x)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x above 0, negative_slope x below; negative_slope >= 0."""
    _require_not_negative("leaky_relu", "negative_slope", negative_slope)
    return apply(LeakyReLU(float(negative_slope)), x)


def prelu(x: Any, alpha: Any) -> Any:
    """x above 0, alpha x below (He et al. 2015), alpha learned.

    Args:
        x: float array or tensor, (N, ...).
        alpha: the sizes of x's last axes, each possibly 1: (C,), (1, 1, C) or (H, W, C).
    """
    return apply(PReLU(), x, alpha)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, alpha (e^x - 1) below (Clevert et al. 2015); alpha >= 0."""
    _require_not_negative("elu", "alpha", alpha)
    return apply(Elu(float(alpha)), x)


def selu(x: Any) -> Any:
    """Scaled elu of self-normalizing networks (Klambauer et al. 2017)."""
    return apply(Selu(), x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return apply(Sigmoid(), x)


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6, as in Keras 3."""
    return apply(HardSigmoid(), x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return apply(Tanh(), x)


def scaled_tanh(x: Any) -> Any:
    """1.7159 tanh(2x/3) (LeCun et al. 1998), the activation of LeNet-5."""
    return apply(ScaledTanh(), x)


def softplus(x: Any) -> Any:
    """ln(1 + e^x), without overflow."""
    return apply(Softplus(), x)


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return apply(Softsign(), x)


def silu(x: Any) -> Any:
    """x sigmoid(x), also called swish."""
    return apply(Silu(), x)


def hard_swish(x: Any) -> Any:
    """x relu6(x + 3) / 6 (Howard et al. 2019), which Keras also calls hard_silu."""
    return apply(HardSwish(), x)


def mish(x: Any) -> Any:
    """x tanh(softplus(x)) (Misra 2019)."""
    return apply(Mish(), x)


def gelu(x: Any, approximate: bool = True) -> Any:
    """x Phi(x) (Hendrycks & Gimpel 2016); by tanh where `approximate`, else by the error function.

    The default is that of `keras.ops.gelu`; `keras.activations.gelu` has False.
    """
    return apply(Gelu(bool(approximate)), x)


ACTIVATIONS: tuple[type[Differentiable], ...] = (
    ReLU,
    ReLU6,
    LeakyReLU,
    BoundedReLU,
    Elu,
    Selu,
    Sigmoid,
    HardSigmoid,
    Tanh,
    ScaledTanh,
    Softplus,
    Softsign,
    Silu,
    HardSwish,
    Mish,
    Gelu,
)
OPS: tuple[type[Op], ...] = (*ACTIVATIONS, *map(gradient_op, ACTIVATIONS), PReLU)
