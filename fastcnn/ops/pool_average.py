# SPDX-License-Identifier: Apache-2.0
"""Average pooling over sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.graph import Array, Node, Op, Spec, Tensor, spec_of
from fastcnn.ops._apply import apply
from fastcnn.ops.pool_max import plane
from fastcnn.ops.pool_window import Pads2D, Pair, WindowOp, taps, window_attributes
from fastcnn.records import dataclass


def counts(size: int, outputs: int, window: int, stride: int, pads: Pair, padded: bool) -> Array:
    """Pixels that each window covers along one axis; those of the padding too where `padded`.

    What an incomplete last window reaches beyond the padding never counts.
    """
    begin = np.arange(outputs) * stride - pads[0]
    low, high = (-pads[0], size + pads[1]) if padded else (0, size)
    return np.minimum(begin + window, high) - np.maximum(begin, low)


def window_counts(op: AvgPool2D | AvgPool2DGrad, small: Pair, large: Pair, pads: Pads2D) -> Array:
    """Divisors (P, Q, 1) of every window."""
    by_axis = [
        counts(size, outputs, window, stride, sides, op.count_include_pad)
        for size, outputs, window, stride, sides in zip(
            large, small, op.pool_size, op.strides, (pads[:2], pads[2:]), strict=True
        )
    ]
    return np.multiply.outer(*by_axis)[:, :, None]


def all_taps(
    op: AvgPool2D | AvgPool2DGrad, small: Pair, large: Pair, pads: Pads2D
) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """(outputs, pixels) of each tap (r, s), as indices into (N, H, W, C)."""
    rows = taps(large[0], small[0], op.pool_size[0], op.strides[0], pads[0])
    columns = list(taps(large[1], small[1], op.pool_size[1], op.strides[1], pads[2]))
    every = slice(None)
    return [((every, p, q), (every, h, w)) for p, h in rows for q, w in columns]


@final
@dataclass(frozen=True)
class AvgPool2D(WindowOp):
    """x (N, H, W, C) -> (N, P, Q, C): the mean of every window.

    Padding counts as zeros with `count_include_pad`, else not at all.
    """

    count_include_pad: bool = False
    name: ClassVar[str] = "avg_pool2d"
    image_by_image: ClassVar[bool] = True
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True

    def infer(self, *inputs: Spec) -> Spec:
        """Output of the window's geometry."""
        return self.output_spec(inputs[0])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Window, strides, padding and whether it counts."""
        window = window_attributes(self.pool_size, self.strides, self.pads(inputs[0]))
        return {**window, "count_include_pad": int(self.count_include_pad)}

    def reference(self, *inputs: Array) -> Array:
        """Tap by tap."""
        (x,) = inputs
        spec = spec_of(x)
        out, pads = self.output_spec(spec), self.pads(spec)
        y = np.zeros(out.sizes, x.dtype)
        for outputs, pixels in all_taps(self, plane(out), plane(spec), pads):
            y[outputs] += x[pixels]
        return (y / window_counts(self, plane(out), plane(spec), pads)).astype(x.dtype)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every window shares its gradient out among its pixels."""
        x = node.inputs[0].spec
        grad = AvgPool2DGrad(
            plane(x), self.pool_size, self.strides, self.pads(x), self.count_include_pad
        )
        return (apply(grad, dys[0]),)


@final
@dataclass(frozen=True)
class AvgPool2DGrad(Op):
    """dy -> dx (N, H, W, C) of AvgPool2D."""

    input_size: Pair
    pool_size: Pair
    strides: Pair
    pads: Pads2D
    count_include_pad: bool = False
    name: ClassVar[str] = "avg_pool2d_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """The input's size again."""
        dy = inputs[0]
        return dy.with_shape(dy.shape[0], *self.input_size, dy.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Window, strides, padding and whether it counts."""
        window = window_attributes(self.pool_size, self.strides, self.pads)
        return {**window, "count_include_pad": int(self.count_include_pad)}

    def reference(self, *inputs: Array) -> Array:
        """Tap by tap."""
        (dy,) = inputs
        small = plane(spec_of(dy))
        part = dy / window_counts(self, small, self.input_size, self.pads)
        dx = np.zeros(self.infer(spec_of(dy)).sizes, dy.dtype)
        for outputs, pixels in all_taps(self, small, self.input_size, self.pads):
            dx[pixels] += part[outputs]
        return dx


OPS: tuple[type[Op], ...] = (AvgPool2D, AvgPool2DGrad)
