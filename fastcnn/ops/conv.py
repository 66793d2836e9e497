# SPDX-License-Identifier: Apache-2.0
"""2-D convolution: forward, and its gradients for the input and for the kernel.

The three ops are closed under differentiation: each one's gradient is made of the other two.
x (N, H, W, C), kernel (R, S, C/G, K), y (N, P, Q, K). The gradient for the input is also the
transposed convolution.

Source: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning",
arXiv:1603.07285.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.backends import _reference
from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops import conv_depthwise
from fastcnn.ops._apply import apply, require_float, require_rank
from fastcnn.ops.conv_window import Convolution, Sizes, located_in, require_equal, with_bias
from fastcnn.ops.geometry import normalize_padding, pair, positive, require_groups
from fastcnn.records import dataclass


def _check_kernel(kernel: Spec, channels: int | None, groups: int) -> tuple[int, int, int, int]:
    """(R, S, C/G, K) of a kernel that fits `channels` (of all groups)."""
    require_rank(kernel, 4, "(R, S, C / groups, K)", "the kernel")
    R, S, C, K = kernel.sizes
    require_groups(groups, channels, K)
    if min(R, S, C, K) < 1:
        raise ShapeError(f"the kernel has shape {kernel.shape}, expected sizes of at least 1")
    require_equal(
        channels,
        C * groups,
        f"the input has {channels} channels but the kernel {kernel.shape} takes {C} x {groups} "
        f"groups = {C * groups}; give a kernel of shape ({R}, {S}, "
        f"{(channels or 0) // groups}, {K})",
    )
    return R, S, C, K


@final
@dataclass(frozen=True, kw_only=True)
class Conv2D(Convolution):
    """y[n, p, q, k] = sum over r, s, c of x[n, p*sh - top + r*dh, ..., c] * kernel[r, s, c, k]."""

    groups: int = 1
    name: ClassVar[str] = "conv2d"

    def siblings(self) -> dict[str, Any]:
        """Geometry and groups."""
        return {**Convolution.siblings(self), "groups": self.groups}

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), kernel (R, S, C/G, K) -> (N, P, Q, K)."""
        x, kernel = inputs
        require_float(x, kernel)
        require_rank(x, 4, "(N, H, W, C)")
        R, S, _, K = _check_kernel(kernel, x.shape[3], self.groups)
        return x.with_shape(x.shape[0], *self.output_sizes(x.shape[1:3], (R, S)), K)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, kernel = (np.ascontiguousarray(a) for a in inputs)
        pads = self.pads(x.shape[1:3], kernel.shape[:2])
        return _reference.conv2d(x, kernel, self.strides, pads, self.dilations, self.groups)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Transposed convolution of dy for x; correlation of x with dy for the kernel."""
        x, kernel = node.inputs
        _, H, W, _ = x.spec.sizes
        R, S, _, _ = kernel.spec.sizes
        dx = apply(Conv2DGradInput(input_size=(H, W), **self.siblings()), dys[0], kernel)
        return dx, apply(Conv2DGradKernel(kernel_size=(R, S), **self.siblings()), x, dys[0])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        x, kernel = inputs
        return {**self.numbers(x.sizes[1:3], kernel.sizes[:2]), "groups": self.groups}

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * K * R * S * C/G."""
        return self.infer(*inputs).size * int(np.prod(inputs[1].sizes[:3]))


@final
@dataclass(frozen=True, kw_only=True)
class Conv2DGradInput(Convolution):
    """dx (N, H, W, C) of a convolution from dy (N, P, Q, K) and its kernel (R, S, C/G, K).

    Attributes:
        input_size: (H, W) of dx.
    """

    input_size: Sizes
    groups: int = 1
    name: ClassVar[str] = "conv2d_grad_input"

    def siblings(self) -> dict[str, Any]:
        """Geometry and groups."""
        return {**Convolution.siblings(self), "groups": self.groups}

    def infer(self, *inputs: Spec) -> Spec:
        """dy (N, P, Q, K), kernel (R, S, C/G, K) -> (N, H, W, C)."""
        dy, kernel = inputs
        require_float(dy, kernel)
        require_rank(dy, 4, "(N, P, Q, K)", "dy")
        R, S, C, K = _check_kernel(kernel, None, self.groups)
        require_equal(
            dy.shape[3],
            K,
            f"dy has {dy.shape[3]} channels but the kernel {kernel.shape} has {K} filters; give a "
            f"kernel of shape ({R}, {S}, {C}, {dy.shape[3]})",
        )
        self.require_output(self.input_size, (R, S), dy.shape[1:3])
        return dy.with_shape(dy.shape[0], *self.input_size, C * self.groups)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        dy, kernel = (np.ascontiguousarray(a) for a in inputs)
        H, W = self._image()
        pads = self.pads((H, W), kernel.shape[:2])
        geometry = (self.strides, pads, self.dilations, self.groups)
        return _reference.conv2d_grad_input(dy, kernel, (H, W), *geometry)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """For dy: convolution of the arriving gradient. For the kernel: its correlation with dy."""
        dy, kernel = node.inputs
        R, S, _, _ = kernel.spec.sizes
        ddy = apply(Conv2D(**self.siblings()), dys[0], kernel)
        return ddy, apply(Conv2DGradKernel(kernel_size=(R, S), **self.siblings()), dys[0], dy)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        return {**self.numbers(self._image(), inputs[1].sizes[:2]), "groups": self.groups}

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * K * R * S * C/G, as forward."""
        return inputs[0].size * int(np.prod(inputs[1].sizes[:3]))

    def _image(self) -> tuple[int, int]:
        H, W = Spec(self.input_size).sizes
        return H, W


@final
@dataclass(frozen=True, kw_only=True)
class Conv2DGradKernel(Convolution):
    """dw (R, S, C/G, K) of a convolution from its x (N, H, W, C) and dy (N, P, Q, K).

    Attributes:
        kernel_size: (R, S) of dw.
    """

    kernel_size: tuple[int, int]
    groups: int = 1
    name: ClassVar[str] = "conv2d_grad_kernel"

    def siblings(self) -> dict[str, Any]:
        """Geometry and groups."""
        return {**Convolution.siblings(self), "groups": self.groups}

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), dy (N, P, Q, K) -> (R, S, C/G, K)."""
        x, dy = inputs
        require_float(x, dy)
        require_rank(x, 4, "(N, H, W, C)")
        require_rank(dy, 4, "(N, P, Q, K)", "dy")
        C, K = Spec((x.shape[3], dy.shape[3])).sizes
        require_groups(self.groups, C, K)
        require_equal(
            x.shape[0],
            dy.shape[0],
            f"x has batch {x.shape[0]} but dy {dy.shape[0]}; give one batch",
        )
        self.require_output(x.shape[1:3], self.kernel_size, dy.shape[1:3])
        return x.with_shape(*self.kernel_size, C // self.groups, K)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, dy = (np.ascontiguousarray(a) for a in inputs)
        pads = self.pads(x.shape[1:3], self.kernel_size)
        geometry = (self.strides, pads, self.dilations, self.groups)
        return _reference.conv2d_grad_kernel(x, dy, self.kernel_size, *geometry)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """The arriving gradient as a kernel: transposed convolution for x, forward for dy."""
        x, dy = node.inputs
        _, H, W, _ = x.spec.sizes
        dx = apply(Conv2DGradInput(input_size=(H, W), **self.siblings()), dy, dys[0])
        return dx, apply(Conv2D(**self.siblings()), x, dys[0])

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry."""
        return {**self.numbers(inputs[0].sizes[1:3], self.kernel_size), "groups": self.groups}

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * K * R * S * C/G, as forward."""
        return inputs[1].size * int(np.prod(self.infer(*inputs).sizes[:3]))


def conv2d(
    x: Any,
    kernel: Any,
    bias: Any = None,
    strides: int | tuple[int, int] = 1,
    padding: Any = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Any:
    """2-D convolution (cross-correlation); stride, padding, dilation and groups in any combination.

    Args:
        x: (N, H, W, C).
        kernel: (R, S, C / groups, K).
        bias: (K,), added at every pixel; None for none.
        strides: steps of the filter in pixels, one or (vertical, horizontal).
        padding: "valid", "same", "same_lower", pixels, or ((top, bottom), (left, right)).
        dilation_rate: distances of the taps in pixels, one or (vertical, horizontal).
        groups: channels and filters are cut into so many independent convolutions.

    Returns:
        (N, P, Q, K) with P = floor((H + top + bottom - (R - 1) * dilation - 1) / stride) + 1.

    Raises:
        ShapeError: ranks or channels do not fit, the kernel is larger than the padded input, or
            `groups` does not divide channels and filters.
        ArgumentError: a stride, dilation, padding or number of groups that cannot be.
        DtypeError: inputs that are not float, or not of one type.
    """
    with located_in("conv2d"):
        op = Conv2D(
            strides=pair(strides, "strides"),
            padding=normalize_padding(padding),
            dilations=pair(dilation_rate, "dilation_rate"),
            groups=positive(groups, "groups"),
        )
    return with_bias(apply(op, x, kernel), bias, "conv2d")


OPS: tuple[type[Op], ...] = (Conv2D, Conv2DGradInput, Conv2DGradKernel, *conv_depthwise.OPS)
