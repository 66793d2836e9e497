# SPDX-License-Identifier: Apache-2.0
"""Figures of retrieval, and the confusion matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.configurable import plain
from fastcnn.errors import ArgumentError, DataError, ShapeError
from fastcnn.metrics.base import Metric
from fastcnn.metrics.shapes import Array, same_shape, weights_of


class _Retrieval(Metric):
    """Counts of true positives, and of what they are divided by, at each threshold."""

    direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        where = type(self).__name__
        if top_k is not None and thresholds is None:
            arguments.integer(where, "top_k", top_k, at_least=1)
        elif top_k is not None:
            raise ArgumentError(f"{where}: found both thresholds and top_k; give one of them")
        self.thresholds = plain(thresholds)
        if self.thresholds is not None:
            for level in np.atleast_1d(np.asarray(self.thresholds, object)):
                arguments.fraction(where, "thresholds", level)
        self.top_k = top_k
        self.class_id = None if class_id is None else arguments.integer(where, "class_id", class_id)
        self._levels = np.atleast_1d(
            np.asarray(0.5 if thresholds is None else thresholds, np.float64)
        )
        super().__init__(name, dtype)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        self.true_positives = np.zeros(len(self._levels))
        self.candidates = np.zeros(len(self._levels))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add targets in {0, 1} and scores in [0, 1], of one shape."""
        y_true, y_pred = same_shape(np.asarray(y_true), np.asarray(y_pred), self.name)
        weights = weights_of(sample_weight, y_pred.shape, self.name)
        weights = np.ones(y_pred.shape) if weights is None else weights
        chosen = self._chosen(y_pred)
        actual = y_true > 0.5
        if self.class_id is not None:
            actual, chosen = actual[..., self.class_id], chosen[..., self.class_id]
            weights = weights[..., self.class_id]
        counted = self._counted(actual, chosen)
        axes = tuple(range(1, chosen.ndim))
        self.true_positives += ((actual & chosen) * weights).sum(axes)
        self.candidates += (counted * weights).sum(axes)

    def _chosen(self, scores: Array) -> Array:
        """(thresholds, *scores.shape) of bool: which are called positive."""
        if self.top_k is None:
            levels = self._levels.reshape(-1, *[1] * scores.ndim)
            return scores[None] > levels
        k = min(self.top_k, scores.shape[-1])
        best = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
        chosen = np.zeros(scores.shape, bool)
        np.put_along_axis(chosen, best, True, -1)
        return chosen[None]

    @abstractmethod
    def _counted(self, actual: Array, chosen: Array) -> Array:
        """What the true positives are divided by."""

    def result(self) -> Any:
        """A float, or an array of one figure per threshold; 0 where nothing was counted."""
        found = np.divide(
            self.true_positives,
            self.candidates,
            out=np.zeros_like(self.true_positives),
            where=self.candidates > 0,
        )
        return found if isinstance(self.thresholds, (list, tuple)) else float(found[0])


@final
class Precision(_Retrieval):
    """Share of true positives among all that are called positive."""

    def _counted(self, actual: Array, chosen: Array) -> Array:
        return chosen


@final
class Recall(_Retrieval):
    """Share of true positives among all that are positive."""

    def _counted(self, actual: Array, chosen: Array) -> Array:
        return np.broadcast_to(actual, chosen.shape)


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int | None = None) -> Array:
    """(classes, classes) counts: row the true class, column the predicted one.

    Args:
        y_true: integer labels, (N,) or (N, 1), or one-hot (N, classes).
        y_pred: predicted labels (N,), or scores (N, classes).
        num_classes: rows and columns; as many as occur when None.

    Raises:
        ShapeError: the numbers of samples differ.
        DataError: a label outside [0, num_classes).
    """
    true, predicted = _as_class_numbers(np.asarray(y_true)), _as_class_numbers(np.asarray(y_pred))
    if true.shape != predicted.shape:
        raise ShapeError(
            f"confusion_matrix: found {true.shape[0]} true and {predicted.shape[0]} predicted "
            "labels; expected as many of each"
        )
    both = np.concatenate([true, predicted])
    least, most = (int(both.min()), int(both.max())) if both.size else (0, -1)
    widths = [a.shape[1] for a in map(np.asarray, (y_true, y_pred)) if a.ndim == 2]
    size = max(widths + [most + 1]) if num_classes is None else num_classes
    if least < 0 or most >= size:
        raise DataError(
            f"confusion_matrix: labels run from {least} to {most}; expected 0 to {size - 1}"
        )
    return np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)


def _as_class_numbers(values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] > 1:
        values = values.argmax(-1)
    return values.reshape(-1).astype(np.int64)
