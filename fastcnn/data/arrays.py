# SPDX-License-Identifier: Apache-2.0
"""Checks and conversions of the arrays users hand in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastcnn.errors import DataError, DtypeError

Array = npt.NDArray[Any]

# Rows looked at together when a large array is scanned; bounds the memory of the scan.
_SCAN_BYTES = 1 << 24
_INT32 = np.iinfo(np.int32)


def as_array(value: Any, name: str) -> Array:
    """`value` as an array of numbers with at least one axis; no copy of what is one already.

    Raises:
        DtypeError: objects, strings, dates or complex numbers.
        DataError: ragged lists or a lone number.
    """
    if value is None:
        raise DataError(f"{name} is None, expected an array.")
    if isinstance(value, np.ndarray):
        array = value
    else:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{name} is a {type(value).__name__} that does not form an array ({error}); "
                "make all rows the same shape."
            ) from error
    if array.dtype.kind not in "biuf":
        raise DtypeError(
            f"{name} has dtype {array.dtype}, expected numbers; "
            + (
                "an object array usually means rows of different shapes: bring them to one shape "
                "and use np.stack."
                if array.dtype.kind == "O"
                else "encode it as integers or floats first."
            )
        )
    if array.ndim == 0:
        raise DataError(f"{name} is the number {array}, expected an array with a batch axis.")
    return array


def check_lengths(named: list[tuple[str, Array]], where: str) -> int:
    """The common length of axis 0.

    Raises:
        DataError: lengths differ or are zero, or there is no array.
    """
    if not named:
        raise DataError(f"{where} holds no array, expected at least one input.")
    lengths = {len(array) for _, array in named}
    if len(lengths) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in named)
        raise DataError(
            f"{where} has arrays of different lengths ({found}), expected the same number of "
            "samples in each; check how they were sliced or filtered."
        )
    (length,) = lengths
    if length == 0:
        raise DataError(
            f"{where} is empty: {named[0][0]} has shape {named[0][1].shape}, expected at least "
            "one sample; check the path or the filter that made it."
        )
    return length


def check_no_nan(array: Array, name: str) -> None:
    """Raise DataError when a float array holds NaN, naming the first sample with one."""
    if array.dtype.kind != "f" or not array.size:
        return
    rows = max(1, _SCAN_BYTES // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), rows):
        bad = np.isnan(array[start : start + rows])
        if bad.any():
            first = start + int(np.argwhere(bad)[0, 0])
            raise DataError(
                f"{name} is NaN at sample {first}, expected numbers; drop these samples or fill "
                "the missing values."
            )


def check_int32(array: Array, name: str) -> None:
    """Raise DataError when integer labels do not fit into int32."""
    if array.dtype in (np.int64, np.uint64, np.uint32) and array.size:
        low, high = int(array.min()), int(array.max())
        if low < _INT32.min or high > _INT32.max:
            raise DataError(
                f"{name} has values from {low} to {high}, expected class numbers that fit into "
                "int32; renumber the classes from 0."
            )


def convert_input(array: Array, float_dtype: npt.DTypeLike) -> Array:
    """float64 becomes `float_dtype`; everything else stays as it is."""
    return array.astype(float_dtype, copy=False) if array.dtype == np.float64 else array


def convert_label(array: Array, float_dtype: npt.DTypeLike) -> Array:
    """float64 becomes `float_dtype`, wide integers become int32; everything else stays."""
    if array.dtype in (np.int64, np.uint64, np.uint32):
        return array.astype(np.int32)
    return convert_input(array, float_dtype)


def convert_weight(array: Array, float_dtype: npt.DTypeLike) -> Array:
    """Weights multiply losses, so they are always `float_dtype`."""
    return array.astype(float_dtype, copy=False)


def class_weights_of(
    labels: Array, class_weight: Mapping[int, float], name: str, dtype: npt.DTypeLike = np.float32
) -> Array:
    """One weight per sample, by its class; classes that are not named weigh 1.

    Args:
        labels: class numbers (n,) or (n, 1), or one-hot rows (n, classes).
        class_weight: class number to weight.
        name: the labels' name for messages.
        dtype: dtype of the result, shape (n,).

    Raises:
        DataError: the labels have another shape or are not whole numbers.
    """
    if labels.ndim == 2 and labels.shape[1] != 1:
        classes = labels.argmax(axis=1)
    elif labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1):
        classes = labels.reshape(-1)
    else:
        raise DataError(
            f"class_weight: {name} has shape {labels.shape}, expected (samples,), (samples, 1) "
            "or one-hot (samples, classes); pass sample_weight instead."
        )
    if classes.dtype.kind == "f" and not np.array_equal(classes, np.rint(classes)):
        raise DataError(
            f"class_weight: {name} holds fractions, expected class numbers; "
            "pass sample_weight instead."
        )
    weights = np.ones(len(classes), dtype)
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return weights
