# SPDX-License-Identifier: Apache-2.0
"""Convolutions for inference: filters laid out as the kernels read them, epilogues in the stores.

    y = min(max(conv(x, filters) + bias + residual, lower), upper)

Packed filters are panels of COLUMNS output channels; Winograd's are transformed too. Both follow
from the weights alone, so a plan makes them once. These ops are what passes put in the place of a
`Conv2D` and its followers; they have no gradient.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np

from fastcnn.backends import _reference
from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Op, Spec, spec_of
from fastcnn.ops._apply import require_float
from fastcnn.ops.conv_window import Convolution
from fastcnn.records import dataclass

# Output channels of a panel: PANEL_COLUMNS in src_c/kernels/panel.inc.h. Of Winograd's filters so
# many panels stand together: WINOGRAD_PANELS in src_c/kernels/conv_winograd.inc.h.
COLUMNS = 16
WINOGRAD_PANELS = 2
# Pixels that a row of moments stands for: MOMENT_PIXELS in src_c/kernels/conv_packed.inc.h.
MOMENT_PIXELS = 24

# A result may take the place of its residual, which is read where the result is written.
OVER_RESIDUAL = {0: 3}

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)


def panels_of(channels: int) -> int:
    """Panels that hold so many output channels."""
    return -(-channels // COLUMNS)


def finish(y: Array, rest: tuple[Array, ...], bounds: Bounds) -> Array:
    """Bias, residual where there is one, bounds."""
    for term in rest:
        y = y + term
    bounded: Array = np.minimum(np.maximum(y, y.dtype.type(bounds[0])), y.dtype.type(bounds[1]))
    return bounded


def moments_of(y: Array, block: int) -> Array:
    """(blocks, 2, K): mean and sum of squared deviations of every `block` pixels of y (..., K)."""
    pixels = y.reshape(-1, y.shape[-1])
    parts = [pixels[i : i + block] for i in range(0, len(pixels), block)]
    return np.array([(part.mean(0), len(part) * part.var(0)) for part in parts], y.dtype)


def check_rest(y: Spec, rest: tuple[Spec, ...]) -> None:
    """ShapeError unless `rest` is what an epilogue adds to y: a bias, a residual."""
    expected = [(y.shape[-1],), y.shape]
    for found, want, what in zip(rest, expected, ("bias", "residual"), strict=False):
        if found.shape != want:
            raise ShapeError(f"the {what} has shape {found.shape}, expected {want}")


@final
@dataclass(frozen=True)
class PackFilters(Op):
    """filters (R, S, C/G, K) -> (G, panels, R * S * C/G, COLUMNS), zero beyond the last channel."""

    groups: int = 1
    name: ClassVar[str] = "pack_filters"

    def infer(self, *inputs: Spec) -> Spec:
        """(R, S, C/G, K) -> (G, panels, R S C/G, COLUMNS)."""
        R, S, C, K = inputs[0].sizes
        return inputs[0].with_shape(self.groups, panels_of(K // self.groups), R * S * C, COLUMNS)

    def reference(self, *inputs: Array) -> Array:
        """Columns of each group padded to whole panels."""
        filters = inputs[0]
        depth, K = math.prod(filters.shape[:3]), filters.shape[3] // self.groups
        packed = np.zeros((self.groups, depth, panels_of(K) * COLUMNS), filters.dtype)
        packed[:, :, :K] = filters.reshape(depth, self.groups, K).transpose(1, 0, 2)
        panels: Array = packed.reshape(self.groups, depth, -1, COLUMNS).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(panels)


@final
@dataclass(frozen=True, kw_only=True)
class PackedConv2D(Convolution):
    """A convolution with packed filters, bias, optional residual and bounds.

    Attributes:
        taps: (R, S).
        filters: K.
        groups: G.
        bounds: smallest and largest output.
        moments: whether to return (y, moments), those of every MOMENT_PIXELS pixels.
    """

    taps: tuple[int, int]
    filters: int
    groups: int = 1
    bounds: Bounds = UNBOUNDED
    moments: bool = False
    name: ClassVar[str] = "packed_conv2d"
    image_by_image: ClassVar[bool] = True
    inplace: ClassVar[dict[int, int]] = OVER_RESIDUAL
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """A residual is read where the output is written; moments lie close together."""
        return index == 0 and len(inputs) == 3

    def infer(self, *inputs: Spec) -> Spec | tuple[Spec, ...]:
        """x (N, H, W, C), panels, bias (K), residual (N, P, Q, K) -> (N, P, Q, K)."""
        y = self.output_spec(*inputs)
        if not self.moments:
            return y
        blocks = -(-math.prod(y.sizes[:3]) // MOMENT_PIXELS)
        return y, y.with_shape(blocks, 2, self.filters)

    def output_spec(self, *inputs: Spec) -> Spec:
        """Of y: (N, P, Q, K)."""
        x, _, *rest = inputs
        require_float(*inputs)
        y = x.with_shape(x.shape[0], *self.output_sizes(x.shape[1:3], self.taps), self.filters)
        check_rest(y, tuple(rest))
        return y

    def reference(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """The direct sum over the unpacked filters, then the epilogue."""
        x, panels, *rest = (np.ascontiguousarray(a) for a in inputs)
        G, K = self.groups, self.filters // self.groups
        filters = panels.transpose(2, 0, 1, 3).reshape(panels.shape[2], G, -1)[:, :, :K]
        kernel = np.ascontiguousarray(filters.reshape(*self.taps, -1, self.filters))
        pads = self.pads(x.shape[1:3], self.taps)
        y = _reference.conv2d(x, kernel, self.strides, pads, self.dilations, G)
        y = finish(y, tuple(rest), self.bounds)
        return (y, moments_of(y, MOMENT_PIXELS)) if self.moments else y

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry, sizes of the filter, bounds."""
        return {
            **self.numbers(inputs[0].sizes[1:3], self.taps),
            "groups": self.groups,
            "taps_h": self.taps[0],
            "taps_w": self.taps[1],
            "lower": self.bounds[0],
            "upper": self.bounds[1],
        }

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * K * R * S * C/G."""
        return (
            self.output_spec(*inputs).size
            * math.prod(self.taps)
            * inputs[0].sizes[3]
            // self.groups
        )


@final
@dataclass(frozen=True, kw_only=True)
class PreactivatedConv2D(Op):
    """A 1x1 convolution of what a normalization and its bounds make of the input.

        y = bounds(conv(enter(x scale + shift), filters) + bias)

    DenseNet's order (G. Huang et al., arXiv:1608.06993): the input is normalized once more for
    every convolution that reads it, and no such copy is worth storing.

    Attributes:
        filters: K.
        enter: smallest and largest input of the convolution.
        bounds: smallest and largest output.
    """

    filters: int
    enter: Bounds = UNBOUNDED
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "preactivated_conv2d"
    image_by_image: ClassVar[bool] = True
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), panels, bias (K), scale (C), shift (C) -> (N, H, W, K)."""
        x, _, bias, scale, shift = inputs
        require_float(*inputs)
        y = x.with_shape(*x.shape[:3], self.filters)
        check_rest(y, (bias,))
        for found, what in ((scale, "scale"), (shift, "shift")):
            if found.shape != x.shape[3:]:
                raise ShapeError(f"the {what} has shape {found.shape}, expected {x.shape[3:]}")
        return y

    def reference(self, *inputs: Array) -> Array:
        """The normalization, then the convolution."""
        x, panels, bias, scale, shift = (np.ascontiguousarray(a) for a in inputs)
        entered = finish(x * scale, (shift,), self.enter)
        op = PackedConv2D(taps=(1, 1), filters=self.filters, bounds=self.bounds)
        y = op.reference(entered, panels, bias)
        assert not isinstance(y, tuple)
        return y

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """All bounds."""
        (enter_lower, enter_upper), (lower, upper) = self.enter, self.bounds
        return {
            "enter_lower": enter_lower,
            "enter_upper": enter_upper,
            "lower": lower,
            "upper": upper,
        }

    def macs(self, *inputs: Spec) -> int:
        """N * H * W * K * C."""
        return self.infer(*inputs).size * inputs[0].sizes[3]


@dataclass(frozen=True, kw_only=True)
class _Fused(Convolution):
    """Abstract: a convolution over the filters as they are, with bias and bounds.

    Attributes:
        bounds: smallest and largest output.
    """

    bounds: Bounds = UNBOUNDED
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Moments lie close together."""
        return index == 0

    def infer(self, *inputs: Spec) -> Spec | tuple[Spec, ...]:
        """x (N, H, W, C), kernel (R, S, ...), bias (C) -> (N, P, Q, C)."""
        return self.output_spec(*inputs)

    def output_spec(self, *inputs: Spec) -> Spec:
        """Of y: (N, P, Q, C)."""
        x, kernel, bias = inputs
        require_float(*inputs)
        y = x.with_shape(x.shape[0], *self.output_sizes(x.shape[1:3], kernel.sizes[:2]), x.shape[3])
        check_rest(y, (bias,))
        return y

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Resolved geometry and bounds."""
        numbers = self.numbers(inputs[0].sizes[1:3], inputs[1].sizes[:2])
        return {**numbers, "lower": self.bounds[0], "upper": self.bounds[1]}


@final
@dataclass(frozen=True, kw_only=True)
class FusedDepthwiseConv2D(_Fused):
    """A depthwise convolution of one filter a channel, (R, S, C, 1), with bias and bounds.

    Attributes:
        moments: whether to return (y, moments), those of every line.
    """

    moments: bool = False
    name: ClassVar[str] = "fused_depthwise_conv2d"
    image_by_image: ClassVar[bool] = True

    def infer(self, *inputs: Spec) -> Spec | tuple[Spec, ...]:
        """x (N, H, W, C), kernel (R, S, ...), bias (C) -> (N, P, Q, C), (N P, 2, C)."""
        y = self.output_spec(*inputs)
        N, P, _, C = y.sizes
        return (y, y.with_shape(N * P, 2, C)) if self.moments else y

    def reference(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """The direct sum, then the epilogue."""
        x, kernel, bias = (np.ascontiguousarray(a) for a in inputs)
        pads = self.pads(x.shape[1:3], kernel.shape[:2])
        y = _reference.depthwise_conv2d(x, kernel, self.strides, pads, self.dilations)
        y = finish(y, (bias,), self.bounds)
        return (y, moments_of(y, y.shape[2])) if self.moments else y

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * C * R * S."""
        return self.output_spec(*inputs).size * math.prod(inputs[1].sizes[:2])


@final
@dataclass(frozen=True, kw_only=True)
class FusedGroupedConv2D(_Fused):
    """A convolution of C channels in groups to as many, (R, S, C/G, C), with bias and bounds.

    Kernels have tiles for what `fuse_convolutions` makes of it: 3x3 filters of one stride, 1 or 2.
    """

    name: ClassVar[str] = "fused_grouped_conv2d"
    image_by_image: ClassVar[bool] = True

    def reference(self, *inputs: Array) -> Array:
        """The direct sum, then the epilogue."""
        x, kernel, bias = (np.ascontiguousarray(a) for a in inputs)
        pads = self.pads(x.shape[1:3], kernel.shape[:2])
        groups = kernel.shape[3] // kernel.shape[2]
        y = _reference.conv2d(x, kernel, self.strides, pads, self.dilations, groups)
        return finish(y, (bias,), self.bounds)

    def macs(self, *inputs: Spec) -> int:
        """N * P * Q * C * R * S * C/G."""
        return self.output_spec(*inputs).size * math.prod(inputs[1].sizes[:3])


# Where Lavin and Gray's y = A' ((G g) * (B' d)) takes the values of a filter, by how many they are:
# points, and what the values there are multiplied with. The last value is the last tap.
_ROOT = math.sqrt(2.0)
_POINTS = {
    6: ((0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT), (1, 1 / 6, 1 / 6, -2 / 3, -2 / 3)),
    4: ((0, 1, -1), (1, 1 / 2, 1 / 2)),
}


def winograd_g(tile: int, taps: int) -> Array:
    """G of F(tile, taps), (tile + taps - 1, taps): what makes values of a filter from its taps."""
    points, factors = _POINTS[tile + taps - 1]
    powers = np.vander(points, taps, increasing=True)
    return np.vstack([powers * np.array(factors)[:, None], np.eye(taps)[-1]])


def winograd_points(tile: int, taps: int, y: Spec) -> int:
    """Products of F(tile x tile, taps x taps) for y (N, P, Q, K), per channel in and out.

    A patch of s x t outputs takes (s + taps - 1) (t + taps - 1): the last row and column of patches
    have as many outputs as are left.
    """
    N, P, Q, _ = y.sizes
    down, across = (size + (taps - 1) * -(-size // tile) for size in (P, Q))
    return N * down * across


@final
@dataclass(frozen=True)
class WinogradFilters(Op):
    """G g G' of r x r filters for F(tile x tile, r x r): tile = 4 or 2, 3, 2 for r = 3, 4, 5.

    (r, r, C, K) -> (groups of panels, points, WINOGRAD_PANELS, C, COLUMNS), zero beyond the last
    channel, where points = (tile + r - 1)^2.
    """

    tile: int = 4
    name: ClassVar[str] = "winograd_filters"

    def infer(self, *inputs: Spec) -> Spec:
        """(r, r, C, K) -> (groups, points, WINOGRAD_PANELS, C, COLUMNS)."""
        taps, _, C, K = inputs[0].sizes
        groups, points = -(-K // (WINOGRAD_PANELS * COLUMNS)), (self.tile + taps - 1) ** 2
        return inputs[0].with_shape(groups, points, WINOGRAD_PANELS, C, COLUMNS)

    def reference(self, *inputs: Array) -> Array:
        """The definition, in float64."""
        filters = inputs[0].astype(np.float64)
        taps, _, C, K = filters.shape
        G = winograd_g(self.tile, taps)
        groups, points, *_ = self.infer(spec_of(inputs[0])).sizes
        u = np.zeros((points, C, groups * WINOGRAD_PANELS * COLUMNS))
        u[:, :, :K] = np.einsum("ir,js,rsck->ijck", G, G, filters).reshape(-1, C, K)
        panels = u.reshape(points, C, groups, WINOGRAD_PANELS, COLUMNS).transpose(2, 0, 3, 1, 4)
        return np.ascontiguousarray(panels.astype(inputs[0].dtype))


@final
@dataclass(frozen=True, kw_only=True)
class WinogradConv2D(Op):
    """A convolution of stride 1 by F(tile x tile, r x r), with bias, residual and bounds.

    Attributes:
        pads: (top, bottom, left, right).
        filters: K.
        taps: r: 3, 4 or 5.
        tile: outputs of a patch along each axis: 4 or 2 of 3 taps, 3 of 4, 2 of 5.
        pool: 2 for the largest of every 2 x 2 pixels, a last odd row or column left out; else 1.
            There is no residual then, and tile is even.
        bounds: smallest and largest output.
    """

    pads: tuple[int, int, int, int]
    filters: int
    taps: int = 3
    tile: int = 4
    pool: int = 1
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "winograd_conv2d"
    image_by_image: ClassVar[bool] = True
    inplace: ClassVar[dict[int, int]] = OVER_RESIDUAL
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """A residual is read where the output is written."""
        return len(inputs) == 3

    def infer(self, *inputs: Spec) -> Spec:
        """x (N, H, W, C), transformed filters, bias (K), residual (N, P, Q, K) -> (N, P, Q, K).

        With a pool, (N, P // 2, Q // 2, K).
        """
        require_float(*inputs)
        y = self.before_pool(inputs[0])
        check_rest(y, inputs[2:])
        if self.pool > 1 and len(inputs) > 3:
            raise ShapeError("found a residual and a pool, expected one of them at most")
        N, P, Q, K = y.sizes
        return y.with_shape(N, P // self.pool, Q // self.pool, K)

    def before_pool(self, x: Spec) -> Spec:
        """(N, H, W, C) -> (N, P, Q, K): what the convolution makes."""
        N, H, W, _ = x.sizes
        top, bottom, left, right = self.pads
        over = self.taps - 1
        return x.with_shape(N, H + top + bottom - over, W + left + right - over, self.filters)

    def products(self, x: Spec) -> int:
        """Per channel in and out; none for a last row or column of patches without a window."""
        y = self.before_pool(x)
        N, P, Q, K = y.sizes
        down, across = (n - (self.pool == 2 and n % self.tile == 1) for n in (P, Q))
        return winograd_points(self.tile, self.taps, y.with_shape(N, down, across, K))

    def reference(self, *inputs: Array) -> Array:
        """The direct sum over the filters that the transformed ones came from."""
        x, u, *rest = (np.ascontiguousarray(a) for a in inputs)
        back = np.linalg.pinv(winograd_g(self.tile, self.taps))
        points = self.tile + self.taps - 1
        panels = u.astype(np.float64).transpose(1, 3, 0, 2, 4)
        values = panels.reshape(points, points, x.shape[3], -1)[..., : self.filters]
        kernel = np.einsum("ri,sj,ijck->rsck", back, back, values).astype(x.dtype)
        y = _reference.conv2d(x, np.ascontiguousarray(kernel), (1, 1), self.pads, (1, 1), 1)
        y = finish(y, tuple(rest), self.bounds)
        if self.pool == 1:
            return y
        windows = y[:, : y.shape[1] // 2 * 2, : y.shape[2] // 2 * 2]
        N, P, Q, K = windows.shape
        largest: Array = windows.reshape(N, P // 2, 2, Q // 2, 2, K).max((2, 4))
        return largest

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Pads at the bottom and right follow from the output's size."""
        lower, upper = self.bounds
        _, P, Q, _ = self.before_pool(inputs[0]).sizes
        return {
            "tile": self.tile,
            "pad_top": self.pads[0],
            "pad_left": self.pads[2],
            "pool": self.pool,
            "odd_h": P % self.pool,
            "odd_w": Q % self.pool,
            "lower": lower,
            "upper": upper,
        }

    def macs(self, *inputs: Spec) -> int:
        """Of the convolution it stands for: N * P * Q * K * r * r * C."""
        return self.before_pool(inputs[0]).size * self.taps**2 * inputs[0].sizes[3]


OPS: tuple[type[Op], ...] = (
    PackFilters,
    PackedConv2D,
    PreactivatedConv2D,
    FusedDepthwiseConv2D,
    FusedGroupedConv2D,
    WinogradFilters,
    WinogradConv2D,
)
