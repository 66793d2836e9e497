# SPDX-License-Identifier: Apache-2.0
"""Filters laid out anew in every training step, and the gradient for the input that reads them.

    dx = conv2d_grad_input(dy, kernel)

is a convolution over dy whose filters are the kernel's with inputs and outputs exchanged. With a
stride, the pixels of dx fall into strides[0] x strides[1] phases, each of which is reached by taps
of its own: a small convolution without a stride and without a wasted product. The taps of a phase
lie together, and in the order of the pixels of dy that they meet. These ops are what
`passes.pack_training` puts in the place of convolutions and their gradients, and
`passes.fuse_convolutions` in that of transposed convolutions; they have no gradient.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np

from fastcnn.backends import _reference
from fastcnn.graph import Array, Op, Spec, spec_of
from fastcnn.ops._apply import require_float
from fastcnn.ops.conv_packed import (
    COLUMNS,
    OVER_RESIDUAL,
    UNBOUNDED,
    Bounds,
    PackFilters,
    WinogradConv2D,
    WinogradFilters,
    check_rest,
    finish,
    panels_of,
)
from fastcnn.ops.conv_window import Convolution
from fastcnn.records import dataclass


def exchange(filters: Array, groups: int) -> Array:
    """(R, S, C/G, K) -> (R, S, K/G, C): inputs and outputs exchanged within each group."""
    R, S, C, K = filters.shape
    by_group = filters.reshape(R, S, C, groups, K // groups)
    return by_group.transpose(0, 1, 4, 3, 2).reshape(R, S, K // groups, groups * C)


def phase_steps(strides: tuple[int, int], dilations: tuple[int, int]) -> tuple[int, int]:
    """From one tap to the next that meets the same pixels of dx, along both axes."""
    vertical, horizontal = (
        stride // math.gcd(stride, dilation)
        for stride, dilation in zip(strides, dilations, strict=True)
    )
    return vertical, horizontal


def tap_order(taps: tuple[int, int], steps: tuple[int, int]) -> list[int]:
    """The taps r * S + s phase by phase, the last of a phase first."""
    rows, columns = (
        [list(reversed(range(first, size, step))) for first in range(min(step, size))]
        for size, step in zip(taps, steps, strict=True)
    )
    return [r * taps[1] + s for row in rows for column in columns for r in row for s in column]


@final
@dataclass(frozen=True)
class PackExchangedFilters(Op):
    """filters (R, S, C/G, K) -> (G, panels of C/G, R * S * K/G, COLUMNS): packed for dx.

    Attributes:
        groups: G.
        steps: as `phase_steps` gives them; taps lie in `tap_order`.
    """

    groups: int = 1
    steps: tuple[int, int] = (1, 1)
    name: ClassVar[str] = "pack_exchanged_filters"

    def infer(self, *inputs: Spec) -> Spec:
        """(R, S, C/G, K) -> (G, panels, R S K/G, COLUMNS)."""
        R, S, C, K = inputs[0].sizes
        depth = R * S * (K // self.groups)
        return inputs[0].with_shape(self.groups, panels_of(C), depth, COLUMNS)

    def reference(self, *inputs: Array) -> Array:
        """Exchanged and put in order, then packed like any filters."""
        exchanged = exchange(inputs[0], self.groups)
        R, S, K, C = exchanged.shape
        taps = exchanged.reshape(R * S, 1, K, C)[tap_order((R, S), self.steps)]
        return PackFilters(self.groups).reference(taps)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Groups and steps."""
        return {"groups": self.groups, "step_h": self.steps[0], "step_w": self.steps[1]}


@final
@dataclass(frozen=True)
class TransformFilters(Op):
    """Winograd's filters as `WinogradFilters` makes them, at a training step's speed, in float32.

    Attributes:
        exchanged: for the gradient of the input: inputs and outputs are exchanged and the filter
            is turned by 180 degrees.
    """

    exchanged: bool = False
    name: ClassVar[str] = "transform_filters"

    def infer(self, *inputs: Spec) -> Spec:
        """As of `WinogradFilters`."""
        R, S, C, K = inputs[0].sizes
        kernel = inputs[0].with_shape(R, S, K, C) if self.exchanged else inputs[0]
        return WinogradFilters().infer(kernel)

    def reference(self, *inputs: Array) -> Array:
        """The definition, in float64."""
        filters = inputs[0]
        if self.exchanged:
            filters = exchange(filters[::-1, ::-1], 1)
        return WinogradFilters().reference(filters)


@final
@dataclass(frozen=True, kw_only=True)
class WinogradTrainConv2D(Op):
    """`WinogradConv2D` from filters (3, 3, C, K) as they are, which are transformed inside.

    Attributes:
        pads: (top, bottom, left, right).
        exchanged: convolve with the filters of the gradient for the input, as `TransformFilters`.
        bounds: smallest and largest output.
    """

    pads: tuple[int, int, int, int]
    exchanged: bool = False
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "winograd_train_conv2d"
    inplace: ClassVar[dict[int, int]] = OVER_RESIDUAL

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), filters, bias (K), residual (N, P, Q, K) -> (N, P, Q, K)."""
        x, kernel, *rest = inputs
        return self._plain(kernel).infer(x, TransformFilters(self.exchanged).infer(kernel), *rest)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, kernel, *rest = inputs
        u = TransformFilters(self.exchanged).reference(kernel)
        return self._plain(spec_of(kernel)).reference(x, u, *rest)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Those of the plain form, and which filters."""
        return {**self._plain(inputs[1]).attributes(*inputs), "exchanged": self.exchanged}

    def macs(self, *inputs: Spec) -> int:
        """Of the convolution it stands for: N * P * Q * K * 9 * C."""
        return self._plain(inputs[1]).macs(*inputs)

    def _plain(self, kernel: Spec) -> WinogradConv2D:
        _, _, C, K = kernel.sizes
        filters = C if self.exchanged else K
        return WinogradConv2D(pads=self.pads, filters=filters, bounds=self.bounds)


@final
@dataclass(frozen=True, kw_only=True)
class PackedConv2DGradInput(Convolution):
    """dx (N, H, W, C) of a convolution from dy (N, P, Q, K) and its packed exchanged filters.

    As a transposed convolution it has a bias, and may have a residual and bounds.

    Attributes:
        input_size: (H, W) of dx.
        taps: (R, S).
        channels: C.
        groups: G.
        bounds: smallest and largest output.
    """

    input_size: tuple[int, int]
    taps: tuple[int, int]
    channels: int
    groups: int = 1
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "packed_conv2d_grad_input"
    inplace: ClassVar[dict[int, int]] = OVER_RESIDUAL
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """A residual is read where the output is written; images of a batch may be made apart."""
        return len(inputs) == 3

    def infer(self, *inputs: Spec) -> Spec:
        """dy (N, P, Q, K), panels, bias (C), residual (N, H, W, C) -> (N, H, W, C)."""
        dy, _, *rest = inputs
        require_float(*inputs)
        self.require_output(self.input_size, self.taps, dy.shape[1:3])
        dx = dy.with_shape(dy.shape[0], *self.input_size, self.channels)
        check_rest(dx, tuple(rest))
        return dx

    def reference(self, *inputs: Array) -> Array:
        """The direct sum over the filters as they were before, then the epilogue."""
        dy, panels, *rest = inputs
        G, C = self.groups, self.channels // self.groups
        filters = panels.transpose(2, 0, 1, 3).reshape(panels.shape[2], G, -1)[:, :, :C]
        ordered = filters.reshape(math.prod(self.taps), -1, self.channels)
        order = np.argsort(tap_order(self.taps, phase_steps(self.strides, self.dilations)))
        exchanged = ordered[order].reshape(*self.taps, -1, self.channels)
        kernel = np.ascontiguousarray(exchange(exchanged, G))
        pads = self.pads(self.input_size, self.taps)
        geometry = (self.strides, pads, self.dilations, G)
        dy = np.ascontiguousarray(dy)
        dx = _reference.conv2d_grad_input(dy, kernel, self.input_size, *geometry)
        return finish(dx, tuple(rest), self.bounds)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry, sizes of the filter, bounds."""
        return {
            **self.numbers(self.input_size, self.taps),
            "groups": self.groups,
            "taps_h": self.taps[0],
            "taps_w": self.taps[1],
            "lower": self.bounds[0],
            "upper": self.bounds[1],
        }

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * K * R * S * C/G."""
        return inputs[0].size * math.prod(self.taps) * self.channels // self.groups


@final
@dataclass(frozen=True, kw_only=True)
class WinogradConv2DGradKernel(Op):
    """dw (3, 3, C, K) of a convolution of stride 1 from x and dy, summed in Winograd's domain.

    Attributes:
        pads: (top, bottom, left, right) of the convolution.
    """

    pads: tuple[int, int, int, int]
    name: ClassVar[str] = "winograd_conv2d_grad_kernel"

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), dy (N, P, Q, K) -> (3, 3, C, K)."""
        x, dy = inputs
        require_float(x, dy)
        return x.with_shape(3, 3, x.shape[3], dy.shape[3])

    def reference(self, *inputs: Array) -> Array:
        """The direct sum."""
        x, dy = (np.ascontiguousarray(a) for a in inputs)
        return _reference.conv2d_grad_kernel(x, dy, (3, 3), (1, 1), self.pads, (1, 1), 1)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Pads at the bottom and right follow from dy's size."""
        return {"pad_top": self.pads[0], "pad_left": self.pads[2]}

    def macs(self, *inputs: Spec) -> int:
        """Of the convolution it stands for: N * P * Q * K * 9 * C."""
        return inputs[1].size * 9 * inputs[0].sizes[3]


OPS: tuple[type[Op], ...] = (
    PackExchangedFilters,
    TransformFilters,
    WinogradTrainConv2D,
    PackedConv2DGradInput,
    WinogradConv2DGradKernel,
)
