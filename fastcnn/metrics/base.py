# SPDX-License-Identifier: Apache-2.0
"""The base of metrics, and means over samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import numpy as np

from fastcnn import initializers
from fastcnn.configurable import Configurable, snake_case
from fastcnn.errors import ArgumentError
from fastcnn.metrics.shapes import Array, labels_of, weights_of


@final
class MetricVariable(np.ndarray[Any, Any]):
    """A running number or array of a metric; NumPy and `fastcnn.ops` compute with it."""

    def assign(self, value: Any) -> None:
        """Overwrite."""
        self[...] = value

    def assign_add(self, value: Any) -> None:
        """Add."""
        self[...] += value

    def assign_sub(self, value: Any) -> None:
        """Subtract."""
        self[...] -= value

    @property
    def value(self) -> Array:
        """A copy as a plain array."""
        return np.array(self)


class Metric(Configurable):
    """Base of metrics: implement `update_state` and `result`.

    What is counted lives in variables made by `add_variable`, which `reset_state` sets to zero, or
    in attributes that a `reset_state` of your own begins anew. It is called before the first batch.

    Attributes:
        name: key under which the figure is logged.
        direction: "up" where more is better, "down" where less is, None where it depends.
    """

    direction: str | None = None

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype
        self._variables: list[MetricVariable] = []

    def add_variable(
        self, shape: Any, initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> MetricVariable:
        """A variable of this metric, float64 unless `dtype` says otherwise."""
        value = initializers.get(initializer)(tuple(shape)).astype(dtype or "float64")
        self._variables.append(value.view(MetricVariable))
        return self._variables[-1]

    def add_weight(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: Any = None
    ) -> MetricVariable:
        """Keras' older name of `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name)

    @property
    def variables(self) -> list[MetricVariable]:
        """What `add_variable` made."""
        return self._variables

    def reset_state(self) -> None:
        """Forget all batches."""
        for variable in self._variables:
            variable.assign(0)

    @abstractmethod
    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch into account."""

    @abstractmethod
    def result(self) -> float:
        """The figure over all batches since the last reset."""

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """Add a batch and return the figure so far."""
        self.update_state(*args, **kwargs)
        return self.result()


class Average(Metric):
    """Weighted mean of values; 0 before any."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        self.total = 0.0
        self.count = 0.0

    def result(self) -> float:
        """Sum of weight times value over the sum of weights."""
        return self.total / self.count if self.count else 0.0

    def _add(self, values: Any, sample_weight: Any = None) -> None:
        values = np.asarray(values, np.float64)
        weights = weights_of(sample_weight, values.shape, self.name)
        if weights is None:
            self.total += float(values.sum())
            self.count += float(values.size)
        else:
            self.total += float((values * weights).sum())
            self.count += float(weights.sum())


@final
class Mean(Average):
    """Weighted mean of the values given."""

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values of any shape."""
        self._add(values, sample_weight)


@final
class LossMean(Average):
    """Mean of batch losses, each counted as often as its batch has samples."""

    direction = "down"

    def __init__(self, name: str = "loss", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, loss: float, samples: float = 1.0) -> None:
        """Add the loss of a batch of that many samples."""
        self.total += float(loss) * samples
        self.count += samples


class PredictionMean(Average):
    """Mean of a value per sample: implement `_values`."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of targets and predictions."""
        self._add(self._values(np.asarray(y_true), np.asarray(y_pred)), sample_weight)

    @abstractmethod
    def _values(self, y_true: Array, y_pred: Array) -> Any:
        """One value per sample (or per sample and position)."""


class SparseMean(PredictionMean):
    """Mean over integer labels, except where they are `ignore_class`; `axis` holds the classes."""

    axis = -1
    ignore_class: int | None = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of labels and predictions."""
        scores = np.moveaxis(np.asarray(y_pred), self.axis, -1)
        labels, kept = labels_of(np.asarray(y_true), scores, self.ignore_class, self.name)
        values = self._sparse_values(labels, scores)
        weights = weights_of(sample_weight, values.shape, self.name)
        if self.ignore_class is not None:
            weights = kept * (1.0 if weights is None else weights)
        self._add(values, weights)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        labels, _ = labels_of(y_true, y_pred, None, self.name)
        return self._sparse_values(labels, y_pred)

    @abstractmethod
    def _sparse_values(self, labels: Array, y_pred: Array) -> Any:
        """A value per label, given scores whose last axis holds the classes."""


@final
class MeanMetricWrapper(PredictionMean):
    """Mean of `fn(y_true, y_pred)`, any function of arrays that returns a value per sample."""

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")), dtype)
        self.fn = fn
        self.kwargs = kwargs
        self.direction = getattr(fn, "direction", None)

    def _values(self, y_true: Array, y_pred: Array) -> Any:
        values = np.asarray(self.fn(y_true, y_pred, **self.kwargs))
        if values.dtype.kind not in "biuf":
            raise ArgumentError(
                f"metric '{self.name}': the function returned {values!r}, expected numbers"
            )
        return values

    def get_config(self) -> dict[str, Any]:
        """Not to be had: a function is not JSON."""
        raise ArgumentError(
            f"metric '{self.name}' wraps a function and cannot be saved; derive a class from Metric"
        )
