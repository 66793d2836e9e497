# SPDX-License-Identifier: Apache-2.0
"""The (x, y, sample_weight) convention of data sets and batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.data.batch import Samples
from fastcnn.data.structure import Structure
from fastcnn.errors import ArgumentError, DataError


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """`(x, y, sample_weight)` of one batch or data set, None for what is not there.

    Args:
        data: `x`, or a tuple or list of one to three parts.

    Raises:
        DataError: more than three parts, or none.
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise DataError(
            f"Found a batch of {len(data)} parts, expected x, (x, y) or (x, y, sample_weight); "
            "put several inputs into one list or dict: ([x1, x2], y)."
        )
    x, y, weight = (*data, None, None)[:3]
    return x, y, weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The inverse of `unpack_x_y_sample_weight`, without trailing None; a lone `x` stays bare."""
    if sample_weight is not None:
        return (x, y, sample_weight)
    if y is not None:
        return (x, y)
    return (x,) if isinstance(x, (tuple, list)) else x


def train_validation_split(
    x: Any, y: Any = None, sample_weight: Any = None, *, validation_split: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Cut the last fraction off, before any shuffling, as Keras does.

    Args:
        x: arrays, possibly nested.
        y: labels like `x`, or None.
        sample_weight: weights like `y`, or None.
        validation_split: the fraction for validation, between 0 and 1.

    Returns:
        Two tuples (x, y, sample_weight) of views: training, validation.

    Raises:
        ArgumentError: the fraction leaves one part empty, or the data is not made of arrays.
    """
    if not (isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__")):
        raise ArgumentError(
            f"validation_split works with arrays, found x of type {type(x).__name__}; "
            "pass validation_data instead."
        )
    if not 0 < arguments.number("fit", "validation_split", validation_split) < 1:
        raise ArgumentError(
            f"Found validation_split={validation_split}, expected 0 < fraction < 1."
        )
    length = Samples.check(x, y, sample_weight, "The data set").length
    cut = math.floor(length * (1.0 - validation_split))
    if cut in (0, length):
        raise ArgumentError(
            f"validation_split={validation_split} of {length} samples leaves {cut} for training "
            f"and {length - cut} for validation, expected at least one in each."
        )
    parts = (x, y, sample_weight)
    return _cut(parts, slice(0, cut)), _cut(parts, slice(cut, length))


def _cut(parts: tuple[Any, Any, Any], rows: slice) -> tuple[Any, Any, Any]:
    x, y, weight = (
        structure.unflatten([np.asarray(leaf)[rows] for leaf in structure.flatten(part)])
        for part in parts
        for structure in (Structure.of(part),)
    )
    return x, y, weight
