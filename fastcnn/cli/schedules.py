# SPDX-License-Identifier: Apache-2.0
"""Learning rate schedules by name, stretched over a whole run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn.optimizers import schedules
from fastcnn.optimizers.schedules import LearningRateSchedule


def _step(rate: float, steps: int) -> LearningRateSchedule:
    return schedules.StepDecay(rate, max(1, steps // 3), gamma=0.1)


def _exponential(rate: float, steps: int) -> LearningRateSchedule:
    return schedules.ExponentialDecay(rate, steps, decay_rate=0.01)


def _linear(rate: float, steps: int) -> LearningRateSchedule:
    return schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0)


def _cosine(rate: float, steps: int) -> LearningRateSchedule:
    return schedules.CosineDecay(rate, steps)


def _warm_cosine(rate: float, steps: int) -> LearningRateSchedule:
    warm = max(1, steps // 20)
    return schedules.CosineDecay(0.0, steps - warm, warmup_target=rate, warmup_steps=warm)


def _one_cycle(rate: float, steps: int) -> LearningRateSchedule:
    return schedules.OneCycle(rate, steps)


SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, steps: rate,
    "step": _step,
    "exponential": _exponential,
    "linear": _linear,
    "cosine": _cosine,
    "warm_cosine": _warm_cosine,
    "one_cycle": _one_cycle,
}


def make_schedule(name: str, rate: float, steps: int) -> Any:
    """The schedule `name`, one of `SCHEDULES`, with highest rate `rate` over `steps` updates."""
    return SCHEDULES[name](rate, steps)
