# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last axis and its logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.shape import transpose
from fastcnn.ops.shape_join import normal_axis
from fastcnn.records import dataclass


def require_row(x: Spec) -> None:
    """A row of at least one class, or an error."""
    require_float(x)
    if x.rank == 0 or x.shape[-1] == 0:
        raise ShapeError(
            f"found an input of shape {x.shape}, expected (..., K) with K of at least 1; put the "
            "classes on the last axis"
        )


def log_softmax_of(x: Array) -> Array:
    """The reference of `LogSoftmax`."""
    z: Array = x - x.max(-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


@final
@dataclass(frozen=True)
class Softmax(Op):
    """y = e^x / sum e^x over the last axis."""

    name: ClassVar[str] = "softmax"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_row(inputs[0])
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """Shifted by the row's maximum."""
        e = np.exp(inputs[0] - inputs[0].max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """From y itself."""
        return (apply(SoftmaxGrad(), node.outputs[0], dys[0]),)


@final
@dataclass(frozen=True)
class SoftmaxGrad(Op):
    """dx = y (dy - sum y dy) from y and dy."""

    name: ClassVar[str] = "softmax_grad"
    inplace: ClassVar[dict[int, int]] = {0: 1}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """As the formula."""
        y, dy = inputs
        return np.asarray(y * (dy - (y * dy).sum(-1, keepdims=True)))


@final
@dataclass(frozen=True)
class LogSoftmax(Op):
    """y = x - log sum e^x over the last axis."""

    name: ClassVar[str] = "log_softmax"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_row(inputs[0])
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """Shifted by the row's maximum."""
        return log_softmax_of(inputs[0])

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """From y itself."""
        return (apply(LogSoftmaxGrad(), node.outputs[0], dys[0]),)


@final
@dataclass(frozen=True)
class LogSoftmaxGrad(Op):
    """dx = dy - e^y sum dy from y and dy."""

    name: ClassVar[str] = "log_softmax_grad"
    inplace: ClassVar[dict[int, int]] = {0: 1}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """As the formula."""
        y, dy = inputs
        return np.asarray(dy - np.exp(y) * dy.sum(-1, keepdims=True))


# --- functions ---------------------------------------------------------------------------------


def softmax(x: Any, axis: int = -1) -> Any:
    """e^x / sum e^x along `axis`."""
    return _along_last(Softmax(), x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)) along `axis`, without overflow or loss of digits."""
    return _along_last(LogSoftmax(), x, axis)


def _along_last(op: Op, x: Any, axis: int) -> Any:
    """`op`, which works on the last axis, along another one."""
    rank = len(x.shape) if hasattr(x, "shape") else np.ndim(x)
    axis = normal_axis(axis, rank) if rank else -1
    if axis in (-1, rank - 1):
        return apply(op, x)
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    return transpose(apply(op, transpose(x, order)), order)


OPS: tuple[type[Op], ...] = (Softmax, SoftmaxGrad, LogSoftmax, LogSoftmaxGrad)
