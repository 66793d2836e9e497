# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies in nats; probabilities are clipped to [1e-7, 1 - 1e-7]."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.metrics.base import SparseMean
from fastcnn.metrics.regression import ErrorMean
from fastcnn.metrics.shapes import Array, mean_last, same_shape

EPSILON = 1e-7


@final
class BinaryCrossentropy(ErrorMean):
    """Mean of -y log p - (1 - y) log(1 - p)."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = arguments.fraction(
            type(self).__name__, "label_smoothing", label_smoothing
        )

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        scores = y_pred.astype(np.float64)
        target = y_true * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.from_logits:
            loss = np.logaddexp(0.0, scores) - target * scores
        else:
            p = np.clip(scores, EPSILON, 1.0 - EPSILON)
            loss = -(target * np.log(p) + (1.0 - target) * np.log1p(-p))
        return mean_last(loss)


@final
class CategoricalCrossentropy(ErrorMean):
    """Mean of -sum(y log p) over classes; one-hot targets."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = arguments.fraction(
            type(self).__name__, "label_smoothing", label_smoothing
        )
        self.axis = axis

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        classes = y_pred.shape[self.axis]
        target = y_true * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        return -(target * _log_probabilities(y_pred, self.from_logits, self.axis)).sum(self.axis)


@final
class SparseCategoricalCrossentropy(SparseMean):
    """Mean of -log p of the right class; integer labels.

    Positions labelled `ignore_class` do not count.
    """

    direction = "down"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis

    def _sparse_values(self, labels: Array, y_pred: Array) -> Any:
        logs = _log_probabilities(y_pred, self.from_logits, -1)
        return np.asarray(-np.take_along_axis(logs, labels[..., None], -1)[..., 0])


def _log_probabilities(scores: Array, from_logits: bool, axis: int) -> Any:
    scores = scores.astype(np.float64)
    if from_logits:
        shifted = scores - scores.max(axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    probabilities = scores / scores.sum(axis, keepdims=True)
    return np.log(np.clip(probabilities, EPSILON, 1.0 - EPSILON))
