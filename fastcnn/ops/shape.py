# SPDX-License-Identifier: Apache-2.0
"""Ops that move elements and compute nothing: reshape, transpose, broadcast, channel shuffle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops import shape_copy, shape_join, shape_resize, shape_take
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.reduce import sum_to
from fastcnn.ops.shape_join import concatenate, normal_axis, numbered
from fastcnn.records import dataclass

Dim = int | None


@final
@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in row order under another shape; no copy, any dtype.

    In `target`, None keeps the input's size at that position, known or not, and one -1 takes what
    is left: (None, -1) flattens all axes but the batch.
    """

    target: tuple[Dim, ...]
    name: ClassVar[str] = "reshape"
    is_view: ClassVar[bool] = True

    def infer(self, *inputs: Spec) -> Spec:
        """The target with None and -1 filled in where the input is known."""
        return inputs[0].with_shape(*self._resolve(inputs[0]))

    def _resolve(self, x: Spec) -> list[Dim]:
        kept = [i for i, d in enumerate(self.target) if d is None]
        rest = [i for i, d in enumerate(self.target) if d == -1]
        sizes = [d for d in self.target if d is not None and d != -1]
        if len(rest) > 1 or min(sizes, default=0) < 0 or (kept and kept[-1] >= x.rank):
            raise ShapeError(
                f"found target shape {self.target} for an input of shape {x.shape}, expected "
                "sizes, at most one -1, and None where the input has an axis; spell out the sizes"
            )
        shape: list[Dim] = [x.shape[i] if d is None else d for i, d in enumerate(self.target)]
        source = [d for i, d in enumerate(x.shape) if i not in kept]
        have = None if None in source else math.prod(d for d in source if d is not None)
        want = math.prod(sizes)
        fits = have is None or (have == want if not rest else want > 0 and have % want == 0)
        if not fits:
            raise ShapeError(
                f"found an input of shape {x.shape} for target shape {self.target}, expected the "
                "same number of elements; change the target's sizes or put -1 for one of them"
            )
        if rest:
            shape[rest[0]] = None if have is None else have // want
        return shape

    def reference(self, *inputs: Array) -> Array:
        """numpy.reshape, copied."""
        return inputs[0].reshape(self.infer(Spec(inputs[0].shape)).sizes).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy under the input's shape."""
        return (apply(Reshape(node.inputs[0].shape), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: views have no kernel."""
        return {}


@final
@dataclass(frozen=True)
class Transpose(Op):
    """Axis i of the output is axis permutation[i] of the input; any dtype."""

    permutation: tuple[int, ...]
    name: ClassVar[str] = "transpose"

    def infer(self, *inputs: Spec) -> Spec:
        """Permuted sizes."""
        x = inputs[0]
        if sorted(self.permutation) != list(range(x.rank)):
            raise ShapeError(
                f"found axes {self.permutation} for an input of shape {x.shape}, expected every "
                f"one of 0 to {x.rank - 1} once; list each axis once"
            )
        return x.with_shape(*(x.shape[i] for i in self.permutation))

    def reference(self, *inputs: Array) -> Array:
        """numpy.transpose, copied."""
        return inputs[0].transpose(self.permutation).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy by the inverse permutation."""
        inverse = tuple(self.permutation.index(i) for i in range(len(self.permutation)))
        return (apply(Transpose(inverse), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The permutation."""
        return dict(numbered("axis", self.permutation))


@final
@dataclass(frozen=True)
class BroadcastTo(Op):
    """Axes of size 1, and new ones in front, repeated to `shape` (NumPy's rule); any dtype."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "broadcast_to"

    def infer(self, *inputs: Spec) -> Spec:
        """The target shape."""
        x = inputs[0]
        tail = self.shape[len(self.shape) - x.rank :]
        fits = all(d in (None, 1, t) for d, t in zip(x.shape, tail, strict=False))
        if x.rank > len(self.shape) or not fits or min(self.shape, default=0) < 0:
            raise ShapeError(
                f"found an input of shape {x.shape} for target shape {self.shape}, expected sizes "
                "that are 1 or equal counted from the last axis; reshape the input first"
            )
        return x.with_shape(*self.shape)

    def reference(self, *inputs: Array) -> Array:
        """numpy.broadcast_to, copied."""
        return np.broadcast_to(inputs[0], self.shape).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy summed over the repeated axes."""
        return (sum_to(dys[0], node.inputs[0].shape),)  # type: ignore[arg-type]

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: both shapes are the tensors' own."""
        return {}


@final
@dataclass(frozen=True)
class ChannelShuffle(Op):
    """Channel g * (C / groups) + j goes to channel j * groups + g (Zhang et al. 2017, ShuffleNet).

    Channels are the last axis.
    """

    groups: int
    name: ClassVar[str] = "channel_shuffle"

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_float(*inputs)
        x = inputs[0]
        channels = x.shape[-1] if x.rank else None
        if channels is None or self.groups < 1 or channels % self.groups:
            raise ShapeError(
                f"found groups={self.groups} for an input of shape {x.shape}, expected a divisor "
                f"of its {channels} channels; choose another number of groups"
            )
        return x

    def reference(self, *inputs: Array) -> Array:
        """Channels as (groups, C / groups), transposed."""
        x = inputs[0]
        grouped = x.reshape(*x.shape[:-1], self.groups, x.shape[-1] // self.groups)
        return grouped.swapaxes(-1, -2).reshape(x.shape).copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """The shuffle with C / groups groups undoes this one."""
        channels = node.specs[0].shape[-1] or 0
        return (apply(ChannelShuffle(channels // self.groups), dys[0]),)


# --- functions ---------------------------------------------------------------------------------


def _shape(x: Any) -> tuple[Dim, ...]:
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def reshape(x: Any, newshape: int | Sequence[Dim]) -> Any:
    """The same elements under another shape.

    Args:
        x: array or tensor.
        newshape: sizes; one may be -1 (what is left), None keeps the input's size there.
    """
    target = (newshape,) if isinstance(newshape, (int, np.integer)) else newshape
    return apply(Reshape(tuple(None if d is None else int(d) for d in target)), x)


def flatten(x: Any) -> Any:
    """(N, ...) to (N, all the rest)."""
    return reshape(x, (None, -1))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Permute the axes; reverse them when `axes` is None."""
    rank = len(_shape(x))
    order = range(rank)[::-1] if axes is None else [normal_axis(int(a), rank) for a in axes]
    return apply(Transpose(tuple(order)), x)


def expand_dims(x: Any, axis: int) -> Any:
    """A new axis of size 1 at `axis` of the result."""
    shape = _shape(x)
    axis = normal_axis(axis, len(shape) + 1)
    sources: list[int | None] = [*range(axis), None, *range(axis, len(shape))]
    return reshape(x, _target(shape, sources))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Without the axes of size 1 (all of them when `axis` is None)."""
    shape = _shape(x)
    if axis is None:
        dropped = {i for i, d in enumerate(shape) if d == 1}
    else:
        axes = [axis] if isinstance(axis, (int, np.integer)) else axis
        dropped = {normal_axis(int(a), len(shape)) for a in axes}
    wrong = sorted(i for i in dropped if shape[i] != 1)
    if wrong:
        raise ShapeError(
            f"squeeze: axis {wrong[0]} of shape {shape} has size {shape[wrong[0]]}, expected 1; "
            "squeeze another axis or reduce this one"
        )
    return reshape(x, _target(shape, [i for i in range(len(shape)) if i not in dropped]))


def _target(shape: Sequence[Dim], sources: Sequence[int | None]) -> tuple[Dim, ...]:
    """Target whose axis i is axis sources[i] of `shape` (None: a new 1), known or not."""
    target: list[Dim] = []
    for position, source in enumerate(sources):
        size = 1 if source is None else shape[source]
        target.append(-1 if size is None and source != position else size)
    return tuple(target)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """`x` repeated to `shape` by NumPy's rule."""
    return apply(BroadcastTo(tuple(int(d) for d in shape)), x)


def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis."""
    if not len(x):
        raise ShapeError("stack: found no inputs, expected at least one; give a list of tensors")
    axis = normal_axis(axis, len(_shape(x[0])) + 1)
    return concatenate([expand_dims(part, axis) for part in x], axis)


def channel_shuffle(x: Any, groups: int) -> Any:
    """Interleave `groups` equal groups of channels: (g, j) goes to (j, g).

    Args:
        x: (..., C) floats.
        groups: a divisor of C.
    """
    return apply(ChannelShuffle(int(groups)), x)


OPS: tuple[type[Op], ...] = (
    Reshape,
    Transpose,
    BroadcastTo,
    ChannelShuffle,
    *shape_copy.OPS,
    *shape_join.OPS,
    *shape_resize.OPS,
    *shape_take.OPS,
)
