# SPDX-License-Identifier: Apache-2.0
"""Matrix products, whose gradients are matrix products, and the dense layer's operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, as_operands, require_float
from fastcnn.ops.conv_window import located_in, require_equal, with_bias
from fastcnn.records import dataclass


@final
@dataclass(frozen=True)
class MatMul(Op):
    """y = op(a) @ op(b), where op transposes the last two axes if asked.

    Leading axes are a batch and equal in both, or b is a matrix and multiplies every row of an a
    that is not transposed.
    """

    transpose_a: bool = False
    transpose_b: bool = False
    name: ClassVar[str] = "matmul"

    def infer(self, *inputs: Spec) -> Spec:
        """a (..., M, D), b (..., D, N) or (D, N) -> (..., M, N)."""
        a, b = inputs
        require_float(a, b)
        self._check_ranks(a, b)
        rows, depth = a.shape[-2:][:: -1 if self.transpose_a else 1]
        depth_b, columns = b.shape[-2:][:: -1 if self.transpose_b else 1]
        require_equal(
            depth,
            depth_b,
            f"found {_text(a, self.transpose_a)} times {_text(b, self.transpose_b)}, expected "
            f"equal inner sizes but they are {depth} and {depth_b}; give a second matrix of "
            f"({depth}, {columns})",
        )
        return a.with_shape(*a.shape[:-2], rows, columns)

    def _check_ranks(self, a: Spec, b: Spec) -> None:
        if a.rank < 2 or b.rank < 2:
            raise ShapeError(
                f"found shapes {a.shape} and {b.shape}, expected at least two axes each; reshape a "
                "vector to one row or one column"
            )
        if b.rank == 2 and (a.rank == 2 or not self.transpose_a):
            return
        if a.rank != b.rank or any(
            i != j for i, j in zip(a.shape[:-2], b.shape[:-2], strict=True) if None not in (i, j)
        ):
            raise ShapeError(
                f"found shapes {a.shape} and {b.shape}, expected equal leading axes; reshape them, "
                "or give one matrix as the second"
            )

    def reference(self, *inputs: Array) -> Array:
        """np.matmul."""
        a, b = inputs
        y: Array = np.matmul(
            np.swapaxes(a, -1, -2) if self.transpose_a else a,
            np.swapaxes(b, -1, -2) if self.transpose_b else b,
        )
        return y

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """With A = op(a), B = op(b): dA = dy B^T, dB = A^T dy, transposed where op transposes."""
        a, b = node.inputs
        dy = dys[0]
        if self.transpose_a:
            da = apply(MatMul(self.transpose_b, True), b, dy)
        else:
            da = apply(MatMul(False, not self.transpose_b), dy, b)
        if a.ndim > b.ndim:
            a, dy = _as_matrix(a), _as_matrix(dy)
        if self.transpose_b:
            return da, apply(MatMul(True, self.transpose_a), dy, a)
        return da, apply(MatMul(not self.transpose_a, False), a, dy)

    def macs(self, *inputs: Spec) -> int:
        """Elements of y times the inner size."""
        return self.infer(*inputs).size * inputs[0].sizes[-2 if self.transpose_a else -1]


def _text(spec: Spec, transposed: bool) -> str:
    return f"{spec.shape} transposed" if transposed else f"{spec.shape}"


def _as_matrix(x: Any) -> Any:
    """All axes but the last as one."""
    from fastcnn import ops

    return ops.reshape(x, (-1, x.shape[-1]))


def matmul(a: Any, b: Any) -> Any:
    """Matrix product a @ b.

    Args:
        a: (..., M, D).
        b: (..., D, N) with the leading axes of `a`, or one matrix (D, N).

    Returns:
        (..., M, N).

    Raises:
        ShapeError: fewer than two axes, or axes that do not fit.
        DtypeError: inputs that are not float, or not of one type.
    """
    return apply(MatMul(), a, b)


def dense(x: Any, kernel: Any, bias: Any = None) -> Any:
    """x @ kernel + bias over the last axis.

    Args:
        x: (..., C), at least two axes.
        kernel: (C, K).
        bias: (K,); None for none.

    Returns:
        (..., K).

    Raises:
        ShapeError: a kernel that is not a matrix or does not take C, a bias that is not (K,).
        DtypeError: inputs that are not float, or not of one type.
    """
    x, kernel = as_operands([x, kernel])
    with located_in("dense"):
        _check_dense(tuple(x.shape), tuple(kernel.shape))
    return with_bias(apply(MatMul(), x, kernel), bias, "dense")


def _check_dense(x: tuple[int | None, ...], kernel: tuple[int, ...]) -> None:
    if len(x) < 2:
        raise ShapeError(f"the input has shape {x}, expected (N, C); add the batch axis")
    if len(kernel) != 2:
        raise ShapeError(f"the kernel has shape {kernel}, expected ({x[-1]}, units)")
    require_equal(
        x[-1],
        kernel[0],
        f"the input has {x[-1]} channels but the kernel {kernel} takes {kernel[0]}; give a "
        f"kernel of shape ({x[-1]}, {kernel[1]})",
    )


OPS: tuple[type[Op], ...] = (MatMul,)
