# SPDX-License-Identifier: Apache-2.0
"""How far predictions are from numeric targets."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from fastcnn.metrics.base import PredictionMean
from fastcnn.metrics.shapes import Array, difference, mean_last


class ErrorMean(PredictionMean):
    """A mean that is better the smaller it is."""

    direction = "down"


@final
class MeanSquaredError(ErrorMean):
    """Mean of (y_true - y_pred)²."""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        return mean_last(difference(y_true, y_pred, self.name) ** 2)


@final
class MeanAbsoluteError(ErrorMean):
    """Mean of |y_true - y_pred|."""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        return mean_last(np.abs(difference(y_true, y_pred, self.name)))


@final
class RootMeanSquaredError(ErrorMean):
    """Square root of the mean of (y_true - y_pred)²."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        return mean_last(difference(y_true, y_pred, self.name) ** 2)

    def result(self) -> float:
        """The root of the mean over all batches."""
        return float(np.sqrt(super().result()))
