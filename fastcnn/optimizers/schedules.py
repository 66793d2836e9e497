# SPDX-License-Identifier: Apache-2.0
"""Learning rates as functions of the number of steps taken.

A schedule is called with the step (0 for the first update) and returns a Python float; it is
evaluated outside the graph, so changing rates never recompile anything.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from fastcnn import arguments
from fastcnn.configurable import Configurable, resolve
from fastcnn.configurable import serialize as serialize
from fastcnn.errors import ArgumentError


class LearningRateSchedule(Configurable):
    """Base of schedules: implement `__call__`."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""


@final
class ExponentialDecay(LearningRateSchedule):
    """initial · rate^(step / decay_steps), with the exponent rounded down where `staircase`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.decay_steps = arguments.positive(name, "decay_steps", decay_steps)
        self.decay_rate = arguments.positive(name, "decay_rate", decay_rate)
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        exponent = step / self.decay_steps
        if self.staircase:
            exponent = math.floor(exponent)
        return float(self.initial_learning_rate * self.decay_rate**exponent)


@final
class StepDecay(LearningRateSchedule):
    """initial · gamma^floor(step / step_size): drop the rate every `step_size` steps."""

    def __init__(
        self,
        initial_learning_rate: float,
        step_size: int,
        gamma: float = 0.1,
        name: str = "StepDecay",
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.step_size = arguments.integer(name, "step_size", step_size, at_least=1)
        self.gamma = arguments.positive(name, "gamma", gamma)
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        return self.initial_learning_rate * self.gamma ** math.floor(step / self.step_size)


@final
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to and including step `boundaries[i]`, the last value afterwards."""

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseConstant",
    ) -> None:
        if not all(isinstance(v, (list, tuple)) for v in (boundaries, values)):
            raise ArgumentError(
                f"{name}: found boundaries={boundaries!r} and values={values!r}, expected two lists"
            )
        if len(boundaries) + 1 != len(values):
            raise ArgumentError(
                f"{name}: found {len(boundaries)} boundaries and {len(values)} values, expected "
                "one value more than boundaries"
            )
        if any(a >= b for a, b in itertools.pairwise(boundaries)):
            raise ArgumentError(f"{name}: found boundaries {list(boundaries)}; sort them upwards")
        self.boundaries = [arguments.number(name, "boundaries", b) for b in boundaries]
        self.values = [arguments.non_negative(name, "values", v) for v in values]
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@final
class PolynomialDecay(LearningRateSchedule):
    """(initial - end) · (1 - step / decay_steps)^power + end, then `end`.

    With `cycle`, decay_steps is stretched to the next multiple whenever the step passes it.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.decay_steps = arguments.positive(name, "decay_steps", decay_steps)
        self.end_learning_rate = arguments.non_negative(
            name, "end_learning_rate", end_learning_rate
        )
        self.power = arguments.number(name, "power", power)
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        steps = self.decay_steps
        if self.cycle:
            steps *= max(1, math.ceil(step / steps))
        remaining = 1.0 - min(step, steps) / steps
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * remaining**self.power + self.end_learning_rate)


@final
class InverseTimeDecay(LearningRateSchedule):
    """initial / (1 + rate · step / decay_steps), with the quotient rounded down if `staircase`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.decay_steps = arguments.positive(name, "decay_steps", decay_steps)
        self.decay_rate = arguments.non_negative(name, "decay_rate", decay_rate)
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        quotient = step / self.decay_steps
        if self.staircase:
            quotient = math.floor(quotient)
        return self.initial_learning_rate / (1.0 + self.decay_rate * quotient)


@final
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the peak down to `alpha` times the peak: Loshchilov and Hutter, 2016.

    With `warmup_target`, the rate first climbs in a line from `initial_learning_rate` to the target
    during `warmup_steps`, and the cosine of `decay_steps` starts from there.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.decay_steps = arguments.positive(name, "decay_steps", decay_steps)
        self.alpha = arguments.number(name, "alpha", alpha)
        self.name = name
        self.warmup_target = None if warmup_target is None else _rate(name, warmup_target)
        self.warmup_steps = arguments.integer(name, "warmup_steps", warmup_steps)

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        if self.warmup_target is None:
            return self._decayed(step, self.initial_learning_rate)
        if step < self.warmup_steps:
            climb = self.warmup_target - self.initial_learning_rate
            return self.initial_learning_rate + climb * step / self.warmup_steps
        return self._decayed(step - self.warmup_steps, self.warmup_target)

    def _decayed(self, step: int, peak: float) -> float:
        progress = min(step, self.decay_steps) / self.decay_steps
        return peak * ((1 - self.alpha) * _half_cosine(progress) + self.alpha)


@final
class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decay that starts anew; SGDR by Loshchilov and Hutter, 2016.

    The first period has `first_decay_steps` steps; each next one is `t_mul` times as long and its
    peak `m_mul` times as high. The rate never falls below `alpha` times the first peak.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = _rate(name, initial_learning_rate)
        self.first_decay_steps = arguments.positive(name, "first_decay_steps", first_decay_steps)
        self.t_mul = arguments.number(name, "t_mul", t_mul)
        if self.t_mul < 1:
            raise ArgumentError(f"{name}: found t_mul={t_mul}, expected a number of at least 1")
        self.m_mul = arguments.non_negative(name, "m_mul", m_mul)
        self.alpha = arguments.number(name, "alpha", alpha)
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        period, remaining, factor = self.first_decay_steps, float(step), 1.0
        if self.t_mul == 1:
            factor = self.m_mul ** math.floor(remaining / period)
            remaining %= period
        while remaining >= period:
            remaining -= period
            period *= self.t_mul
            factor *= self.m_mul
        swing = factor * _half_cosine(remaining / period)
        return self.initial_learning_rate * ((1 - self.alpha) * swing + self.alpha)


@final
class OneCycle(LearningRateSchedule):
    """Half a cosine up from max_lr / div to max_lr, then one down to max_lr / div_final.

    The 1cycle policy of Smith and Topin, 2018, with cosine arcs as in fastai; the climb takes
    `pct_start` of the `total_steps`, and the last rate holds afterwards.
    """

    def __init__(
        self,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.25,
        div: float = 25.0,
        div_final: float = 1e5,
        name: str = "OneCycle",
    ) -> None:
        self.max_lr = _rate(name, max_lr)
        self.total_steps = arguments.integer(name, "total_steps", total_steps, at_least=1)
        self.pct_start = arguments.fraction(name, "pct_start", pct_start)
        self.div = arguments.positive(name, "div", div)
        self.div_final = arguments.positive(name, "div_final", div_final)
        self.name = name

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`."""
        climb = self.pct_start * self.total_steps
        if step < climb:
            low = self.max_lr / self.div
            return low + (self.max_lr - low) * (1 - _half_cosine(step / climb))
        low = self.max_lr / self.div_final
        fall = max(1.0, self.total_steps - climb)
        return low + (self.max_lr - low) * _half_cosine(min(1.0, (step - climb) / fall))


def _half_cosine(progress: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _rate(where: str, value: float) -> float:
    return arguments.non_negative(where, "learning rate", value)


SCHEDULES: dict[str, type[LearningRateSchedule]] = {
    "cosine_decay": CosineDecay,
    "cosine_decay_restarts": CosineDecayRestarts,
    "exponential_decay": ExponentialDecay,
    "inverse_time_decay": InverseTimeDecay,
    "one_cycle": OneCycle,
    "piecewise_constant_decay": PiecewiseConstantDecay,
    "polynomial_decay": PolynomialDecay,
    "step_decay": StepDecay,
}


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """A schedule from `{"class_name", "config"}`.

    Raises:
        ArgumentError: there is no such schedule, or its config is wrong.
    """
    return resolve(config, "schedule", LearningRateSchedule, SCHEDULES, custom_objects)
