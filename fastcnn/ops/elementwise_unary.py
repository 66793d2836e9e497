# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions of one tensor: how they are declared, and those of mathematics.

A function stands beside its derivative. The derivative is told in terms of x or of y, whichever is
cheaper and as accurate (`slope_of`); telling it in y lets x be forgotten after the forward pass.
Its op, dx = dy f'(x), is made from the class by `gradient_op`.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Node, Op, Parameter, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.records import dataclass

_erf = np.frompyfunc(math.erf, 1, 1)


class Unary(Op):
    """y = f(x), element by element."""

    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """f(x)."""
        return np.asarray(self.value(inputs[0]), inputs[0].dtype)

    @abstractmethod
    def value(self, x: Array) -> Any:
        """f(x)."""


class Differentiable(Unary):
    """A function whose derivative is slope(x), or slope(y) where `slope_of` says so."""

    slope_of: ClassVar[Literal["x", "y"]] = "x"

    @abstractmethod
    def slope(self, v: Array) -> Any:
        """f'(x) from x or y."""

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy f'(x)."""
        known = node.inputs[0] if self.slope_of == "x" else node.outputs[0]
        return (apply(gradient_op(type(self))(self), dys[0], known),)


@dataclass(frozen=True)
class UnaryGrad(Op):
    """(dy, x or y) -> dx = dy f'(x)."""

    of: Differentiable
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec as both inputs."""
        require_float(*inputs)
        dy, known = inputs
        if dy.shape != known.shape:
            raise ShapeError(f"found dy of {dy} and values of {known}; expected equal shapes")
        return dy

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Those of the function."""
        return self.of.attributes(inputs[1])

    def reference(self, *inputs: Array) -> Array:
        """dy times the slope."""
        dy, known = inputs
        return np.asarray(dy * self.of.slope(known), dy.dtype)


@functools.cache
def gradient_op(function: type[Differentiable]) -> Any:
    """The class of the op that is the gradient of `function`: relu -> relu_grad."""
    members = {"name": f"{function.name}_grad", "__doc__": f"Gradient of {function.name}."}
    return type(f"{function.__name__}Grad", (UnaryGrad,), members)


@final
@dataclass(frozen=True)
class Negative(Unary):
    """y = -x."""

    name: ClassVar[str] = "negative"

    def value(self, x: Array) -> Any:
        """-x."""
        return -x

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """-dy."""
        return (negative(dys[0]),)


@final
@dataclass(frozen=True)
class Sign(Unary):
    """y = -1, 0 or 1; not differentiable."""

    name: ClassVar[str] = "sign"

    def value(self, x: Array) -> Any:
        """sign x."""
        return np.sign(x)


@final
@dataclass(frozen=True)
class Floor(Unary):
    """y = the largest whole number not above x; not differentiable, as all rounding."""

    name: ClassVar[str] = "floor"

    def value(self, x: Array) -> Any:
        """Rounded down."""
        return np.floor(x)


@final
@dataclass(frozen=True)
class Ceil(Unary):
    """y = the smallest whole number not below x."""

    name: ClassVar[str] = "ceil"

    def value(self, x: Array) -> Any:
        """Rounded up."""
        return np.ceil(x)


@final
@dataclass(frozen=True)
class Round(Unary):
    """y = the nearest whole number, of two the even one."""

    name: ClassVar[str] = "round"

    def value(self, x: Array) -> Any:
        """Rounded."""
        return np.rint(x)


@final
@dataclass(frozen=True)
class Abs(Differentiable):
    """y = |x|; slope 0 at 0."""

    name: ClassVar[str] = "abs"

    def value(self, x: Array) -> Any:
        """|x|."""
        return np.abs(x)

    def slope(self, v: Array) -> Any:
        """sign x."""
        return np.sign(v)


@final
@dataclass(frozen=True)
class Square(Differentiable):
    """y = x^2."""

    name: ClassVar[str] = "square"

    def value(self, x: Array) -> Any:
        """x^2."""
        return x * x

    def slope(self, v: Array) -> Any:
        """2x."""
        return v + v


@final
@dataclass(frozen=True)
class Sqrt(Differentiable):
    """y = sqrt x; NaN below 0."""

    name: ClassVar[str] = "sqrt"
    slope_of: ClassVar[Literal["x", "y"]] = "y"

    def value(self, x: Array) -> Any:
        """sqrt x."""
        return np.sqrt(x)

    def slope(self, v: Array) -> Any:
        """1 / (2y)."""
        return 0.5 / v


@final
@dataclass(frozen=True)
class Rsqrt(Differentiable):
    """y = 1 / sqrt x."""

    name: ClassVar[str] = "rsqrt"
    slope_of: ClassVar[Literal["x", "y"]] = "y"

    def value(self, x: Array) -> Any:
        """1 / sqrt x."""
        return 1 / np.sqrt(x)

    def slope(self, v: Array) -> Any:
        """-y^3 / 2."""
        return -0.5 * v * (v * v)


@final
@dataclass(frozen=True)
class Reciprocal(Differentiable):
    """y = 1 / x."""

    name: ClassVar[str] = "reciprocal"
    slope_of: ClassVar[Literal["x", "y"]] = "y"

    def value(self, x: Array) -> Any:
        """1 / x."""
        return 1 / x

    def slope(self, v: Array) -> Any:
        """-y^2."""
        return -(v * v)


@final
@dataclass(frozen=True)
class Exp(Differentiable):
    """y = e^x."""

    name: ClassVar[str] = "exp"
    slope_of: ClassVar[Literal["x", "y"]] = "y"

    def value(self, x: Array) -> Any:
        """e^x."""
        return np.exp(x)

    def slope(self, v: Array) -> Any:
        """y."""
        return v


@final
@dataclass(frozen=True)
class Log(Differentiable):
    """y = ln x; -inf at 0, NaN below."""

    name: ClassVar[str] = "log"

    def value(self, x: Array) -> Any:
        """ln x."""
        return np.log(x)

    def slope(self, v: Array) -> Any:
        """1 / x."""
        return 1 / v


@final
@dataclass(frozen=True)
class Erf(Differentiable):
    """y = 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""

    name: ClassVar[str] = "erf"

    def value(self, x: Array) -> Any:
        """erf x."""
        return np.asarray(_erf(x), x.dtype)

    def slope(self, v: Array) -> Any:
        """2/sqrt(pi) e^-x^2."""
        return 2 / math.sqrt(math.pi) * np.exp(-v * v)


@final
@dataclass(frozen=True)
class Power(Differentiable):
    """y = x^exponent for a fixed number; NaN where x < 0 and the exponent is not whole."""

    exponent: float
    name: ClassVar[str] = "power"

    def value(self, x: Array) -> Any:
        """x^p."""
        return np.power(x, self.exponent)

    def slope(self, v: Array) -> Any:
        """p x^(p-1)."""
        return self.exponent * np.power(v, self.exponent - 1)


@final
@dataclass(frozen=True)
class Clip(Differentiable):
    """y = x brought within [x_min, x_max]; slope 1 within, bounds included."""

    x_min: float
    x_max: float
    name: ClassVar[str] = "clip"

    def value(self, x: Array) -> Any:
        """min(max(x, x_min), x_max)."""
        return np.clip(x, self.x_min, self.x_max)

    def slope(self, v: Array) -> Any:
        """1 within the bounds."""
        return (v >= self.x_min) & (v <= self.x_max)


def negative(x: Any) -> Any:
    """-x for a float array or tensor of any shape."""
    return apply(Negative(), x)


def sign(x: Any) -> Any:
    """-1, 0 or 1 by the sign of x; not differentiable."""
    return apply(Sign(), x)


def floor(x: Any) -> Any:
    """The largest whole number not above x; not differentiable."""
    return apply(Floor(), x)


def ceil(x: Any) -> Any:
    """The smallest whole number not below x; not differentiable."""
    return apply(Ceil(), x)


def round(x: Any) -> Any:
    """The nearest whole number, of two the even one; not differentiable."""
    return apply(Round(), x)


def erf(x: Any) -> Any:
    """The error function."""
    return apply(Erf(), x)


def abs(x: Any) -> Any:
    """|x|; its gradient at 0 is 0."""
    return apply(Abs(), x)


def square(x: Any) -> Any:
    """x^2."""
    return apply(Square(), x)


def sqrt(x: Any) -> Any:
    """Square root; NaN below 0."""
    return apply(Sqrt(), x)


def rsqrt(x: Any) -> Any:
    """1 / sqrt x."""
    return apply(Rsqrt(), x)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    return apply(Reciprocal(), x)


def exp(x: Any) -> Any:
    """e^x."""
    return apply(Exp(), x)


def log(x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below."""
    return apply(Log(), x)


_EXACT_POWERS: dict[float, Unary] = {2: Square(), 0.5: Sqrt(), -0.5: Rsqrt(), -1: Reciprocal()}


def power(x: Any, exponent: Any) -> Any:
    """x to a fixed power.

    Args:
        x: float array or tensor of any shape.
        exponent: a number; where it is not whole, x below 0 gives NaN.

    Raises:
        ArgumentError: the exponent is not a number.
    """
    if isinstance(exponent, (Tensor, Parameter)) or np.ndim(exponent):
        raise ArgumentError(
            f"ops.power: found an exponent of type {type(exponent).__name__}, expected a number; "
            "for a varying exponent use ops.exp(exponent * ops.log(x))"
        )
    exponent = float(exponent)
    return apply(_EXACT_POWERS.get(exponent, Power(exponent)), x)


def clip(x: Any, x_min: float, x_max: float) -> Any:
    """x brought within [x_min, x_max]; the gradient passes within, bounds included.

    Raises:
        ArgumentError: x_min is above x_max.
    """
    if not x_min <= x_max:
        raise ArgumentError(f"ops.clip: x_min={x_min} is above x_max={x_max}; exchange them")
    return apply(Clip(float(x_min), float(x_max)), x)


FUNCTIONS: tuple[type[Differentiable], ...] = (
    Abs,
    Square,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Exp,
    Log,
    Erf,
    Power,
    Clip,
)
OPS: tuple[type[Op], ...] = (
    Negative,
    Sign,
    Floor,
    Ceil,
    Round,
    *FUNCTIONS,
    *map(gradient_op, FUNCTIONS),
)
