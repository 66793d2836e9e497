# SPDX-License-Identifier: Apache-2.0
"""Targets, predictions and weights brought to shapes that fit each other, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn.errors import DataError, ShapeError

Array = np.ndarray[Any, Any]


def same_shape(y_true: Array, y_pred: Array, who: str) -> tuple[Array, Array]:
    """Both arrays in one shape; a missing or additional last axis of 1 is forgiven."""
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    if y_true.shape == (*y_pred.shape, 1) or (*y_true.shape, 1) == y_pred.shape:
        return y_true.reshape(y_pred.shape), y_pred
    raise ShapeError(
        f"metric '{who}': found targets of shape {y_true.shape} for predictions of shape "
        f"{y_pred.shape}; expected the same shape"
    )


def labels_of(
    y_true: Array, scores: Array, ignore_class: int | None, who: str
) -> tuple[Array, Array]:
    """Labels of shape scores.shape[:-1], each a class that exists, and which of them count."""
    positions = scores.shape[:-1]
    if y_true.shape == (*positions, 1):
        y_true = y_true[..., 0]
    if y_true.shape != positions:
        raise ShapeError(
            f"metric '{who}': found labels of shape {y_true.shape} for predictions of shape "
            f"{scores.shape}; expected one integer label per sample, of shape {positions}"
        )
    labels = y_true.astype(np.int64)
    kept = np.ones(labels.shape, bool) if ignore_class is None else labels != ignore_class
    labels = np.where(kept, labels, 0)
    if labels.size and not 0 <= labels.min() <= labels.max() < scores.shape[-1]:
        classes = scores.shape[-1]
        raise DataError(
            f"metric '{who}': labels run from {labels.min()} to {labels.max()} but predictions "
            f"have {classes} classes; expected labels 0 to {classes - 1}"
        )
    return labels, kept


def difference(y_true: Array, y_pred: Array, who: str) -> Array:
    """y_true - y_pred in float64."""
    y_true, y_pred = same_shape(y_true, y_pred, who)
    return y_true.astype(np.float64) - y_pred


def mean_last(values: Array) -> Array:
    """Mean over the last axis, if there is one beside the samples."""
    return values.mean(-1) if values.ndim > 1 else values


def weights_of(sample_weight: Any, shape: tuple[int, ...], who: str) -> Array | None:
    """Weights broadcast to `shape` from its first axes, in float64."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    spread = weights.reshape((*weights.shape, *[1] * (len(shape) - weights.ndim)))
    try:
        return np.broadcast_to(spread, shape)
    except ValueError:
        raise ShapeError(
            f"metric '{who}': found sample weights of shape {weights.shape} for values of shape "
            f"{shape}; give one weight per sample"
        ) from None
