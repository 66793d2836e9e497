# SPDX-License-Identifier: Apache-2.0
"""Resizing images (N, H, W, C) to (N, P, Q, C), and its gradients.

Pixels are unit squares: output p stands at (p + 1/2) * H / P - 1/2 of the input, as in Keras 3,
TensorFlow 2 and PyTorch's align_corners=False; no antialiasing. Nearest takes the square that the
position lies in, floor((p + 1/2) * H / P); bilinear mixes the two nearest rows and columns, the
border's own outside the centres. With align_corners the corner pixels' centres map onto each other:
p * (H - 1) / (P - 1). Positions are exact fractions: no rounding decides which pixel is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float, require_rank
from fastcnn.records import dataclass

Size = tuple[int, int]


def _infer(x: Spec, size: Size) -> Spec:
    require_float(x)
    require_rank(x, 4, "(N, H, W, C)")
    if min(size) < 1 or 0 in x.shape[1:3]:
        raise ShapeError(
            f"found size {size} for an input of shape {x.shape}, expected a height and a width of "
            "at least 1 on both sides; give size=(height, width)"
        )
    return x.with_shape(x.shape[0], *size, x.shape[3])


def _nearest(size_in: int, size_out: int) -> Array:
    """Input position of every output position."""
    return (2 * np.arange(size_out) + 1) * size_in // (2 * size_out)


def _neighbours(size_in: int, size_out: int, align_corners: bool) -> tuple[Array, Array, Array]:
    """For every output position the two input positions it mixes, and the second one's share."""
    p = np.arange(size_out)
    if align_corners:
        place, unit = p * (size_in - 1), max(size_out - 1, 1)
    else:
        place, unit = np.maximum((2 * p + 1) * size_in - size_out, 0), 2 * size_out
    low = place // unit
    return low, np.minimum(low + 1, size_in - 1), place % unit / unit


def _mix(x: Array, axis: int, size_out: int, align_corners: bool) -> Array:
    low, high, share = _neighbours(x.shape[axis], size_out, align_corners)
    share = share.astype(x.dtype).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    mixed: Array = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return mixed


def _scatter(dy: Array, axis: int, size_in: int, parts: Sequence[tuple[Array, Array]]) -> Array:
    """The transpose of taking: dy * share added to the positions it was taken from."""
    moved = np.moveaxis(dy, axis, 0)
    dx = np.zeros((size_in, *moved.shape[1:]), dy.dtype)
    for positions, share in parts:
        weights = share.astype(dy.dtype).reshape(-1, *[1] * (dy.ndim - 1))
        np.add.at(dx, positions, moved * weights)
    return np.moveaxis(dx, 0, axis)


@final
@dataclass(frozen=True)
class ResizeNearest(Op):
    """y[p, q] = x[floor((p + 1/2) * H / P), floor((q + 1/2) * W / Q)]."""

    size: Size
    name: ClassVar[str] = "resize_nearest"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, P, Q, C)."""
        return _infer(inputs[0], self.size)

    def reference(self, *inputs: Array) -> Array:
        """Rows, then columns."""
        x = inputs[0]
        rows = x.take(_nearest(x.shape[1], self.size[0]), 1)
        return rows.take(_nearest(x.shape[2], self.size[1]), 2)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every input pixel adds up the outputs that took it."""
        _, height, width, _ = node.inputs[0].spec.sizes
        return (apply(ResizeNearestGrad((height, width)), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: both sizes are the tensors' own."""
        return {}


@final
@dataclass(frozen=True)
class ResizeNearestGrad(Op):
    """dx (N, H, W, C) of ResizeNearest from dy (N, P, Q, C); `size` is (H, W)."""

    size: Size
    name: ClassVar[str] = "resize_nearest_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, H, W, C)."""
        return _infer(inputs[0], self.size)

    def reference(self, *inputs: Array) -> Array:
        """The transpose of taking columns, then of taking rows."""
        dy = inputs[0]
        for axis, size in ((2, self.size[1]), (1, self.size[0])):
            taken = _nearest(size, dy.shape[axis])
            dy = _scatter(dy, axis, size, [(taken, np.ones(len(taken)))])
        return dy

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """None: both sizes are the tensors' own."""
        return {}


@final
@dataclass(frozen=True)
class ResizeBilinear(Op):
    """Every output mixes the 2 x 2 input pixels around its position."""

    size: Size
    align_corners: bool = False
    name: ClassVar[str] = "resize_bilinear"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, P, Q, C)."""
        return _infer(inputs[0], self.size)

    def reference(self, *inputs: Array) -> Array:
        """Rows, then columns."""
        rows = _mix(inputs[0], 1, self.size[0], self.align_corners)
        return _mix(rows, 2, self.size[1], self.align_corners)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every input pixel adds up the outputs that it was mixed into."""
        _, height, width, _ = node.inputs[0].spec.sizes
        return (apply(ResizeBilinearGrad((height, width), self.align_corners), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """How positions map; both sizes are the tensors' own."""
        return {"align_corners": self.align_corners}


@final
@dataclass(frozen=True)
class ResizeBilinearGrad(Op):
    """dx (N, H, W, C) of ResizeBilinear from dy (N, P, Q, C); `size` is (H, W)."""

    size: Size
    align_corners: bool = False
    name: ClassVar[str] = "resize_bilinear_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, H, W, C)."""
        return _infer(inputs[0], self.size)

    def reference(self, *inputs: Array) -> Array:
        """The transpose of mixing columns, then of mixing rows."""
        dy = inputs[0]
        for axis, size in ((2, self.size[1]), (1, self.size[0])):
            low, high, share = _neighbours(size, dy.shape[axis], self.align_corners)
            dy = _scatter(dy, axis, size, [(low, 1 - share), (high, share)])
        return dy

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """How positions map; both sizes are the tensors' own."""
        return {"align_corners": self.align_corners}


def resize(
    x: Any, size: Sequence[int], interpolation: str = "bilinear", align_corners: bool = False
) -> Any:
    """Images of another height and width.

    Args:
        x: (N, H, W, C) floats.
        size: (height, width) of the result.
        interpolation: "nearest" or "bilinear", on half-pixel centres, without antialiasing.
        align_corners: let bilinear map corner centres onto each other (PyTorch's option).

    Raises:
        ShapeError: the input has no rank 4, or a size is below 1.
        ArgumentError: an unknown interpolation, or a size that is not a pair.
    """
    if len(size) != 2:
        raise ArgumentError(
            f"resize: found size={size}, expected (height, width); give two numbers"
        )
    target = (int(size[0]), int(size[1]))
    if interpolation == "nearest" and not align_corners:
        return apply(ResizeNearest(target), x)
    if interpolation == "bilinear":
        return apply(ResizeBilinear(target, align_corners), x)
    raise ArgumentError(
        f"resize: found interpolation='{interpolation}' and align_corners={align_corners}, "
        "expected 'nearest' or 'bilinear', and align_corners with 'bilinear' only"
    )


OPS: tuple[type[Op], ...] = (
    ResizeNearest,
    ResizeNearestGrad,
    ResizeBilinear,
    ResizeBilinearGrad,
)
