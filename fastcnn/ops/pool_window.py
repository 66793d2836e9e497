# SPDX-License-Identifier: Apache-2.0
"""The geometry that pooling ops share: sliding windows, and adaptive bins.

A sliding window must be larger than the padding on each side, so that every window sees at least
one pixel (PyTorch asks for at most half the window, ONNX as here). With `ceil_mode` a last,
incomplete window is kept if it begins inside the input or the padding before it, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Op, Spec
from fastcnn.ops._apply import require_float, require_rank
from fastcnn.ops.geometry import (
    AXES,
    AxisPadding,
    Padding,
    Pads,
    output_size,
    resolve_pads,
)
from fastcnn.records import dataclass

Pair = tuple[int, int]
Pads2D = tuple[int, int, int, int]  # top, bottom, left, right
MAX_CELLS = 1 << 24  # kernels hold positions as float32 while they compare


@dataclass(frozen=True)
class WindowOp(Op):
    """An op whose windows slide over (N, H, W, C); abstract."""

    pool_size: Pair
    strides: Pair
    padding: Padding = ((0, 0), (0, 0))
    ceil_mode: bool = False

    def output_spec(self, x: Spec) -> Spec:
        """(N, P, Q, C), or the errors of the geometry."""
        require_float(x)
        require_image(x)
        if self.pool_size[0] * self.pool_size[1] > MAX_CELLS:
            raise ArgumentError(
                f"pool_size {self.pool_size} has more than {MAX_CELLS} cells; use a global pooling"
            )
        P, Q = (self._output_size(axis, x.shape[1 + axis]) for axis in (0, 1))
        return x.with_shape(x.shape[0], P, Q, x.shape[3])

    def _output_size(self, axis: int, size: int | None) -> int | None:
        window, stride, padding = self.pool_size[axis], self.strides[axis], self.padding[axis]
        require_small_padding(padding, window, AXES[axis])
        if size is not None and size >= 1 and self.ceil_mode:
            count = ceil_mode_size(
                size, window, stride, resolve_pads(padding, size, window, stride)
            )
            if count > 0:
                return count
        return output_size(size, window, stride, 1, padding, AXES[axis], "pooling window")

    def pads(self, x: Spec) -> Pads2D:
        """Pixels of padding for an input of known size."""
        _, H, W, _ = x.shape
        if H is None or W is None:
            raise ShapeError(f"the input's size in {x} is not known; bind it before running")
        (window_h, window_w), (stride_h, stride_w) = self.pool_size, self.strides
        top, bottom = resolve_pads(self.padding[0], H, window_h, stride_h)
        left, right = resolve_pads(self.padding[1], W, window_w, stride_w)
        return top, bottom, left, right

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Window, strides and resolved padding."""
        return window_attributes(self.pool_size, self.strides, self.pads(inputs[0]))


def window_attributes(pool_size: Pair, strides: Pair, pads: Pads2D) -> dict[str, int | float]:
    """The numbers of a sliding window by the names of kernels.def."""
    names = ("pool_h", "pool_w", "stride_h", "stride_w")
    sides = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    return dict(zip((*names, *sides), (*pool_size, *strides, *pads), strict=True))


def require_image(x: Spec) -> None:
    """ShapeError unless x is (N, H, W, C) with pixels."""
    require_rank(x, 4, "(N, H, W, C)")
    if 0 in x.shape[1:]:
        raise ShapeError(
            f"the input has shape {x.shape}, expected at least one pixel and one channel; give a "
            "larger image"
        )


def require_small_padding(padding: AxisPadding, window: int, axis: str) -> None:
    """ShapeError when a window could lie wholly in the padding."""
    if not isinstance(padding, str) and max(padding) >= window:
        raise ShapeError(
            f"found padding {padding} for a pooling window of {axis} {window}, expected less than "
            f"the window on each side; try padding={window // 2} or a larger pool_size"
        )


def ceil_mode_size(size: int, window: int, stride: int, pads: Pads) -> int:
    """ceil((size + before + after - window) / stride) + 1, less a window that begins too late."""
    before, after = pads
    count = -(-(size + before + after - window) // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def taps(
    size: int, outputs: int, window: int, stride: int, pad: int
) -> Iterator[tuple[slice, slice]]:
    """Per tap along one axis: the outputs that see a pixel through it, and those pixels.

    Taps that meet only padding are left out.
    """
    for tap in range(window):
        first = max(-(-(pad - tap) // stride), 0)
        last = min((size - 1 + pad - tap) // stride, outputs - 1)
        if first <= last:
            begin = first * stride - pad + tap
            end = last * stride - pad + tap
            yield slice(first, last + 1), slice(begin, end + 1, stride)


def bins(size: int, outputs: int) -> list[slice]:
    """Adaptive windows along one axis: [floor(p size / outputs), ceil((p + 1) size / outputs))."""
    return [slice(p * size // outputs, -(-(p + 1) * size // outputs)) for p in range(outputs)]
