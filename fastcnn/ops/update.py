# SPDX-License-Identifier: Apache-2.0
"""One optimizer step per op, by Keras 3's formulas, elementwise and in place.

    g       gradient
    numbers (step size, decay): what changes from step to step comes as a tensor of the parameter's
            dtype, so that a schedule needs no new plan
    decay   where the op's `decay` is set the parameter first loses that share of itself (decoupled
            weight decay, Loshchilov and Hutter 2019): learning rate times weight decay

All state goes in and comes out; a plan lets the outputs overwrite the inputs. An op updates a
weight, or a list of weights (`passes.fuse_updates`).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Op, Spec
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.elementwise_binary import add, divide, maximum, multiply
from fastcnn.ops.elementwise_unary import sqrt, square
from fastcnn.ops.reduce import sum as sum_
from fastcnn.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Update(Op):
    """(numbers, then of each weight: parameter, g, slots...) -> (of each: parameter', slots'...).

    `weights` are updated together; their shapes may differ.
    """

    weights: int = 1
    shared: ClassVar[tuple[str, ...]] = ("numbers",)
    each: ClassVar[tuple[str, ...]] = ("the parameter", "the gradient")

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept per parameter, in order."""

    @abstractmethod
    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """The new state of one weight, from what is shared and from its own inputs."""

    @functools.cached_property
    def inplace(self) -> dict[int, int]:  # type: ignore[override]
        """Every new value may take the place of the old one."""
        own = [self._inputs(weight) for weight in range(self.weights)]
        return dict(enumerate(i for old, _, *slots in own for i in (old, *slots)))

    def inputs_behind(self, output: int) -> range:
        """Positions of the inputs, beside what is shared, that an output is made of."""
        return self._inputs(output // (1 + len(self.slots)))

    def _inputs(self, weight: int) -> range:
        count = len(self.each) + len(self.slots)
        begin = len(self.shared) + weight * count
        return range(begin, begin + count)

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """The specs of each parameter and its slots."""
        require_float(*inputs)
        own = (*self.each, *self.slots)
        count = len(self.shared) + self.weights * len(own)
        if len(inputs) != count:
            several = f" of each of {self.weights} weights" if self.weights > 1 else ""
            raise ShapeError(
                f"found {len(inputs)} inputs, expected {count}: "
                f"{', '.join((*self.shared, *own))}{several}; "
                "give one slot for each state the settings ask for"
            )
        for numbers in inputs[: len(self.shared)]:
            if numbers.shape != (2,):
                raise ShapeError(
                    f"found numbers of shape {numbers.shape}, expected (2,): step size and decay; "
                    "put both into one tensor"
                )
        for weight in range(self.weights):
            self._check_shapes(own, [inputs[i] for i in self._inputs(weight)])
        return tuple(inputs[i] for i in self.inplace.values())

    def _check_shapes(self, names: Sequence[str], specs: Sequence[Spec]) -> None:
        for name, spec in zip(names, specs, strict=True):
            if spec.shape != specs[0].shape:
                raise ShapeError(
                    f"found shape {spec.shape} for {name} beside {names[0]} of shape "
                    f"{specs[0].shape}, expected equal shapes; reshape it, or make slots anew"
                )

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Weight by weight."""
        shared = inputs[: len(self.shared)]
        made: list[Array] = []
        for weight in range(self.weights):
            made += self.step(*shared, *(inputs[i] for i in self._inputs(weight)))
        return tuple(made)


def _decayed(parameter: Array, numbers: Array, decay: bool) -> Array:
    return parameter - parameter * numbers[1] if decay else parameter


@final
@dataclass(frozen=True)
class SGDUpdate(Update):
    """w -= lr g."""

    decay: bool = False
    name: ClassVar[str] = "sgd_update"
    slots: ClassVar[tuple[str, ...]] = ()

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        numbers, w, g = inputs
        return (_decayed(w, numbers, self.decay) - numbers[0] * g,)


@final
@dataclass(frozen=True)
class MomentumUpdate(Update):
    """v = m v - lr g;  w += v, or with Nesterov w += m v - lr g.

    Velocity comes first among the slots: (numbers, parameter, g, velocity).
    """

    momentum: float = 0.9
    nesterov: bool = False
    decay: bool = False
    name: ClassVar[str] = "momentum_update"
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        numbers, w, g, velocity = inputs
        step = numbers[0] * g
        velocity = self.momentum * velocity - step
        w = _decayed(w, numbers, self.decay)
        return w + (self.momentum * velocity - step if self.nesterov else velocity), velocity


@final
@dataclass(frozen=True)
class RMSpropUpdate(Update):
    """s = rho s + (1 - rho) g^2;  d = lr g / sqrt(s + epsilon);  w -= d.

    Centered: s - a^2 + epsilon under the root, with a = rho a + (1 - rho) g.
    With momentum: v = momentum v + d;  w -= v.
    """

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    decay: bool = False
    name: ClassVar[str] = "rmsprop_update"

    @property
    def slots(self) -> tuple[str, ...]:
        """Mean square, then mean gradient where centered, then momentum where it is not 0."""
        optional = (("mean_gradient", self.centered), ("momentum", self.momentum != 0))
        return ("mean_square", *(name for name, wanted in optional if wanted))

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        numbers, w, g, square, *rest = inputs
        square = self.rho * square + (1 - self.rho) * g * g
        out, spread = [square], square
        if self.centered:
            mean = self.rho * rest[0] + (1 - self.rho) * g
            spread = square - mean * mean
            out.append(mean)
        step = numbers[0] * g / np.sqrt(spread + self.epsilon)
        if self.momentum:
            step = self.momentum * rest[-1] + step
            out.append(step)
        return (_decayed(w, numbers, self.decay) - step, *out)


@final
@dataclass(frozen=True)
class AdamUpdate(Update):
    """m += (1 - beta_1) (g - m);  v += (1 - beta_2) (g^2 - v);  w -= alpha m / (sqrt(v) + epsilon).

    The step size is alpha = lr sqrt(1 - beta_2^t) / (1 - beta_1^t), at step t = 1, 2, ...
    AMSGrad divides by the largest v so far (Reddi et al. 2018). With `decay` this is AdamW.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    decay: bool = False
    name: ClassVar[str] = "adam_update"

    @property
    def slots(self) -> tuple[str, ...]:
        """m and v, and the largest v where `amsgrad`."""
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        numbers, w, g, m, v, *largest = inputs
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        out, scale = [m, v], v
        if self.amsgrad:
            scale = np.maximum(largest[0], v)
            out.append(scale)
        step = numbers[0] * m / (np.sqrt(scale) + self.epsilon)
        return (_decayed(w, numbers, self.decay) - step, *out)


@final
@dataclass(frozen=True)
class AdagradUpdate(Update):
    """a += g^2;  w -= lr g / sqrt(a + epsilon)."""

    epsilon: float = 1e-7
    decay: bool = False
    name: ClassVar[str] = "adagrad_update"
    slots: ClassVar[tuple[str, ...]] = ("accumulator",)

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        numbers, w, g, accumulator = inputs
        accumulator = accumulator + g * g
        step = numbers[0] * g / np.sqrt(accumulator + self.epsilon)
        return _decayed(w, numbers, self.decay) - step, accumulator


@final
@dataclass(frozen=True)
class EMAUpdate(Update):
    """average = momentum average + (1 - momentum) value, of each weight: (average, value)."""

    momentum: float = 0.99
    name: ClassVar[str] = "ema_update"
    shared: ClassVar[tuple[str, ...]] = ()
    each: ClassVar[tuple[str, ...]] = ("the average", "the value")
    slots: ClassVar[tuple[str, ...]] = ()

    def step(self, *inputs: Array) -> tuple[Array, ...]:
        """As the formula."""
        average, value = inputs
        return (average * self.momentum + value * (1 - self.momentum),)


# --- functions ---------------------------------------------------------------------------------


def sgd_update(
    parameter: Any,
    gradient: Any,
    numbers: Any,
    velocity: Any = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: bool = False,
) -> Any:
    """One step of gradient descent.

    Args:
        parameter, gradient: arrays or tensors of one shape.
        numbers: (2,) of learning rate and decay.
        velocity: as the parameter, with momentum only.
        momentum: share of the velocity that is kept.
        nesterov: look ahead along the velocity.
        decay: whether `numbers[1]` is used.

    Returns:
        The new parameter; with a velocity, also the new velocity.
    """
    if velocity is None:
        return apply(SGDUpdate(decay), numbers, parameter, gradient)
    step = MomentumUpdate(float(momentum), nesterov, decay)
    return apply(step, numbers, parameter, gradient, velocity)


def rmsprop_update(
    parameter: Any,
    gradient: Any,
    numbers: Any,
    *slots: Any,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    decay: bool = False,
) -> Any:
    """One step of RMSprop; `slots` as `RMSpropUpdate` orders them. Returns parameter and slots."""
    step = RMSpropUpdate(rho, momentum, epsilon, centered, decay)
    return apply(step, numbers, parameter, gradient, *slots)


def adam_update(
    parameter: Any,
    gradient: Any,
    numbers: Any,
    *slots: Any,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
    decay: bool = False,
) -> Any:
    """One step of Adam (AdamW with `decay`); `numbers[0]` is alpha. Returns parameter and slots."""
    step = AdamUpdate(beta_1, beta_2, epsilon, amsgrad, decay)
    return apply(step, numbers, parameter, gradient, *slots)


def adagrad_update(
    parameter: Any,
    gradient: Any,
    numbers: Any,
    accumulator: Any,
    epsilon: float = 1e-7,
    decay: bool = False,
) -> Any:
    """One step of Adagrad. Returns the new parameter and accumulator."""
    return apply(AdagradUpdate(epsilon, decay), numbers, parameter, gradient, accumulator)


def ema_update(average: Any, value: Any, momentum: float) -> Any:
    """momentum * average + (1 - momentum) * value; not differentiable."""
    return apply(EMAUpdate(float(momentum)), average, value)


def clip_by_norm(x: Any, clipnorm: float) -> Any:
    """`x` scaled down to the 2-norm `clipnorm` where its own is larger.

    Raises:
        ArgumentError: `clipnorm` is not above 0.
    """
    return clip_by_global_norm([x], clipnorm)[0]


def clip_by_global_norm(xs: Sequence[Any], clipnorm: float) -> list[Any]:
    """All of `xs` scaled by one factor, so that their 2-norm together is at most `clipnorm`.

    Raises:
        ArgumentError: `clipnorm` is not above 0.
    """
    if not clipnorm > 0:
        raise ArgumentError(f"found clipnorm={clipnorm}, expected a number above 0; try 1.0")
    squares = [sum_(square(x)) for x in xs]
    if not squares:
        return []
    norm = sqrt(functools.reduce(add, squares))
    factor = divide(clipnorm, maximum(norm, clipnorm))
    return [multiply(x, factor) for x in xs]


OPS: tuple[type[Op], ...] = (
    SGDUpdate,
    MomentumUpdate,
    RMSpropUpdate,
    AdamUpdate,
    AdagradUpdate,
    EMAUpdate,
)
