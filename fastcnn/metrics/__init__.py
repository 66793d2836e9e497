# SPDX-License-Identifier: Apache-2.0
"""Metrics: running figures over batches of predictions, in NumPy with float64 sums.

    metric.update_state(y_true, y_pred, sample_weight)    adds a batch
    metric.result()                                       the figure so far, a Python float
    metric.reset_state()                                  starts anew

y_pred is (N, ..., K) or (N, ...); sparse labels are (N, ...) or (N, ..., 1) integers; other targets
have the shape of y_pred. Weights have the shape of the per-sample values, or of their first axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastcnn.configurable import resolve as _resolve
from fastcnn.configurable import serialize as serialize
from fastcnn.metrics.accuracy import Accuracy as Accuracy
from fastcnn.metrics.accuracy import BinaryAccuracy as BinaryAccuracy
from fastcnn.metrics.accuracy import CategoricalAccuracy as CategoricalAccuracy
from fastcnn.metrics.accuracy import SparseCategoricalAccuracy as SparseCategoricalAccuracy
from fastcnn.metrics.accuracy import SparseTopKCategoricalAccuracy as SparseTopKCategoricalAccuracy
from fastcnn.metrics.accuracy import TopKCategoricalAccuracy as TopKCategoricalAccuracy
from fastcnn.metrics.base import LossMean as LossMean
from fastcnn.metrics.base import Mean as Mean
from fastcnn.metrics.base import MeanMetricWrapper as MeanMetricWrapper
from fastcnn.metrics.base import Metric as Metric
from fastcnn.metrics.base import MetricVariable as MetricVariable
from fastcnn.metrics.confusion import Precision as Precision
from fastcnn.metrics.confusion import Recall as Recall
from fastcnn.metrics.confusion import confusion_matrix as confusion_matrix
from fastcnn.metrics.crossentropy import BinaryCrossentropy as BinaryCrossentropy
from fastcnn.metrics.crossentropy import CategoricalCrossentropy as CategoricalCrossentropy
from fastcnn.metrics.crossentropy import (
    SparseCategoricalCrossentropy as SparseCategoricalCrossentropy,
)
from fastcnn.metrics.regression import MeanAbsoluteError as MeanAbsoluteError
from fastcnn.metrics.regression import MeanSquaredError as MeanSquaredError
from fastcnn.metrics.regression import RootMeanSquaredError as RootMeanSquaredError

METRICS: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_accuracy": CategoricalAccuracy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "loss_mean": LossMean,
    "mae": MeanAbsoluteError,
    "mean": Mean,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "precision": Precision,
    "recall": Recall,
    "rmse": RootMeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
}

# Words that mean one of several metrics; `resolve` needs shapes to tell which.
_ACCURACY = ("accuracy", "acc")
_CROSSENTROPY = ("crossentropy", "ce")
CHOSEN_BY_SHAPE = (*_ACCURACY, *_CROSSENTROPY)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Metric:
    """A metric from its name, config, class or instance, or from a function of (y_true, y_pred).

    "accuracy" means `Accuracy`, exact equality; `compile` chooses by shapes, see `resolve`.

    Raises:
        ArgumentError: there is none of that name.
    """
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return MeanMetricWrapper(identifier)
    return deserialize(identifier, custom_objects)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Metric:
    """A metric from `{"class_name", "config"}`."""
    known: dict[str, type[Metric]] = {**METRICS, "accuracy": Accuracy}
    return _resolve(config, "metric", Metric, known, custom_objects)


def resolve(
    identifier: Any,
    loss: Any,
    y_true_shape: Sequence[int | None],
    y_pred_shape: Sequence[int | None],
) -> Metric:
    """The metric that `compile(metrics=[identifier])` means for an output.

    "accuracy" and "acc" become the binary, categorical or sparse accuracy, "crossentropy" and "ce"
    that cross-entropy, as the shapes tell; they take over `from_logits` (for a binary accuracy: a
    threshold of 0) and `ignore_class` from the loss. A metric asked for by name is called by that
    name in logs.

    Args:
        identifier: what `get` takes.
        loss: the loss of the same output, or None.
        y_true_shape: shape of the targets.
        y_pred_shape: shape of the predictions.
    """
    if not isinstance(identifier, str):
        return get(identifier)
    kind = target_kind(y_true_shape, y_pred_shape)
    logits = bool(getattr(loss, "from_logits", False))
    ignored = getattr(loss, "ignore_class", None)
    if identifier.lower() in _ACCURACY:
        metric = _accuracy(kind, logits, ignored)
    elif identifier.lower() in _CROSSENTROPY:
        metric = _crossentropy(kind, logits, ignored)
    else:
        metric = get(identifier)
    metric.name = identifier
    return metric


def _accuracy(kind: str, logits: bool, ignored: int | None) -> Metric:
    if kind == "binary":
        return BinaryAccuracy(threshold=0.0 if logits else 0.5)
    if kind == "sparse":
        return SparseCategoricalAccuracy(ignore_class=ignored)
    return CategoricalAccuracy()


def _crossentropy(kind: str, logits: bool, ignored: int | None) -> Metric:
    if kind == "binary":
        return BinaryCrossentropy(from_logits=logits)
    if kind == "sparse":
        return SparseCategoricalCrossentropy(from_logits=logits, ignore_class=ignored)
    return CategoricalCrossentropy(from_logits=logits)


def target_kind(y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> str:
    """Whether targets of these shapes are "binary", "sparse" or "categorical"."""
    if y_pred_shape[-1] == 1:
        return "binary"
    if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1:
        return "sparse"
    return "categorical"
