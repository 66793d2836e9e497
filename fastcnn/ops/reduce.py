# SPDX-License-Identifier: Apache-2.0
"""Reductions over any axes, and their adjoint: repetition along axes.

Axes count from the end where negative; None means all of them. In the kernels' attributes a set of
axes is a bit mask.
"""

from __future__ import annotations

import builtins
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Shape, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.records import dataclass

Axes = tuple[int, ...] | None


def resolve_axes(axes: Axes, rank: int) -> tuple[int, ...]:
    """`axes` as sorted numbers in [0, rank), or a ShapeError."""
    if axes is None:
        return tuple(range(rank))
    for axis in axes:
        if not -rank <= axis < rank:
            raise ShapeError(
                f"axis {axis} does not exist in an input of rank {rank}; "
                f"give axes from {-rank} to {rank - 1}"
            )
    resolved = tuple(sorted({axis % rank for axis in axes}))
    if len(resolved) < len(axes):
        raise ShapeError(f"axes {axes} name an axis of rank {rank} twice; name each once")
    return resolved


def _mask(axes: Sequence[int]) -> int:
    return builtins.sum(1 << axis for axis in axes)


@dataclass(frozen=True)
class Reduce(Op):
    """A reduction over `axes`; reduced axes stay with size 1 where `keepdims`."""

    axes: Axes = None
    keepdims: bool = False

    def infer(self, *inputs: Spec) -> Spec:
        """Input shape without the reduced axes."""
        require_float(*inputs)
        axes = resolve_axes(self.axes, inputs[0].rank)
        kept = [1 if i in axes else d for i, d in enumerate(inputs[0].shape)]
        if not self.keepdims:
            kept = [d for i, d in enumerate(kept) if i not in axes]
        return inputs[0].with_shape(*kept)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axes as a bit mask."""
        return {"axes": _mask(resolve_axes(self.axes, inputs[0].rank))}

    def reference(self, *inputs: Array) -> Array:
        """The NumPy reduction."""
        axes = resolve_axes(self.axes, inputs[0].ndim)
        return np.asarray(self._numpy(inputs[0], axes), inputs[0].dtype)

    @abstractmethod
    def _numpy(self, x: Array, axes: tuple[int, ...]) -> Any:
        """Values over `axes`."""

    def _repeated(self, node: Node, dy: Tensor | None, mean: bool) -> Sequence[Tensor | None]:
        shape = node.inputs[0].shape
        return (apply(Broadcast(shape, resolve_axes(self.axes, len(shape)), mean), dy),)


@final
@dataclass(frozen=True)
class ReduceSum(Reduce):
    """y = sum of x over axes."""

    name: ClassVar[str] = "reduce_sum"

    def _numpy(self, x: Array, axes: tuple[int, ...]) -> Any:
        return np.sum(x, axes, keepdims=self.keepdims)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to every element."""
        return self._repeated(node, dys[0], mean=False)


@final
@dataclass(frozen=True)
class ReduceMean(Reduce):
    """y = sum of x over axes times 1/n; NaN where n is 0."""

    name: ClassVar[str] = "reduce_mean"

    def _numpy(self, x: Array, axes: tuple[int, ...]) -> Any:
        return np.sum(x, axes, keepdims=self.keepdims) * _inverse_count(x.shape, axes)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Axes, and the scale 1/n."""
        axes = resolve_axes(self.axes, inputs[0].rank)
        return {"axes": _mask(axes), "scale": _inverse_count(inputs[0].sizes, axes)}

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy/n to every element."""
        return self._repeated(node, dys[0], mean=True)


def _inverse_count(sizes: Sequence[int], axes: Sequence[int]) -> float:
    count = math.prod(sizes[axis] for axis in axes)
    return 1 / count if count else math.nan


@dataclass(frozen=True)
class ReduceExtremum(Reduce):
    """Largest or smallest element; a NaN wins."""

    def infer(self, *inputs: Spec) -> Spec:
        """As Reduce; nothing has no extremum."""
        for axis in resolve_axes(self.axes, inputs[0].rank):
            if inputs[0].shape[axis] == 0:
                raise ShapeError(
                    f"shape {inputs[0].shape} has no elements along axis {axis}; "
                    "an extremum needs at least one"
                )
        return super().infer(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to the first extremal element in row order."""
        x = node.inputs[0]
        return (apply(ReduceExtremumGrad(self.axes), dys[0], x, node.outputs[0]),)


@final
@dataclass(frozen=True)
class ReduceMax(ReduceExtremum):
    """y = largest x over axes."""

    name: ClassVar[str] = "reduce_max"

    def _numpy(self, x: Array, axes: tuple[int, ...]) -> Any:
        return np.max(x, axes, keepdims=self.keepdims)


@final
@dataclass(frozen=True)
class ReduceMin(ReduceExtremum):
    """y = smallest x over axes."""

    name: ClassVar[str] = "reduce_min"

    def _numpy(self, x: Array, axes: tuple[int, ...]) -> Any:
        return np.min(x, axes, keepdims=self.keepdims)


@final
@dataclass(frozen=True)
class ReduceExtremumGrad(Op):
    """(dy, x, y) -> dx: dy where x is the first in row order that equals y over axes, else 0."""

    axes: Axes = None
    name: ClassVar[str] = "reduce_extremum_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """Spec of x."""
        require_float(*inputs)
        return inputs[1]

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axes as a bit mask."""
        return {"axes": _mask(resolve_axes(self.axes, inputs[1].rank))}

    def reference(self, *inputs: Array) -> Array:
        """Rows of reduced elements, one by one output."""
        dy, x, y = inputs
        axes = resolve_axes(self.axes, x.ndim)
        kept = [i for i in range(x.ndim) if i not in axes]
        order = (*kept, *axes)
        moved = x.transpose(order)
        rows = moved.reshape(y.size, math.prod(x.shape[i] for i in axes))
        hit = rows == y.reshape(-1, 1)
        first = hit & (np.cumsum(hit, axis=1) == 1)
        marked = np.where(first, dy.reshape(-1, 1), 0).astype(x.dtype)
        return marked.reshape(moved.shape).transpose(np.argsort(order)).copy(order="C")


@final
@dataclass(frozen=True)
class Broadcast(Op):
    """x repeated along `axes` of `shape`; divided by the number of repeats where `mean`.

    The input has the other axes only, with or without ones in the place of `axes`.
    """

    shape: Shape
    axes: tuple[int, ...]
    mean: bool = False
    name: ClassVar[str] = "broadcast"

    def infer(self, *inputs: Spec) -> Spec:
        """The shape wanted."""
        require_float(*inputs)
        kept = tuple(d for i, d in enumerate(self.shape) if i not in self.axes)
        ones = tuple(1 if i in self.axes else d for i, d in enumerate(self.shape))
        if inputs[0].shape not in (kept, ones):
            raise ShapeError(
                f"shape {inputs[0].shape} cannot be repeated along axes {self.axes} to "
                f"{self.shape}; expected {kept} or {ones}"
            )
        return inputs[0].with_shape(*self.shape)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Axes, and the scale."""
        sizes = self.infer(*inputs).sizes
        return {
            "axes": _mask(self.axes),
            "scale": _inverse_count(sizes, self.axes) if self.mean else 1.0,
        }

    def reference(self, *inputs: Array) -> Array:
        """np.broadcast_to."""
        sizes = tuple(d or 0 for d in self.shape)
        ones = [1 if i in self.axes else d for i, d in enumerate(sizes)]
        scale = _inverse_count(sizes, self.axes) if self.mean else 1.0
        x = (inputs[0] * scale).astype(inputs[0].dtype)
        return np.broadcast_to(x.reshape(ones), sizes).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy summed (averaged) over the axes."""
        keepdims = node.inputs[0].ndim == len(self.shape)
        reduce = ReduceMean if self.mean else ReduceSum
        return (apply(reduce(self.axes, keepdims), dys[0]),)


@final
@dataclass(frozen=True)
class Argmax(Op):
    """Position of the first largest element along `axis` as int32; a NaN wins."""

    axis: int = -1
    name: ClassVar[str] = "argmax"

    def infer(self, *inputs: Spec) -> Spec:
        """Input shape without the axis, int32."""
        require_float(*inputs)
        (axis,) = resolve_axes((self.axis,), inputs[0].rank)
        shape = inputs[0].shape
        if shape[axis] == 0:
            raise ShapeError(f"shape {shape} has no elements along axis {axis}; give at least one")
        return Spec((*shape[:axis], *shape[axis + 1 :]), "int32")

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axis, counted from the start."""
        return {"axis": self.axis % inputs[0].rank}

    def reference(self, *inputs: Array) -> Array:
        """np.argmax."""
        return np.asarray(np.argmax(inputs[0], self.axis), np.int32)


def sum_to(x: Tensor, shape: Shape) -> Tensor:
    """x summed over the axes along which a tensor of `shape` was repeated to give x's shape."""
    leading = x.ndim - len(shape)
    if leading:
        x = apply(ReduceSum(tuple(range(leading))), x)
    repeated = tuple(i for i, d in enumerate(shape) if d == 1 and x.shape[i] != 1)
    return apply(ReduceSum(repeated, keepdims=True), x) if repeated else x


def _axes(axis: int | Sequence[int] | None) -> Axes:
    if axis is None:
        return None
    return (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(int(a) for a in axis)


def sum(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """Sum over `axis` (all axes when None).

    Args:
        x: float array or tensor of any shape.
        axis: one axis or several; negative ones count from the end.
        keepdims: keep the reduced axes with size 1.

    Raises:
        ShapeError: an axis that does not exist or is named twice.
    """
    return apply(ReduceSum(_axes(axis), keepdims), x)


def mean(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """Mean over `axis` (all axes when None): the sum times 1/n; arguments as for `sum`."""
    return apply(ReduceMean(_axes(axis), keepdims), x)


def max(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """Largest element over `axis`; NaN where there is one; arguments as for `sum`.

    The gradient goes to the first largest element in row order.
    """
    return apply(ReduceMax(_axes(axis), keepdims), x)


def min(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """Smallest element over `axis`; NaN where there is one; arguments as for `sum`.

    The gradient goes to the first smallest element in row order.
    """
    return apply(ReduceMin(_axes(axis), keepdims), x)


def argmax(x: Any, axis: int = -1) -> Any:
    """Position of the first largest element along one axis, int32, without that axis.

    A NaN counts as the largest. Not differentiable.
    """
    return apply(Argmax(axis), x)


OPS: tuple[type[Op], ...] = (
    ReduceSum,
    ReduceMean,
    ReduceMax,
    ReduceMin,
    ReduceExtremumGrad,
    Broadcast,
    Argmax,
)
