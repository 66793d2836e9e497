# SPDX-License-Identifier: Apache-2.0
"""The base of losses: from values per sample to one number, and what targets may be."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from fastcnn import arguments, ops
from fastcnn.configurable import Configurable, snake_case
from fastcnn.errors import ArgumentError, DataError, DtypeError, ShapeError
from fastcnn.graph import Array, Parameter, Shape, Spec, Tensor

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)


def is_symbolic(value: Any) -> bool:
    """Whether `value` stands for a tensor of the graph."""
    return isinstance(value, (Tensor, Parameter))


class Loss(Configurable):
    """Base of losses: implement `call`, and `prepare_target` where targets are not like outputs.

    Args:
        name: shown in errors.
        reduction: "sum_over_batch_size" or "mean" divide the sum of weight times value by the
            number of values, "mean_with_sample_weight" by the sum of weights; "sum" does not
            divide; "none" or None leaves a value per sample.
        dtype: kept for configs; losses are computed in the type of the predictions.
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reduction = arguments.one_of(type(self).__name__, "reduction", reduction, REDUCTIONS)
        self.dtype = dtype

    @abstractmethod
    def call(self, y_true: Any, y_pred: Any) -> Any:
        """A value per sample (or per sample and position), of arrays or symbolic tensors."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss: a symbolic tensor, or for arrays a float or an array.

        Args:
            y_true: targets; arrays are checked as `check_target` does.
            y_pred: predictions (N, ...), or a symbolic tensor of static shape.
            sample_weight: weights of the values' shape, or of its first axes; sizes of 1 spread.
        """
        if not is_symbolic(y_pred):
            y_pred = _as_float(y_pred)
        if not is_symbolic(y_true):
            where, dtype = f"loss '{self.name}'", str(y_pred.dtype)
            y_true = self.check_target(y_true, y_pred.shape, where, dtype)
        values = self.call(y_true, y_pred)
        if is_symbolic(y_pred) and not is_symbolic(values):
            raise ArgumentError(
                f"loss '{self.name}' returned {type(values).__name__}, expected a symbolic tensor; "
                "compose fastcnn.ops of y_true and y_pred"
            )
        values = values if is_symbolic(values) else np.asarray(values)
        loss = self._reduce(values, self._weights(sample_weight, values), y_true, y_pred)
        return float(loss) if isinstance(loss, np.ndarray) and loss.ndim == 0 else loss

    def _weights(self, sample_weight: Any, values: Any) -> Any:
        """Weights in a shape that broadcasts to the values'; None for none."""
        if sample_weight is None:
            return None
        if not is_symbolic(sample_weight):
            sample_weight = np.asarray(sample_weight, str(values.dtype))
        shape, wanted = tuple(sample_weight.shape), tuple(values.shape)
        if len(shape) == len(wanted) + 1 and shape[-1] == 1:
            shape = shape[:-1]
        fits = all(s in (w, 1) for s, w in zip(shape, wanted, strict=False))
        if len(shape) > len(wanted) or not fits:
            raise ShapeError(
                f"loss '{self.name}': found sample weights of shape {tuple(sample_weight.shape)} "
                f"for values of shape {wanted}; give one weight per sample"
            )
        return ops.reshape(sample_weight, (*shape, *[1] * (len(wanted) - len(shape))))

    def _reduce(self, values: Any, weights: Any, y_true: Any, y_pred: Any) -> Any:
        weighted = values if weights is None else ops.multiply(values, weights)
        if self.reduction in ("none", None) or not values.shape:
            return weighted
        if self.reduction == "sum":
            return ops.sum(weighted)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            spread = ops.broadcast_to(weights, values.shape)
            return ops.divide(ops.sum(weighted), ops.sum(spread))
        return ops.mean(weighted)

    # --- targets -------------------------------------------------------------------------------

    def target_spec(self, prediction: Spec, target_shape: Shape) -> Spec:
        """What `check_target` makes of targets of `target_shape`: the placeholder to feed."""
        return prediction

    def check_target(
        self, y_true: Any, prediction_shape: Sequence[int], where: str, dtype: str = "float32"
    ) -> Array:
        """The targets as the loss takes them.

        Args:
            y_true: array as the user gave it.
            prediction_shape: shape of the predictions.
            where: model and output, to begin errors with.
            dtype: float type of the predictions.

        Raises:
            ShapeError, DtypeError, DataError: targets that do not fit; no kernel has run.
        """
        target = np.asarray(y_true)
        if target.dtype.kind not in "fiub":
            raise DtypeError(
                f"{where}: found targets of dtype {target.dtype}, expected numbers; encode them "
                "first"
            )
        if target.dtype.kind == "f" and not np.isfinite(target).all():
            bad = np.unravel_index(int(np.argmin(np.isfinite(target))), target.shape)
            raise DataError(
                f"{where}: found a target of {target[bad]} at position "
                f"{tuple(int(i) for i in bad)}, expected finite numbers; clean the data"
            )
        return self.prepare_target(target, tuple(prediction_shape), where, dtype)

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """Finite numbers in the shape and type of the predictions; a last axis of 1 is forgiven."""
        return shaped_like(target, prediction_shape, where).astype(dtype, copy=False)


def shaped_like(target: Array, shape: tuple[int, ...], where: str, hint: str = "") -> Array:
    """The targets in `shape`, from which they may differ by a last axis of 1."""
    if target.shape == shape:
        return target
    if (*target.shape, 1) == shape or target.shape == (*shape, 1):
        return target.reshape(shape)
    raise ShapeError(
        f"{where}: found targets of shape {target.shape} for predictions of shape {shape}; "
        f"expected the same shape{hint}"
    )


def _as_float(values: Any) -> Array:
    array = np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype("float32")


def as_columns(values: Any) -> Any:
    """(N,) as (N, 1), so that a mean over the last axis leaves a value per sample."""
    return ops.expand_dims(values, -1) if len(values.shape) == 1 else values


@final
class LossFunctionWrapper(Loss):
    """A loss made of a function of (y_true, y_pred) that returns a value per sample.

    The function is made of `fastcnn.ops`; it gets float targets of the shape the user gave.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "loss")), reduction, dtype)
        self.fn = fn
        self.kwargs = kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """What the function returns."""
        return self.fn(y_true, y_pred, **self.kwargs)

    def target_spec(self, prediction: Spec, target_shape: Shape) -> Spec:
        """The shape the user gave."""
        return Spec(tuple(target_shape), prediction.dtype)

    def prepare_target(
        self, target: Array, prediction_shape: tuple[int, ...], where: str, dtype: str
    ) -> Array:
        """The targets as they are, in the type of the predictions."""
        return target.astype(dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        """Not to be had: a function is not JSON."""
        raise ArgumentError(
            f"loss '{self.name}' wraps a function and cannot be saved; derive a class from Loss"
        )
