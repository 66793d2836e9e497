# SPDX-License-Identifier: Apache-2.0
"""Class labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastcnn.errors import DataError, DtypeError


def to_categorical(x: Any, num_classes: int | None = None) -> npt.NDArray[np.float32]:
    """One-hot encode class indices.

    Args:
        x: integers of shape (...) or (..., 1) with values 0 … num_classes-1.
        num_classes: length of the new last axis; the largest label plus one when None.

    Returns:
        float32 array of shape (..., num_classes).

    Raises:
        DtypeError: the labels are not numbers.
        DataError: a label is not a whole number, is negative or is not below `num_classes`.
    """
    labels = np.asarray(x)
    if labels.dtype.kind not in "biuf":
        raise DtypeError(
            f"to_categorical: labels have dtype {labels.dtype}, expected integers; "
            "map class names to 0 … num_classes-1 first."
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise DataError(
            "to_categorical: labels hold NaN or fractions, expected whole numbers; "
            "these look like regression targets or probabilities."
        )
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    flat = labels.astype(np.int64).reshape(-1)
    if num_classes is None:
        num_classes = int(flat.max()) + 1 if flat.size else 0
    if flat.size and (flat.min() < 0 or flat.max() >= num_classes):
        wrong = flat.min() if flat.min() < 0 else flat.max()
        raise DataError(
            f"to_categorical: found label {wrong}, expected 0 … {num_classes - 1} for "
            f"num_classes={num_classes}; raise num_classes or renumber the labels."
        )
    encoded = np.zeros((flat.size, num_classes), np.float32)
    encoded[np.arange(flat.size), flat] = 1.0
    return encoded.reshape(*labels.shape, num_classes)
