# SPDX-License-Identifier: Apache-2.0
"""Adaptive pooling: as many windows as outputs are wanted, evenly over the input.

Window p of P covers the pixels from floor(p * H / P) to ceil((p + 1) * H / P), as in PyTorch;
windows overlap by a pixel where P does not divide H.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.pool_max import plane, require_same_shape
from fastcnn.ops.pool_window import MAX_CELLS, Pair, bins, require_image
from fastcnn.records import dataclass


def all_bins(large: Pair, small: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """(p, q, rows, columns) of every window in row order."""
    for p, rows in enumerate(bins(large[0], small[0])):
        for q, columns in enumerate(bins(large[1], small[1])):
            yield p, q, rows, columns


@final
@dataclass(frozen=True)
class AdaptiveAvgPool2D(Op):
    """x (N, H, W, C) -> (N, P, Q, C) with P, Q = output_size: the mean of every bin."""

    output_size: Pair
    name: ClassVar[str] = "adaptive_avg_pool2d"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, *output_size, C)."""
        x = inputs[0]
        require_float(x)
        require_image(x)
        return x.with_shape(x.shape[0], *self.output_size, x.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the sizes off its tensors."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """Bin by bin."""
        (x,) = inputs
        N, H, W, C = x.shape
        y = np.empty((N, *self.output_size, C), x.dtype)
        for p, q, rows, columns in all_bins((H, W), self.output_size):
            y[:, p, q] = x[:, rows, columns].mean(axis=(1, 2))
        return y

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every bin shares its gradient out among its pixels."""
        return (apply(AdaptiveAvgPool2DGrad(plane(node.inputs[0].spec)), dys[0]),)


@final
@dataclass(frozen=True)
class AdaptiveAvgPool2DGrad(Op):
    """dy -> dx (N, H, W, C) of AdaptiveAvgPool2D."""

    input_size: Pair
    name: ClassVar[str] = "adaptive_avg_pool2d_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """The input's size again."""
        dy = inputs[0]
        return dy.with_shape(dy.shape[0], *self.input_size, dy.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the sizes off its tensors."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """Bin by bin."""
        (dy,) = inputs
        N, P, Q, C = dy.shape
        dx = np.zeros((N, *self.input_size, C), dy.dtype)
        for p, q, rows, columns in all_bins(self.input_size, (P, Q)):
            cells = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, rows, columns] += (dy[:, p, q] / cells)[:, None, None]
        return dx


@final
@dataclass(frozen=True)
class AdaptiveMaxPool2D(Op):
    """x (N, H, W, C) -> (y, index), both (N, P, Q, C): bins' maxima and their int32 h * W + w."""

    output_size: Pair
    name: ClassVar[str] = "adaptive_max_pool2d"

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec]:
        """(N, *output_size, C) twice."""
        x = inputs[0]
        require_float(x)
        require_image(x)
        _, H, W, _ = x.shape
        if H is not None and W is not None and H * W > MAX_CELLS:
            raise ShapeError(
                f"the input is {H}x{W}, expected at most {MAX_CELLS} pixels; "
                "pool or resize it first"
            )
        y = x.with_shape(x.shape[0], *self.output_size, x.shape[3])
        return y, Spec(y.shape, "int32")

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the sizes off its tensors."""
        return {}

    def reference(self, *inputs: Array) -> tuple[Array, Array]:
        """Bin by bin; argmax takes the first maximum, and the first NaN before it."""
        (x,) = inputs
        N, H, W, C = x.shape
        y = np.empty((N, *self.output_size, C), x.dtype)
        index = np.empty(y.shape, np.int32)
        for p, q, rows, columns in all_bins((H, W), self.output_size):
            cells = np.concatenate([x[:, r, columns] for r in range(rows.start, rows.stop)], 1)
            r, s = np.divmod(cells.argmax(axis=1), columns.stop - columns.start)
            index[:, p, q] = (rows.start + r) * W + columns.start + s
            y[:, p, q] = np.take_along_axis(cells, cells.argmax(axis=1)[:, None], 1)[:, 0]
        return y, index

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every pixel gathers from the bins it won."""
        if dys[0] is None:
            return (None,)
        return (apply(AdaptiveMaxPool2DGrad(plane(node.inputs[0].spec)), dys[0], node.outputs[1]),)


@final
@dataclass(frozen=True)
class AdaptiveMaxPool2DGrad(Op):
    """(dy, index) -> dx (N, H, W, C) of AdaptiveMaxPool2D."""

    input_size: Pair
    name: ClassVar[str] = "adaptive_max_pool2d_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """The input's size again."""
        dy, index = inputs
        require_same_shape(dy, index)
        return dy.with_shape(dy.shape[0], *self.input_size, dy.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the sizes off its tensors."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """Bins in row order; each adds its gradient at its winner."""
        dy, index = inputs
        N, _, _, C = dy.shape
        H, W = self.input_size
        dx = np.zeros((N, H * W, C), dy.dtype)
        samples, channels = np.arange(N)[:, None], np.arange(C)
        for p, q, _, _ in all_bins(self.input_size, (dy.shape[1], dy.shape[2])):
            dx[samples, index[:, p, q], channels] += dy[:, p, q]
        return dx.reshape(N, H, W, C)


OPS: tuple[type[Op], ...] = (
    AdaptiveAvgPool2D,
    AdaptiveAvgPool2DGrad,
    AdaptiveMaxPool2D,
    AdaptiveMaxPool2DGrad,
)
