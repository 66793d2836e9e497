# SPDX-License-Identifier: Apache-2.0
"""Max pooling with its winners, and unpooling, which puts values back where they came from.

The first of equal values in row order wins, so does the first NaN over any number; padding never
wins. Winners are kept as positions r * S + s in the window; `WindowToFlat` makes them h * W + w.

Source of unpooling: M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional
Networks", arXiv:1311.2901, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.backends import _reference
from fastcnn.errors import DtypeError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor, spec_of
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.pool_window import (
    Pads2D,
    Pair,
    WindowOp,
    require_image,
    window_attributes,
)
from fastcnn.records import dataclass


def index_dtype(pool_size: Pair) -> str:
    """The smallest type for positions in a window."""
    return "uint8" if pool_size[0] * pool_size[1] <= 256 else "int32"


def plane(x: Spec) -> Pair:
    """(H, W) of (N, H, W, C), which must be known."""
    _, H, W, _ = x.shape
    if H is None or W is None:
        raise ShapeError(f"found an input of shape {x.shape}, expected known H and W; fix its size")
    return H, W


@final
@dataclass(frozen=True)
class MaxPool2D(WindowOp):
    """x (N, H, W, C) -> (y, index), both (N, P, Q, C); index is uint8, int32 above 256 cells."""

    name: ClassVar[str] = "max_pool2d"

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec]:
        """Outputs of the window's geometry."""
        y = self.output_spec(inputs[0])
        return y, Spec(y.shape, index_dtype(self.pool_size))

    def reference(self, *inputs: Array) -> tuple[Array, Array]:
        """The Cython reference."""
        x = spec_of(inputs[0])
        outputs = plane(self.output_spec(x))
        return _reference.max_pool2d(inputs[0], self.pool_size, self.strides, self.pads(x), outputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Every pixel gathers from the windows it won."""
        x = node.inputs[0].spec
        if dys[0] is None:
            return (None,)
        grad = MaxPool2DGrad(plane(x), self.pool_size, self.strides, self.pads(x))
        return (apply(grad, dys[0], node.outputs[1]),)


@final
@dataclass(frozen=True)
class MaxPool2DValues(WindowOp):
    """x (N, H, W, C) -> (N, P, Q, C): `MaxPool2D` for inference, without the winners."""

    name: ClassVar[str] = "max_pool2d_values"
    image_by_image: ClassVar[bool] = True
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def infer(self, *inputs: Spec) -> Spec:
        """Output of the window's geometry."""
        return self.output_spec(inputs[0])

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True

    def reference(self, *inputs: Array) -> Array:
        """The values of `MaxPool2D`."""
        x = np.ascontiguousarray(inputs[0])
        return MaxPool2D(self.pool_size, self.strides, self.padding, self.ceil_mode).reference(x)[0]


@final
@dataclass(frozen=True)
class MaxPool2DGrad(Op):
    """(dy, index) -> dx (N, H, W, C); a pixel that won several windows adds up their gradients."""

    input_size: Pair
    pool_size: Pair
    strides: Pair
    pads: Pads2D
    name: ClassVar[str] = "max_pool2d_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """The input's size again."""
        dy, index = inputs
        require_same_shape(dy, index)
        return dy.with_shape(dy.shape[0], *self.input_size, dy.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Window, strides and padding."""
        return window_attributes(self.pool_size, self.strides, self.pads)

    def reference(self, *inputs: Array) -> Array:
        """The Cython reference."""
        dy, index = inputs
        dx: Array = _reference.max_pool2d_grad(
            dy, index, self.input_size, self.pool_size, self.strides, self.pads
        )
        return dx


def require_same_shape(x: Spec, index: Spec) -> None:
    """ShapeError unless every value has its position."""
    if x.shape != index.shape:
        raise ShapeError(
            f"found values of shape {x.shape} and indices of shape {index.shape}, expected one "
            "index per value; pass the indices that max_pool2d returned with these values"
        )


@final
@dataclass(frozen=True)
class WindowToFlat(Op):
    """Positions in windows (N, P, Q, C) -> int32 positions h * W + w in the plane of width W."""

    width: int
    pool_size: Pair
    strides: Pair
    pads: Pads2D
    name: ClassVar[str] = "window_to_flat"

    def infer(self, *inputs: Spec) -> Spec:
        """Same shape, int32."""
        return Spec(inputs[0].shape, "int32")

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Window, strides, padding and the plane's width."""
        return {
            "width": self.width,
            **window_attributes(self.pool_size, self.strides, self.pads),
        }

    def reference(self, *inputs: Array) -> Array:
        """Where the window begins plus where its winner lies."""
        _, P, Q, _ = inputs[0].shape
        r, s = np.divmod(inputs[0].astype(np.int32), self.pool_size[1])
        h = np.arange(P)[:, None, None] * self.strides[0] - self.pads[0] + r
        w = np.arange(Q)[:, None] * self.strides[1] - self.pads[2] + s
        flat: Array = (h * self.width + w).astype(np.int32)
        return flat


@final
@dataclass(frozen=True)
class MaxUnpool2D(Op):
    """(x, flat positions) -> (N, H, W, C) zeros with x at its positions; H, W = output_size.

    Where positions collide, the last writer in row order stays. Positions outside of the plane
    write nothing.
    """

    output_size: Pair
    name: ClassVar[str] = "max_unpool2d"

    def infer(self, *inputs: Spec) -> Spec:
        """(N, *output_size, C)."""
        x, index = inputs
        require_float(x)
        require_image(x)
        require_same_shape(x, index)
        if index.dtype != "int32":
            raise DtypeError(
                f"found indices of {index.dtype}, expected int32 positions h * W + w; take those "
                "of max_pool2d(..., return_indices=True)"
            )
        return x.with_shape(x.shape[0], *self.output_size, x.shape[3])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the sizes off its tensors."""
        return {}

    def reference(self, *inputs: Array) -> Array:
        """One writer after the other."""
        x, index = inputs
        N, P, Q, C = x.shape
        y = np.zeros((N, self.output_size[0] * self.output_size[1], C), x.dtype)
        for n, p, q, c in np.ndindex(N, P, Q, C):
            if 0 <= index[n, p, q, c] < y.shape[1]:
                y[n, index[n, p, q, c], c] = x[n, p, q, c]
        return y.reshape(N, *self.output_size, C)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """The gradient at the position, for the writer that stayed."""
        return apply(MaxUnpool2DGrad(), dys[0], node.inputs[1]), None


@final
@dataclass(frozen=True)
class MaxUnpool2DGrad(Op):
    """(dy, flat positions) -> dx: dy at each position; zero for writers that were overwritten."""

    name: ClassVar[str] = "max_unpool2d_grad"

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of the positions."""
        return inputs[0].with_shape(*inputs[1].shape)

    def reference(self, *inputs: Array) -> Array:
        """Backwards, so that the writer that stayed is met first."""
        dy, index = inputs
        N, P, Q, C = index.shape
        flat = dy.reshape(N, dy.shape[1] * dy.shape[2], C)
        dx, taken = np.zeros(index.shape, dy.dtype), np.zeros(flat.shape, bool)
        for n, p, q, c in reversed(list(np.ndindex(N, P, Q, C))):
            at = index[n, p, q, c]
            if 0 <= at < flat.shape[1] and not taken[n, at, c]:
                dx[n, p, q, c] = flat[n, at, c]
                taken[n, at, c] = True
        return dx


OPS: tuple[type[Op], ...] = (
    MaxPool2D,
    MaxPool2DValues,
    MaxPool2DGrad,
    WindowToFlat,
    MaxUnpool2D,
    MaxUnpool2DGrad,
)
