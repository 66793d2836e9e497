# SPDX-License-Identifier: Apache-2.0
"""Depthwise 2-D convolution: every channel with its own M filters; forward and gradients.

x (N, H, W, C), kernel (R, S, C, M), y (N, P, Q, C * M): output channel c * M + m is input channel c
through its filter m. The three ops are closed under differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.backends import _reference
from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float, require_rank
from fastcnn.ops.conv_window import Convolution, Sizes, located_in, require_equal, with_bias
from fastcnn.ops.geometry import normalize_padding, pair
from fastcnn.records import dataclass


def _check_kernel(kernel: Spec) -> tuple[int, int, int, int]:
    require_rank(kernel, 4, "(R, S, C, depth multiplier)", "the kernel")
    R, S, C, M = kernel.sizes
    if min(R, S, C, M) < 1:
        raise ShapeError(f"the kernel has shape {kernel.shape}, expected sizes of at least 1")
    return R, S, C, M


@final
@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D(Convolution):
    """y[..., c*M + m] = sum over r, s of x[..., c] * kernel[r, s, c, m]."""

    name: ClassVar[str] = "depthwise_conv2d"

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), kernel (R, S, C, M) -> (N, P, Q, C * M)."""
        x, kernel = inputs
        require_float(x, kernel)
        require_rank(x, 4, "(N, H, W, C)")
        R, S, C, M = _check_kernel(kernel)
        require_equal(
            x.shape[3],
            C,
            f"the input has {x.shape[3]} channels but the kernel {kernel.shape} has filters for "
            f"{C}; give a kernel of shape ({R}, {S}, {x.shape[3]}, {M})",
        )
        return x.with_shape(x.shape[0], *self.output_sizes(x.shape[1:3], (R, S)), C * M)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, kernel = (np.ascontiguousarray(a) for a in inputs)
        pads = self.pads(x.shape[1:3], kernel.shape[:2])
        return _reference.depthwise_conv2d(x, kernel, self.strides, pads, self.dilations)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """As for a convolution."""
        x, kernel = node.inputs
        _, H, W, _ = x.spec.sizes
        R, S, _, _ = kernel.spec.sizes
        dx = apply(DepthwiseConv2DGradInput(input_size=(H, W), **self.siblings()), dys[0], kernel)
        dw = apply(DepthwiseConv2DGradKernel(kernel_size=(R, S), **self.siblings()), x, dys[0])
        return dx, dw

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        return self.numbers(inputs[0].sizes[1:3], inputs[1].sizes[:2])

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * C * M * R * S."""
        return self.infer(*inputs).size * int(np.prod(inputs[1].sizes[:2]))


@final
@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2DGradInput(Convolution):
    """dx (N, H, W, C) from dy (N, P, Q, C * M) and the kernel (R, S, C, M).

    Attributes:
        input_size: (H, W) of dx.
    """

    input_size: Sizes
    name: ClassVar[str] = "depthwise_conv2d_grad_input"

    def infer(self, *inputs: Spec) -> Spec:
        """dy (N, P, Q, C * M), kernel (R, S, C, M) -> (N, H, W, C)."""
        dy, kernel = inputs
        require_float(dy, kernel)
        require_rank(dy, 4, "(N, P, Q, C * depth multiplier)", "dy")
        R, S, C, M = _check_kernel(kernel)
        require_equal(
            dy.shape[3],
            C * M,
            f"dy has {dy.shape[3]} channels but the kernel {kernel.shape} makes {C} x {M} = "
            f"{C * M}; give the kernel that made it",
        )
        self.require_output(self.input_size, (R, S), dy.shape[1:3])
        return dy.with_shape(dy.shape[0], *self.input_size, C)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        dy, kernel = (np.ascontiguousarray(a) for a in inputs)
        H, W = self._image()
        geometry = (self.strides, self.pads((H, W), kernel.shape[:2]), self.dilations)
        return _reference.depthwise_conv2d_grad_input(dy, kernel, (H, W), *geometry)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """As for a convolution."""
        dy, kernel = node.inputs
        R, S, _, _ = kernel.spec.sizes
        ddy = apply(DepthwiseConv2D(**self.siblings()), dys[0], kernel)
        dw = apply(DepthwiseConv2DGradKernel(kernel_size=(R, S), **self.siblings()), dys[0], dy)
        return ddy, dw

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        return self.numbers(self._image(), inputs[1].sizes[:2])

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * C * M * R * S, as forward."""
        return inputs[0].size * int(np.prod(inputs[1].sizes[:2]))

    def _image(self) -> tuple[int, int]:
        H, W = Spec(self.input_size).sizes
        return H, W


@final
@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2DGradKernel(Convolution):
    """dw (R, S, C, M) from x (N, H, W, C) and dy (N, P, Q, C * M).

    Attributes:
        kernel_size: (R, S) of dw.
    """

    kernel_size: tuple[int, int]
    name: ClassVar[str] = "depthwise_conv2d_grad_kernel"

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), dy (N, P, Q, C * M) -> (R, S, C, M)."""
        x, dy = inputs
        require_float(x, dy)
        require_rank(x, 4, "(N, H, W, C)")
        require_rank(dy, 4, "(N, P, Q, C * depth multiplier)", "dy")
        C, K = Spec((x.shape[3], dy.shape[3])).sizes
        if C < 1 or K % C:
            raise ShapeError(f"dy has {K} channels, expected a multiple of the input's {C}")
        require_equal(
            x.shape[0],
            dy.shape[0],
            f"x has batch {x.shape[0]} but dy {dy.shape[0]}; give one batch",
        )
        self.require_output(x.shape[1:3], self.kernel_size, dy.shape[1:3])
        return x.with_shape(*self.kernel_size, C, K // C)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, dy = (np.ascontiguousarray(a) for a in inputs)
        geometry = (self.strides, self.pads(x.shape[1:3], self.kernel_size), self.dilations)
        return _reference.depthwise_conv2d_grad_kernel(x, dy, self.kernel_size, *geometry)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """As for a convolution."""
        x, dy = node.inputs
        _, H, W, _ = x.spec.sizes
        dx = apply(DepthwiseConv2DGradInput(input_size=(H, W), **self.siblings()), dy, dys[0])
        return dx, apply(DepthwiseConv2D(**self.siblings()), x, dys[0])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        return self.numbers(inputs[0].sizes[1:3], self.kernel_size)

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * C * M * R * S, as forward."""
        R, S = self.kernel_size
        return inputs[1].size * R * S


def depthwise_conv2d(
    x: Any,
    kernel: Any,
    bias: Any = None,
    strides: int | tuple[int, int] = 1,
    padding: Any = "valid",
    dilation_rate: int | tuple[int, int] = 1,
) -> Any:
    """Depthwise 2-D convolution: every input channel with M filters of its own.

    Args:
        x: (N, H, W, C).
        kernel: (R, S, C, M).
        bias: (C * M,), added at every pixel; None for none.
        strides: steps of the filter in pixels, one or (vertical, horizontal).
        padding: "valid", "same", "same_lower", pixels, or ((top, bottom), (left, right)).
        dilation_rate: distances of the taps in pixels, one or (vertical, horizontal).

    Returns:
        (N, P, Q, C * M): channel c * M + m is input channel c through its filter m.

    Raises:
        ShapeError: ranks or channels do not fit, or the kernel is larger than the padded input.
        ArgumentError: a stride, dilation or padding that cannot be.
        DtypeError: inputs that are not float, or not of one type.
    """
    with located_in("depthwise_conv2d"):
        op = DepthwiseConv2D(
            strides=pair(strides, "strides"),
            padding=normalize_padding(padding),
            dilations=pair(dilation_rate, "dilation_rate"),
        )
    return with_bias(apply(op, x, kernel), bias, "depthwise_conv2d")


OPS: tuple[type[Op], ...] = (DepthwiseConv2D, DepthwiseConv2DGradInput, DepthwiseConv2DGradKernel)
