# SPDX-License-Identifier: Apache-2.0
"""How often a prediction is right."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.metrics.base import PredictionMean, SparseMean
from fastcnn.metrics.shapes import Array, mean_last, same_shape


class _AccuracyMean(PredictionMean):
    direction = "up"


@final
class Accuracy(_AccuracyMean):
    """How often predictions equal labels exactly."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        return y_true == y_pred


@final
class BinaryAccuracy(_AccuracyMean):
    """How often a prediction falls on the label's side of `threshold`; mean over the last axis."""

    def __init__(
        self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = arguments.number(type(self).__name__, "threshold", threshold)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        return mean_last((y_pred > self.threshold) == (y_true > 0.5))


@final
class CategoricalAccuracy(_AccuracyMean):
    """How often the largest score is that of the class; one-hot targets."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        return y_true.argmax(-1) == y_pred.argmax(-1)


@final
class SparseCategoricalAccuracy(SparseMean):
    """How often the largest score is that of the class; integer labels.

    Positions labelled `ignore_class` do not count.
    """

    direction = "up"

    def __init__(
        self,
        name: str = "sparse_categorical_accuracy",
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self.ignore_class = ignore_class

    def _sparse_values(self, labels: Array, y_pred: Array) -> Any:
        return labels == y_pred.argmax(-1)


@final
class TopKCategoricalAccuracy(_AccuracyMean):
    """How often fewer than k classes score higher than the right one; one-hot targets."""

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(name, dtype)
        self.k = arguments.integer(type(self).__name__, "k", k, at_least=1)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        y_true, y_pred = same_shape(y_true, y_pred, self.name)
        return _in_top_k(y_true.argmax(-1), y_pred, self.k)


@final
class SparseTopKCategoricalAccuracy(SparseMean):
    """How often fewer than k classes score higher than the right one; integer labels."""

    direction = "up"

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(name, dtype)
        self.k = arguments.integer(type(self).__name__, "k", k, at_least=1)

    def _sparse_values(self, labels: Array, y_pred: Array) -> Any:
        return _in_top_k(labels, y_pred, self.k)


def _in_top_k(labels: Array, scores: Array, k: int) -> Any:
    own = np.take_along_axis(scores, labels[..., None], -1)
    return np.isfinite(own[..., 0]) & ((scores > own).sum(-1) < k)
