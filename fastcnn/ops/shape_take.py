# SPDX-License-Identifier: Apache-2.0
"""Taking elements along an axis by their positions, and the gradient of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, is_symbolic, require_float
from fastcnn.ops.shape_join import normal_axis
from fastcnn.records import dataclass


def _require_positions(indices: Spec) -> None:
    if indices.dtype != "int32":
        raise DtypeError(
            f"found indices of {indices.dtype}, expected int32; convert them with .astype('int32')"
        )


def _inside(indices: Array, size: int) -> Array:
    found: Array = (indices >= 0) & (indices < size)
    return found


@final
@dataclass(frozen=True)
class Take(Op):
    """(x, int32 indices) -> x with `axis` replaced by the axes of the indices; any dtype of x.

    An index outside of the axis takes zeros.
    """

    axis: int
    name: ClassVar[str] = "take"

    def infer(self, *inputs: Spec) -> Spec:
        """Axes before, axes of the indices, axes behind."""
        x, indices = inputs
        _require_positions(indices)
        axis = normal_axis(self.axis, x.rank)
        return x.with_shape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])

    def reference(self, *inputs: Array) -> Array:
        """numpy.take, and zeros."""
        x, indices = inputs
        axis = normal_axis(self.axis, x.ndim)
        ends = [(0, 1) if i == axis else (0, 0) for i in range(x.ndim)]
        places = np.where(_inside(indices, x.shape[axis]), indices, x.shape[axis])
        return np.asarray(np.take(np.pad(x, ends), places, axis))

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy added up where it was taken."""
        x, indices = node.inputs
        axis = normal_axis(self.axis, x.ndim)
        size = x.shape[axis]
        if size is None:
            raise ShapeError(f"axis {axis} of shape {x.shape} is not known; bind it first")
        return apply(TakeGrad(axis, size), dys[0], indices), None

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axis, counted from the front."""
        return {"axis": normal_axis(self.axis, inputs[0].rank)}


@final
@dataclass(frozen=True)
class TakeGrad(Op):
    """(dy, indices) -> dx with `size` elements along `axis`: sums where an index comes twice."""

    axis: int
    size: int
    name: ClassVar[str] = "take_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """The shape of x."""
        dy, indices = inputs
        require_float(dy)
        _require_positions(indices)
        behind = dy.shape[self.axis + indices.rank :]
        return dy.with_shape(*dy.shape[: self.axis], self.size, *behind)

    def reference(self, *inputs: Array) -> Array:
        """One index after the other."""
        dy, indices = inputs
        before, behind = dy.shape[: self.axis], dy.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(dy.reshape(*before, indices.size, *behind), self.axis, 0)
        dx = np.zeros((self.size, *before, *behind), dy.dtype)
        inside = _inside(indices.reshape(-1), self.size)
        np.add.at(dx, indices.reshape(-1)[inside], rows[inside])
        return np.moveaxis(dx, 0, self.axis).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Taken again."""
        return apply(Take(self.axis), dys[0], node.inputs[1]), None

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axis; the size is the output's."""
        return {"axis": self.axis}


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    """Elements of `x` at positions along one axis.

    Args:
        x: array or tensor of any dtype.
        indices: integers, one or an array or tensor of them. In arrays -1 is the last element; in
            tensors positions count from 0, and one outside of the axis takes zeros.
        axis: the axis whose place the axes of `indices` take.

    Raises:
        ArgumentError: an index in an array lies outside of the axis.
        DtypeError: indices that are not integers.
    """
    if is_symbolic(indices):
        return apply(Take(int(axis)), x, indices)
    places = np.asarray(indices)
    if places.dtype.kind not in "iu":
        raise DtypeError(f"ops.take: found indices of {places.dtype}, expected integers")
    shape = x.shape if hasattr(x, "shape") else np.shape(x)
    size = shape[normal_axis(int(axis), len(shape))]
    if size is None and (places < 0).any():
        raise ShapeError(f"ops.take: axis {axis} of shape {shape} is not known; count from 0")
    if size is not None and not ((places >= -size) & (places < size)).all():
        raise ArgumentError(
            f"ops.take: found indices from {places.min()} to {places.max()}, expected {-size} to "
            f"{size - 1} for axis {axis} of shape {tuple(shape)}"
        )
    places = np.where(places < 0, places + (size or 0), places).astype(np.int32)
    # One number is no array to the functions that read operands.
    if places.ndim:
        return apply(Take(int(axis)), x, places)
    from fastcnn import ops

    return ops.squeeze(apply(Take(int(axis)), x, places.reshape(1)), axis)


OPS: tuple[type[Op], ...] = (Take, TakeGrad)
