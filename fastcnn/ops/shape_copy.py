# SPDX-License-Identifier: Apache-2.0
"""Copying pixels to where a join or a convolution wants them, and channels as they are joined."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Op, Spec
from fastcnn.records import dataclass


@final
@dataclass(frozen=True)
class CopyPixels(Op):
    """x as it is, from pixels that may lie apart to pixels that may; float32, rank 2 at least.

    What remains of a `Concat` whose other inputs were written in their places.
    """

    name: ClassVar[str] = "copy_pixels"
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def infer(self, *inputs: Spec) -> Spec:
        """The input's spec."""
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """A copy."""
        return inputs[0].copy()

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True


@final
@dataclass(frozen=True)
class InterleaveChannels(Op):
    """Two tensors' channels in turns: a[0], b[0], a[1], b[1], ...; float32, rank 2 at least.

    What a join and a shuffle of two groups behind it come to (Zhang et al. 2017, ShuffleNet).
    """

    name: ClassVar[str] = "interleave_channels"
    image_by_image: ClassVar[bool] = True
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0, 1})

    def infer(self, *inputs: Spec) -> Spec:
        """a (..., C), b (..., C) -> (..., 2 C)."""
        a, b = inputs
        if a.shape != b.shape:
            raise ShapeError(f"found shapes {a.shape} and {b.shape} to interleave, expected one")
        return a.with_shape(*a.shape[:-1], 2 * a.sizes[-1])

    def reference(self, *inputs: Array) -> Array:
        """Side by side, then flattened."""
        a, b = inputs
        return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], 2 * a.shape[-1])

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True


@final
@dataclass(frozen=True)
class SpaceToDepth(Op):
    """x (N, H, W, C) -> (N, P, Q, block^2 C): squares of pixels become one; float32.

        y[n, p, q, (i block + j) C + c] = x[n, p block + i - top, q block + j - left, c]

    and zero beyond x.

    Attributes:
        block: pixels along each side of a square.
        before: (top, left), zeros in front of x.
        size: (P, Q); what of x lies beyond is left out.
    """

    block: int
    before: tuple[int, int]
    size: tuple[int, int]
    name: ClassVar[str] = "space_to_depth"
    image_by_image: ClassVar[bool] = True

    def infer(self, *inputs: Spec) -> Spec:
        """(N, H, W, C) -> (N, P, Q, block^2 C)."""
        x = inputs[0]
        return x.with_shape(x.shape[0], *self.size, self.block**2 * x.sizes[3])

    def reference(self, *inputs: Array) -> Array:
        """Zeros around the image, then axes in another order."""
        N, H, W, C = inputs[0].shape
        (top, left), (P, Q), b = self.before, self.size, self.block
        padded = np.zeros((N, max(P * b, top + H), max(Q * b, left + W), C), inputs[0].dtype)
        padded[:, top : top + H, left : left + W] = inputs[0]
        squares = padded[:, : P * b, : Q * b].reshape(N, P, b, Q, b, C)
        return np.ascontiguousarray(squares.transpose(0, 1, 3, 2, 4, 5)).reshape(N, P, Q, -1)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The square and the zeros in front."""
        return {"block": self.block, "before_h": self.before[0], "before_w": self.before[1]}


OPS: tuple[type[Op], ...] = (CopyPixels, InterleaveChannels, SpaceToDepth)
