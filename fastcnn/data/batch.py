# SPDX-License-Identifier: Apache-2.0
"""From what one step of a data source delivers to flat, checked lists of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from fastcnn.data.arrays import (
    Array,
    as_array,
    check_int32,
    check_lengths,
    check_no_nan,
    class_weights_of,
    convert_input,
    convert_label,
    convert_weight,
)
from fastcnn.data.structure import Structure, leaf_names
from fastcnn.errors import ArgumentError, DataError
from fastcnn.records import dataclass


class Batch(NamedTuple):
    """One step's data as flat lists; axis 0 of every array is the sample.

    Attributes:
        x: the inputs, in the order of the adapter's `x_structure`.
        y: the labels, in the order of `y_structure`; empty without labels.
        w: one entry per label, float weights or None.
    """

    x: list[Array]
    y: list[Array]
    w: list[Array | None]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.x[0])

    def copied(self) -> Batch:
        """The same in arrays of its own."""
        w = [None if weight is None else weight.copy() for weight in self.w]
        return Batch([array.copy() for array in self.x], [array.copy() for array in self.y], w)


class ArraySpec(NamedTuple):
    """What the batches of one input or label look like, without the batch axis."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@final
@dataclass(frozen=True)
class Samples:
    """Checked but not yet converted data: the whole set, or one batch of a generator."""

    x_structure: Structure
    y_structure: Structure
    x: list[Array]
    y: list[Array]
    w: list[Array | None]
    length: int

    @staticmethod
    def check(x: Any, y: Any, sample_weight: Any, where: str) -> Samples:
        """Check everything that can be known without a model.

        Args:
            x: arrays, possibly nested.
            y: arrays, possibly nested, or None.
            sample_weight: None, one array for all labels, or a nesting like that of `y`.
            where: "The data set" or "Batch 3 of the generator", for messages.

        Raises:
            DataError: lengths differ, nothing is there, labels or weights are NaN.
            DtypeError: an array does not hold numbers.
        """
        x_structure, y_structure = Structure.of(x), Structure.of(y)
        x_names, y_names = leaf_names("x", x_structure), leaf_names("y", y_structure)
        x_arrays = _arrays(x_structure.flatten(x), x_names)
        y_arrays = _arrays(y_structure.flatten(y), y_names)
        weights = _flatten_weights(sample_weight, y_structure, "sample_weight")
        w_arrays: list[Array | None] = [
            None if weight is None else as_array(weight, "sample_weight") for weight in weights
        ]
        named = [*zip(x_names, x_arrays, strict=True), *zip(y_names, y_arrays, strict=True)]
        named += [("sample_weight", weight) for weight in w_arrays if weight is not None]
        length = check_lengths(named, where)
        for name, array in named[len(x_arrays) :]:
            check_no_nan(array, name)
        for name, array in zip(y_names, y_arrays, strict=True):
            check_int32(array, name)
        return Samples(x_structure, y_structure, x_arrays, y_arrays, w_arrays, length)


@final
@dataclass(frozen=True)
class Converter:
    """How checked arrays become the arrays of a batch.

    Attributes:
        class_weight: class number to weight, or None.
        float_dtype: what float64 inputs and labels, and all weights, become.
    """

    class_weight: Mapping[int, float] | None = None
    float_dtype: npt.DTypeLike = np.float32

    def check(self, samples: Samples) -> None:
        """Raise when `class_weight` cannot be applied to `samples`."""
        if self.class_weight is None:
            return
        if len(samples.y) != 1:
            raise ArgumentError(
                f"class_weight works with one label array, found {len(samples.y)}; "
                "pass sample_weight per output instead."
            )
        if samples.w[0] is not None:
            raise ArgumentError(
                "Found both class_weight and sample_weight, expected at most one; multiply the "
                "class weights into sample_weight."
            )
        class_weights_of(samples.y[0][:1], self.class_weight, "y")

    def batch(self, samples: Samples, rows: slice | npt.NDArray[np.intp]) -> Batch:
        """The chosen rows; a slice gives views where no conversion is needed."""
        kind = self.float_dtype
        y_raw = [array[rows] for array in samples.y]
        weights = [None if weight is None else weight[rows] for weight in samples.w]
        if self.class_weight is not None:
            weights = [class_weights_of(y_raw[0], self.class_weight, "y", kind)]
        return Batch(
            [convert_input(array[rows], kind) for array in samples.x],
            [convert_label(array, kind) for array in y_raw],
            [None if weight is None else convert_weight(weight, kind) for weight in weights],
        )


def check_class_weight(class_weight: Any) -> Mapping[int, float] | None:
    """A checked copy of the user's `class_weight`.

    Raises:
        ArgumentError: not a dict of class number to finite, non-negative weight.
    """
    if class_weight is None:
        return None
    try:
        checked = {int(key): float(value) for key, value in dict(class_weight).items()}
        valid = all(np.isfinite(value) and value >= 0 for value in checked.values())
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ArgumentError(
            f"Found class_weight={class_weight!r}, expected a dict from class number to a finite "
            "weight ≥ 0, for example {0: 1.0, 1: 3.5}."
        )
    return checked


def _arrays(leaves: list[Any], names: list[str]) -> list[Array]:
    return [as_array(leaf, name) for leaf, name in zip(leaves, names, strict=True)]


def _flatten_weights(weight: Any, structure: Structure, name: str) -> list[Any]:
    """One weight (or None) per label; a lone array serves all labels below it."""
    count = len(structure.paths)
    if weight is None:
        return [None] * count
    given = Structure.of(weight)
    if count == 0:
        raise DataError(f"Found {name} but no labels, expected y with it.")
    if given.kind == "leaf":
        return [weight] * count
    if structure.kind == "dict" and isinstance(weight, dict):
        unknown = sorted(set(weight) - set(structure.keys))
        if unknown:
            raise DataError(f"{name} names {unknown}, expected names of y: {structure.keys}.")
        parts = [weight.get(key) for key in structure.keys]
    elif structure.kind in ("list", "tuple") and isinstance(weight, (list, tuple)):
        parts = list(weight)
    else:
        parts = []
    if len(parts) != len(structure.children) or structure.kind == "leaf":
        raise DataError(
            f"{name} is nested as {given}, expected one array or the nesting of y: {structure}."
        )
    return [
        leaf
        for part, child in zip(parts, structure.children, strict=True)
        for leaf in _flatten_weights(part, child, name)
    ]
