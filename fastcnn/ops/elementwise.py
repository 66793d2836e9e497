# SPDX-License-Identifier: Apache-2.0
"""Elementwise operations: those that move, convert or look at elements, and the family's list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops import (
    elementwise_activations,
    elementwise_binary,
    elementwise_dropout,
    elementwise_unary,
)
from fastcnn.ops._apply import FLOATS, apply, require_float
from fastcnn.records import dataclass

INTEGERS = ("uint8", "int32", "uint32", "int64")


@final
@dataclass(frozen=True)
class Identity(Op):
    """y = x in memory of its own; any dtype."""

    name: ClassVar[str] = "identity"

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """A copy."""
        return inputs[0].copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dx = dy."""
        return (dys[0],)


@final
@dataclass(frozen=True)
class CheckFinite(Op):
    """Stops the run with status "nonfinite" unless every element of x is finite; no output."""

    name: ClassVar[str] = "check_finite"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """No outputs."""
        require_float(*inputs)
        return ()

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Raises FloatingPointError, which the backend turns into the status."""
        if not np.isfinite(inputs[0]).all():
            raise FloatingPointError
        return ()


@final
@dataclass(frozen=True)
class Cast(Op):
    """x as another float type; integers become floats of the same value (255 -> 255.0)."""

    dtype: str = "float32"
    name: ClassVar[str] = "cast"

    def infer(self, *inputs: Spec) -> Spec:
        """Same shape."""
        if inputs[0].dtype not in (*FLOATS, *INTEGERS):
            raise DtypeError(
                f"found {inputs[0].dtype}, expected one of {', '.join((*FLOATS, *INTEGERS))}; "
                "convert the array with .astype first"
            )
        return Spec(inputs[0].shape, self.dtype)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: kernels read the types of their tensors."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """astype."""
        return inputs[0].astype(self.dtype)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy in the type of x; nothing to integers."""
        dtype = node.inputs[0].dtype
        return (cast(dys[0], dtype) if dtype in FLOATS else None,)


@final
@dataclass(frozen=True)
class OneHot(Op):
    """Integer labels -> rows of zeros with a one at the label; no one where it is out of range."""

    num_classes: int
    dtype: str = "float32"
    name: ClassVar[str] = "one_hot"

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of the labels and an axis of classes."""
        if inputs[0].dtype not in INTEGERS:
            raise DtypeError(
                f"found labels of {inputs[0].dtype}, expected integers; convert them with "
                ".astype('int32')"
            )
        return Spec((*inputs[0].shape, self.num_classes), self.dtype)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: kernels read the shape of the output."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """labels == class."""
        return np.asarray(inputs[0][..., None] == np.arange(self.num_classes), self.dtype)


def _require_float_name(function: str, dtype: str) -> None:
    if dtype not in FLOATS:
        raise DtypeError(f"ops.{function}: found dtype {dtype!r}, expected {' or '.join(FLOATS)}")


def cast(x: Any, dtype: str) -> Any:
    """x as float32 or float64.

    Args:
        x: array or tensor of floats, uint8, int32, uint32, int64 or (array only) booleans.
        dtype: "float32" or "float64".

    Raises:
        DtypeError: another dtype on either side.
    """
    _require_float_name("cast", dtype)
    if isinstance(x, np.ndarray) and x.dtype == bool:
        x = x.view(np.uint8)
    return x if getattr(x, "dtype", None) == dtype else apply(Cast(dtype), x)


def one_hot(x: Any, num_classes: int, dtype: str = "float32") -> Any:
    """Integer labels as rows of zeros and a one.

    Args:
        x: labels of any integer type and shape; a label outside [0, num_classes) gives a row of
            zeros.
        num_classes: length of the new last axis.
        dtype: "float32" or "float64".

    Raises:
        ArgumentError: `num_classes` is not positive.
        DtypeError: labels that are not integers.
    """
    _require_float_name("one_hot", dtype)
    if num_classes < 1:
        raise ArgumentError(f"ops.one_hot: found num_classes={num_classes}, expected at least 1")
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    return apply(OneHot(int(num_classes), dtype), x)


OPS: tuple[type[Op], ...] = (
    Identity,
    CheckFinite,
    Cast,
    OneHot,
    *elementwise_unary.OPS,
    *elementwise_activations.OPS,
    *elementwise_binary.OPS,
    *elementwise_dropout.OPS,
)
