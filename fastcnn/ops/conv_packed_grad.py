# SPDX-License-Identifier: Apache-2.0
"""Filters laid out anew in every training step, and the gradient for the input that reads them.

    dx = conv2d_grad_input(dy, kernel)

is a convolution over dy whose filters are the kernel's with inputs and outputs exchanged. With a
stride, the pixels of dx fall into strides[0] x strides[1] phases, each of which is reached by taps
of its own: a small convolution without a stride and without a wasted product. These ops are what
`passes.pack_training` puts in the place of convolutions and their gradients; they have none.
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
    UNBOUNDED,
    Bounds,
    PackFilters,
    WinogradConv2D,
    WinogradFilters,
    panels_of,
)
from fastcnn.ops.conv_window import Convolution
from fastcnn.records import dataclass


def exchange(filters: Array, groups: int) -> Array:
    """(R, S, C/G, K) -> (R, S, K/G, C): inputs and outputs exchanged within each group."""
    R, S, C, K = filters.shape
    by_group = filters.reshape(R, S, C, groups, K // groups)
    return by_group.transpose(0, 1, 4, 3, 2).reshape(R, S, K // groups, groups * C)


@final
@dataclass(frozen=True)
class PackExchangedFilters(Op):
    """filters (R, S, C/G, K) -> (G, panels of C/G, R * S * K/G, COLUMNS): packed for dx."""

    groups: int = 1
    name: ClassVar[str] = "pack_exchanged_filters"

    def infer(self, *inputs: Spec) -> Spec:
        """(R, S, C/G, K) -> (G, panels, R S K/G, COLUMNS)."""
        R, S, C, K = inputs[0].sizes
        depth = R * S * (K // self.groups)
        return inputs[0].with_shape(self.groups, panels_of(C), depth, COLUMNS)

    def reference(self, *inputs: Array) -> Array:
        """Exchanged, then packed like any filters."""
        return PackFilters(self.groups).reference(exchange(inputs[0], self.groups))


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

    Attributes:
        input_size: (H, W) of dx.
        taps: (R, S).
        channels: C.
        groups: G.
    """

    input_size: tuple[int, int]
    taps: tuple[int, int]
    channels: int
    groups: int = 1
    name: ClassVar[str] = "packed_conv2d_grad_input"

    def infer(self, *inputs: Spec) -> Spec:
        """dy (N, P, Q, K), panels -> (N, H, W, C)."""
        dy = inputs[0]
        require_float(*inputs)
        self.require_output(self.input_size, self.taps, dy.shape[1:3])
        return dy.with_shape(dy.shape[0], *self.input_size, self.channels)

    def reference(self, *inputs: Array) -> Array:
        """The direct sum over the filters as they were before."""
        dy, panels = inputs
        G, C = self.groups, self.channels // self.groups
        filters = panels.transpose(2, 0, 1, 3).reshape(panels.shape[2], G, -1)[:, :, :C]
        exchanged = filters.reshape(*self.taps, -1, self.channels)
        kernel = np.ascontiguousarray(exchange(exchanged, G))
        pads = self.pads(self.input_size, self.taps)
        geometry = (self.strides, pads, self.dilations, G)
        dy = np.ascontiguousarray(dy)
        return _reference.conv2d_grad_input(dy, kernel, self.input_size, *geometry)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry and sizes of the filter."""
        return {
            **self.numbers(self.input_size, self.taps),
            "groups": self.groups,
            "taps_h": self.taps[0],
            "taps_w": self.taps[1],
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
