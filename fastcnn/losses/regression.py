# SPDX-License-Identifier: Apache-2.0
"""Losses of numeric targets of the predictions' shape: means over the last axis."""

from __future__ import annotations

import math
from typing import Any, final

from fastcnn import arguments, ops
from fastcnn.losses.base import Loss, as_columns

EPSILON = 1e-7


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean((y_pred - y_true)², axis=-1)."""
    return ops.mean(ops.square(ops.subtract(y_pred, y_true)), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean(|y_pred - y_true|, axis=-1)."""
    return ops.mean(ops.abs(ops.subtract(y_pred, y_true)), axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Mean over the last axis of e²/2 where e = |y_pred - y_true| ≤ delta, else delta·e - delta²/2.

    Source: Huber, 1964.
    """
    error = ops.abs(ops.subtract(y_pred, y_true))
    inner = ops.minimum(error, delta)
    outer = ops.subtract(error, inner)
    half_square = ops.multiply(ops.square(inner), 0.5)
    return ops.mean(ops.add(half_square, ops.multiply(outer, delta)), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """mean(log(cosh(y_pred - y_true)), axis=-1), without overflow."""
    error = ops.subtract(y_pred, y_true)
    tail = ops.softplus(ops.multiply(error, -2.0))
    return ops.mean(ops.subtract(ops.add(error, tail), math.log(2.0)), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """mean(y_pred - y_true·log(y_pred + 1e-7), axis=-1)."""
    logs = ops.log(ops.add(y_pred, EPSILON))
    return ops.mean(ops.subtract(y_pred, ops.multiply(y_true, logs)), axis=-1)


@final
class MeanSquaredError(Loss):
    """Mean of squared errors."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Mean squared error per sample."""
        return mean_squared_error(as_columns(y_true), as_columns(y_pred))


@final
class MeanAbsoluteError(Loss):
    """Mean of absolute errors."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Mean absolute error per sample."""
        return mean_absolute_error(as_columns(y_true), as_columns(y_pred))


@final
class Huber(Loss):
    """Squared for errors up to `delta`, linear beyond."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = arguments.positive("Huber", "delta", delta)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Huber loss per sample."""
        return huber(as_columns(y_true), as_columns(y_pred), self.delta)


@final
class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine of errors."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Log-cosh loss per sample."""
        return log_cosh(as_columns(y_true), as_columns(y_pred))


@final
class Poisson(Loss):
    """Negative log-likelihood of counts, without its constant."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Poisson loss per sample."""
        return poisson(as_columns(y_true), as_columns(y_pred))
