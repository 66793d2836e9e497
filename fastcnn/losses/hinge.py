# SPDX-License-Identifier: Apache-2.0
"""Losses of margins: targets are -1 or 1 (0 is read as -1), or one-hot."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.errors import DataError
from fastcnn.graph import Array
from fastcnn.losses.base import Loss, as_columns, is_symbolic, shaped_like


def hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true·y_pred, 0), axis=-1)."""
    return ops.mean(_margin(y_true, y_pred), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true·y_pred, 0)², axis=-1)."""
    return ops.mean(ops.square(_margin(y_true, y_pred)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """max(neg - pos + 1, 0): pos the score of the class, neg the best of the others' scores."""
    positive = ops.sum(ops.multiply(y_true, y_pred), axis=-1)
    negative = ops.max(ops.multiply(ops.subtract(1.0, y_true), y_pred), axis=-1)
    return ops.maximum(ops.add(ops.subtract(negative, positive), 1.0), 0.0)


def _margin(y_true: Any, y_pred: Any) -> Any:
    signs = y_true if is_symbolic(y_true) else _signs(np.asarray(y_true))
    return ops.maximum(ops.subtract(1.0, ops.multiply(signs, y_pred)), 0.0)


def _signs(target: Array) -> Array:
    """Zeros and ones as -1 and 1; anything else as it is."""
    if target.dtype.kind != "f":
        target = target.astype("float32")
    return 2 * target - 1 if np.isin(target, (0, 1)).all() else target


class _SignLoss(Loss):
    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """Targets of -1 and 1."""
        signs = _signs(shaped_like(target, prediction_shape, where))
        wrong = signs[~np.isin(signs, (-1, 1))]
        if wrong.size:
            raise DataError(
                f"{where}: found a target of {wrong.flat[0]:g}, expected -1 and 1 (or 0 and 1)"
            )
        return signs.astype(dtype, copy=False)


@final
class Hinge(_SignLoss):
    """Mean of max(1 - y_true·y_pred, 0)."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Hinge loss per sample."""
        return hinge(as_columns(y_true), as_columns(y_pred))


@final
class SquaredHinge(_SignLoss):
    """Mean of max(1 - y_true·y_pred, 0)²."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Squared hinge loss per sample."""
        return squared_hinge(as_columns(y_true), as_columns(y_pred))


@final
class CategoricalHinge(Loss):
    """Margin between the score of the class and the best other score; one-hot targets."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Categorical hinge loss per sample."""
        return categorical_hinge(as_columns(y_true), as_columns(y_pred))
