# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies and the Kullback-Leibler divergence, in nats.

All run on logits. Probabilities are clipped to at least 1e-7 and their logarithms taken for logits;
where a symbolic prediction comes straight out of a softmax or sigmoid, its input is taken instead,
so that gradients do not vanish where a network is confidently wrong.
"""

from __future__ import annotations

import warnings
from typing import Any, final

import numpy as np

from fastcnn import arguments, ops
from fastcnn.errors import ArgumentError, DataError, DtypeError, ShapeError
from fastcnn.graph import Array, Shape, Spec, Tensor
from fastcnn.losses.base import Loss, as_columns, is_symbolic, shaped_like
from fastcnn.ops.shape_join import normal_axis

EPSILON = 1e-7


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """-sum(y_true·log p) over `axis`; y_true are one-hot or soft targets of y_pred's shape."""
    y_true, y_pred = _last(y_true, axis), _last(y_pred, axis)
    logits = _class_logits(y_pred, from_logits)
    return ops.categorical_crossentropy(y_true, logits, label_smoothing)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
) -> Any:
    """-log p of the class at `axis`; y_true are class numbers of y_pred's shape without it.

    With `ignore_class`, values at labels of that number are 0; a symbolic y_true must hold -1 for
    them.
    """
    logits = _class_logits(_last(y_pred, axis), from_logits)
    if ignore_class is None:
        return ops.sparse_categorical_crossentropy(y_true, logits, label_smoothing)
    if not is_symbolic(y_true):
        y_true = _without(np.asarray(y_true), ignore_class)
    rows = ops.one_hot(y_true, logits.shape[-1], str(logits.dtype))
    values = ops.categorical_crossentropy(rows, logits, label_smoothing)
    return ops.multiply(values, ops.sum(rows, axis=-1)) if label_smoothing else values


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """mean(-y_true·log p - (1 - y_true)·log(1 - p)) over `axis`."""
    if label_smoothing:
        y_true = ops.add(ops.multiply(y_true, 1.0 - label_smoothing), 0.5 * label_smoothing)
    return ops.mean(ops.binary_crossentropy(y_true, _yes_logits(y_pred, from_logits)), axis=axis)


def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """sum(y_true·log(y_true / y_pred), axis=-1), both clipped to [1e-7, 1]."""
    target = ops.clip(y_true, EPSILON, 1.0)
    ratio = ops.divide(target, ops.clip(y_pred, EPSILON, 1.0))
    return ops.sum(ops.multiply(target, ops.log(ratio)), axis=-1)


def _class_logits(y_pred: Any, from_logits: bool) -> Any:
    before = _behind(y_pred, "softmax")
    if from_logits:
        _warn_if(before is not None, "softmax")
        return y_pred
    if before is not None:
        return before
    return ops.log(ops.maximum(y_pred, EPSILON))


def _yes_logits(y_pred: Any, from_logits: bool) -> Any:
    before = _behind(y_pred, "sigmoid")
    if from_logits:
        _warn_if(before is not None, "sigmoid")
        return y_pred
    if before is not None:
        return before
    p = ops.clip(y_pred, EPSILON, 1.0 - EPSILON)
    return ops.subtract(ops.log(p), ops.log(ops.subtract(1.0, p)))


def _behind(y_pred: Any, op: str) -> Tensor | None:
    """The input of the softmax or sigmoid that makes `y_pred`, if one does."""
    if isinstance(y_pred, Tensor) and y_pred.node.op.name == op:
        return y_pred.node.inputs[0]
    return None


def _warn_if(wrong: bool, activation: str) -> None:
    if wrong:
        warnings.warn(
            f"the loss has from_logits=True but its predictions come out of a {activation}; drop "
            f"the {activation} or pass from_logits=False",
            stacklevel=4,
        )


def _last(values: Any, axis: int) -> Any:
    """`axis` moved to the end."""
    rank = len(values.shape)
    axis = normal_axis(axis, rank)
    if axis == rank - 1:
        return values
    return ops.transpose(values, [*(i for i in range(rank) if i != axis), axis])


def _without(labels: Array, ignore_class: int) -> Array:
    """int32 labels with -1, which is no class, where they are `ignore_class`."""
    return np.where(labels == ignore_class, -1, labels).astype("int32")


# --- classes ------------------------------------------------------------------------------------


@final
class CategoricalCrossentropy(Loss):
    """Cross-entropy with one-hot (or soft) targets of the predictions' shape.

    Args:
        from_logits: predictions are logits, not probabilities.
        label_smoothing: s in [0, 1]; the target becomes (1 - s)·t + s / K.
        axis: where the classes are.
        reduction, name, dtype: see `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Cross-entropy per sample."""
        return categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """Targets in [0, 1] of the predictions' shape."""
        hint = "; for integer labels use sparse_categorical_crossentropy"
        if target.shape != prediction_shape:
            target = shaped_like(target, prediction_shape, where, hint)
        return _in_unit_interval(target, where, hint).astype(dtype, copy=False)


@final
class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy with class numbers as targets.

    Args:
        from_logits: predictions are logits, not probabilities.
        ignore_class: positions with this label do not count, neither in the sum nor in the mean.
        reduction, name, dtype: see `Loss`.
        axis: where the classes are.
        label_smoothing: s in [0, 1]; the target distribution becomes (1 - s)·one-hot + s / K.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        label_smoothing: float = 0.0,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        if ignore_class is not None and not hasattr(ignore_class, "__index__"):
            raise ArgumentError(
                f"{type(self).__name__}: found ignore_class={ignore_class!r}, expected an integer"
            )
        self.axis = axis
        self.label_smoothing = _smoothing(self, label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Cross-entropy per label."""
        return sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis, self.label_smoothing
        )

    def _reduce(self, values: Any, weights: Any, y_true: Any, y_pred: Any) -> Any:
        if self.ignore_class is None or self.reduction in ("sum", "none", None):
            return super()._reduce(values, weights, y_true, y_pred)
        weighted = values if weights is None else ops.multiply(values, weights)
        # An ignored label is -1 and has no one in its row.
        counted = ops.sum(ops.one_hot(y_true, y_pred.shape[self.axis], str(y_pred.dtype)), axis=-1)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            counted = ops.multiply(counted, weights)
        return ops.divide(ops.sum(weighted), ops.add(ops.sum(counted), EPSILON))

    def target_spec(self, prediction: Spec, target_shape: Shape) -> Spec:
        """int32 labels."""
        axis = self.axis % prediction.rank
        return Spec((*prediction.shape[:axis], *prediction.shape[axis + 1 :]), "int32")

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """int32 labels of classes that exist; -1 where they are to be ignored."""
        axis = self.axis % len(prediction_shape)
        shape = (*prediction_shape[:axis], *prediction_shape[axis + 1 :])
        classes = prediction_shape[axis]
        if target.shape == prediction_shape and classes > 1:
            raise ShapeError(
                f"{where}: found targets of shape {target.shape}, that of the predictions; "
                f"expected class numbers of shape {shape}; for one-hot targets use "
                "categorical_crossentropy"
            )
        labels = _integers(shaped_like(target, shape, where), where)
        _check_range(labels, classes, self.ignore_class, where)
        if self.ignore_class is not None:
            return _without(labels, self.ignore_class)
        return labels.astype("int32", copy=False)


@final
class BinaryCrossentropy(Loss):
    """Cross-entropy of independent yes-no targets in [0, 1].

    Args:
        from_logits: predictions are logits, not probabilities.
        label_smoothing: s in [0, 1]; the target becomes (1 - s)·t + s / 2.
        axis: the mean is taken over this axis.
        reduction, name, dtype: see `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Cross-entropy per sample."""
        logits = as_columns(_yes_logits(y_pred, self.from_logits))
        return binary_crossentropy(
            as_columns(y_true), logits, True, self.label_smoothing, self.axis
        )

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """Targets in [0, 1] of the predictions' shape."""
        target = shaped_like(target, prediction_shape, where)
        hint = "; for class numbers use sparse_categorical_crossentropy"
        return _in_unit_interval(target, where, hint).astype(dtype, copy=False)


@final
class KLDivergence(Loss):
    """Kullback-Leibler divergence of predicted from target distributions."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Divergence per sample."""
        return kl_divergence(as_columns(y_true), as_columns(y_pred))

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """Targets in [0, 1] of the predictions' shape."""
        target = shaped_like(target, prediction_shape, where)
        return _in_unit_interval(target, where, "").astype(dtype, copy=False)


# --- checks -------------------------------------------------------------------------------------


def _smoothing(loss: Loss, value: float) -> float:
    return arguments.fraction(type(loss).__name__, "label_smoothing", value)


def _in_unit_interval(target: Array, where: str, hint: str) -> Array:
    if target.size and not 0 <= target.min() <= target.max() <= 1:
        raise DataError(
            f"{where}: targets run from {target.min():g} to {target.max():g}, expected 0 to 1{hint}"
        )
    return target


def _integers(labels: Array, where: str) -> Array:
    """Labels as int64; floats must hold whole numbers."""
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        wrong = labels[labels != np.floor(labels)].flat[0]
        raise DtypeError(
            f"{where}: found a label of {wrong:g}, expected whole class numbers; use "
            "categorical_crossentropy for soft targets"
        )
    return labels.astype("int64", copy=False)


def _check_range(labels: Array, classes: int, ignore_class: int | None, where: str) -> None:
    counted = labels if ignore_class is None else labels[labels != ignore_class]
    if not counted.size:
        return
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= classes:
        hint = "subtract 1 from them" if (low, high) == (1, classes) else "check the data"
        raise DataError(
            f"{where}: labels run from {low} to {high} but the model has {classes} outputs; "
            f"expected 0 to {classes - 1}, so {hint} or give the last layer {high + 1} outputs"
        )
