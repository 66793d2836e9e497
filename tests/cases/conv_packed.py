# SPDX-License-Identifier: Apache-2.0
"""Cases of the convolutions for inference: packed filters, Winograd's algorithm, epilogues."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cases.accuracy import MAX, allowed
from cases.case import Array, Case, Make, normal
from cases.conv import DEPTHWISE, GEOMETRIES, NARROW, Geometry
from fastcnn.graph import Spec
from fastcnn.ops.conv import Conv2D
from fastcnn.ops.conv_packed import (
    UNBOUNDED,
    Bounds,
    FusedDepthwiseConv2D,
    FusedGroupedConv2D,
    PackedConv2D,
    PackFilters,
    PreactivatedConv2D,
    WinogradConv2D,
    WinogradFilters,
)

RELU: Bounds = (0.0, math.inf)
RELU6: Bounds = (0.0, 6.0)

# Pixels whole pages of 4 KB apart, of which tiles hold no more than eight, and in more than a tile.
PAGES = [
    Geometry((1, 3, 9, 1024), (1, 1), 40),
    Geometry((2, 3, 4, 1024), (3, 3), 17, padding=1),
]

# Beside those of every convolution: pixels around a tile of each instruction set, filters around a
# strip and a panel, 1x1 with strides, sums longer than a chunk of zeros.
PACKED = [
    *GEOMETRIES,
    *(Geometry((1, 1, q, 4), (1, 1), 33) for q in range(10, 30)),
    *(Geometry((1, 6, 6, 9), (3, 3), k, padding=1) for k in (47, 48, 49, 63, 64, 65, 96)),
    Geometry((2, 8, 8, 32), (1, 1), 64, strides=2),
    Geometry((1, 4, 4, 700), (3, 3), 40, padding=1),
    *PAGES,
]

# Pixels around a block of moments, several of them; filters in the outer loop; a first layer and an
# image of one channel, which have no walks of their own then.
MOMENTS = [
    *PACKED[: -len(PAGES) : 2],
    *PAGES,
    *(Geometry((1, 1, q, 9), (1, 1), 19) for q in (*range(1, 15), 23, 24, 25, 47, 48, 49)),
    Geometry((2, 11, 13, 10), (3, 3), 37, padding=1),
    Geometry((1, 5, 9, 512), (1, 1), 300),
    Geometry((1, 20, 20, 3), (3, 3), 16, strides=2, padding=1),
    Geometry((1, 9, 40, 1), (3, 3), 8, padding=1),
]

# Images of one channel: rows around two vectors, filters around a tile and a panel.
GRAY = [
    *(Geometry((2, 7, w, 1), (3, 5), 6) for w in (11, 12, 19, 20, 27, 37, 68)),
    *(Geometry((1, 6, 25, 1), (3, 3), k, padding=1) for k in (1, 7, 14, 15, 16, 17, 33)),
    Geometry((2, 13, 40, 1), (5, 3), 9, strides=(2, 1), padding=((2, 1), (0, 3))),
    Geometry((2, 12, 33, 1), (3, 4), 5, dilations=(2, 3)),
]

# (x, filters, pads): one patch, patches cut by every border, channels and filters around a vector
# and two panels, blocks of patches that are whole, not, and several; filters larger than a cache.
WINOGRAD = [
    ((1, 6, 6, 1), 1, (0, 0, 0, 0)),
    ((1, 1, 1, 3), 5, (1, 1, 1, 1)),
    *(((1, 7, 7, c), 17, (1, 1, 1, 1)) for c in (7, 8, 15, 16, 17, 33)),
    *(((1, 5, 9, 4), k, (1, 1, 1, 1)) for k in (31, 32, 33, 63, 64, 65, 100)),
    ((1, 13, 10, 20), 24, (0, 1, 2, 0)),
    ((2, 8, 8, 6), 8, (2, 2, 2, 2)),
    ((3, 28, 28, 16), 40, (1, 1, 1, 1)),
    ((1, 57, 55, 16), 16, (1, 1, 1, 1)),
    ((5, 14, 14, 200), 200, (1, 1, 1, 1)),
    ((1, 14, 14, 512), 40, (1, 1, 1, 1)),
]
# Last rows and columns of every number of outputs, in blocks that begin and end among them.
SHORT = [((3, h, w, 20), 40, (1, 1, 1, 1)) for h in range(8, 12) for w in range(8, 12)]
# Of 4x4 and 5x5 taps: an image smaller than they are, patches cut by every border, several blocks.
MORE_TAPS = [
    ((1, 5, 5, 1), 1, (0, 1, 1, 0)),
    ((1, 1, 2, 3), 5, (2, 2, 2, 2)),
    *(((1, 7, 8, c), 17, (2, 2, 2, 2)) for c in (7, 8, 17, 33)),
    *(((1, 5, 9, 4), k, (2, 2, 2, 2)) for k in (31, 33, 65)),
    ((1, 13, 10, 20), 24, (1, 2, 4, 0)),
    ((2, 28, 27, 16), 40, (2, 2, 2, 2)),
    ((5, 14, 14, 200), 200, (2, 2, 2, 2)),
    ((1, 14, 14, 512), 40, (2, 2, 2, 2)),
    *(((3, h, w, 20), 40, (2, 2, 2, 2)) for h in range(8, 11) for w in range(8, 11)),
]

# With a pool behind: one window, and a last row, column or both that none takes.
POOLED = [
    ((1, 2, 2, 3), 5, (1, 1, 1, 1)),
    ((2, 2, 9, 8), 16, (1, 1, 1, 1)),
    ((1, 11, 8, 20), 33, (1, 0, 1, 1)),
]


def label(geometry: Geometry, rest: str) -> str:
    return f"{geometry.label}-{rest}" if rest else geometry.label


def packed_case(
    geometry: Geometry, bounds: Bounds, residual: bool, name: str, moments: bool = False
) -> Case:
    """Inputs are packed by the reference, so that nothing lies beyond the last filter."""
    fields = {**geometry.fields, "groups": geometry.groups}
    kernel = (*geometry.taps, geometry.x[3] // geometry.groups, geometry.filters)
    op = PackedConv2D(
        taps=geometry.taps, filters=geometry.filters, bounds=bounds, moments=moments, **fields
    )
    y = Conv2D(**fields).infer(Spec(geometry.x), Spec(kernel)).sizes

    def make(rng: np.random.Generator) -> Sequence[Array]:
        panels = PackFilters(geometry.groups).reference(rng.standard_normal(kernel))
        inputs = [rng.standard_normal(geometry.x), panels, rng.standard_normal(geometry.filters)]
        return [*inputs, rng.standard_normal(y)] if residual else inputs

    return Case(op, make, 5e-6, differentiable=False, label=label(geometry, name))


def winograd_inputs(op: WinogradConv2D, x: tuple[int, int, int, int], residual: bool) -> Make:
    """Images behind a ReLU and filters as He et al. draw them, for which `accuracy.py` speaks."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        C, r = x[3], op.taps
        kernel = rng.standard_normal((r, r, C, op.filters)) * math.sqrt(2 / (r * r * C))
        transformed = WinogradFilters(op.tile).reference(kernel)
        image = np.maximum(rng.standard_normal(x), 0)
        inputs = [image, transformed, 0.1 * rng.standard_normal(op.filters)]
        size = op.before_pool(Spec(x)).sizes
        return [*inputs, rng.standard_normal(size)] if residual else inputs

    return make


def winograd_case(
    x: tuple[int, int, int, int],
    filters: int,
    pads: tuple[int, int, int, int],
    bounds: Bounds = UNBOUNDED,
    residual: bool = False,
    name: str = "",
    tile: int = 4,
    pool: int = 1,
    taps: int = 3,
) -> Case:
    """As far off as float32 may be where outputs are small; `test_accuracy.py` is stricter."""
    op = WinogradConv2D(pads=pads, filters=filters, taps=taps, tile=tile, pool=pool, bounds=bounds)
    algorithm = f"F{tile}" if taps == 3 else f"F{tile}x{taps}"
    text = "x".join(map(str, x)) + f"-{filters}-{pads}-{algorithm}{name}".replace(" ", "")
    tolerance = allowed(MAX[algorithm], x[3])
    make = winograd_inputs(op, x, residual)
    return Case(op, make, tolerance, differentiable=False, label=text)


def depthwise_case(geometry: Geometry, bounds: Bounds, moments: bool = False) -> Case:
    """One filter a channel, whatever multiplier the geometry has."""
    channels = geometry.x[3]
    op = FusedDepthwiseConv2D(bounds=bounds, moments=moments, **geometry.fields)
    make = normal(geometry.x, (*geometry.taps, channels, 1), (channels,))
    name = label(geometry, f"{bounds}{'-moments' * moments}")
    return Case(op, make, 5e-6, differentiable=False, label=name)


# Every compiled width of filter over rows and columns that blocks cover wholly, partly, not at all;
# outputs of a block apart from each other, neighbours although dilated, and filters of other sizes.
DEPTHWISE_BLOCKS = [
    *(
        Geometry((2, size, 2 * size, c), (r, r), 1, strides=stride, padding=r // 2)
        for r, stride in ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2))
        for size, c in ((1, 3), (7, 16), (8, 37), (15, 16))
    ),
    Geometry((1, 9, 20, 40), (3, 3), 1),
    Geometry((1, 4, 5, 300), (3, 3), 1, padding=3),
    *(Geometry((1, 4, q, 16), (3, 3), 1, padding=1) for q in (2, 3, 4, 5, 6, 9, 10, 12, 13)),
    *(
        Geometry((2, 13, size, 19), (r, r), 1, padding=dilation * (r // 2), dilations=dilation)
        for r, dilation in ((3, 2), (3, 3), (3, 4), (5, 2), (7, 2))
        for size in (9, 28, 33)
    ),
    Geometry((1, 13, 61, 24), (3, 3), 1, strides=2, dilations=3, padding=3),
    Geometry((1, 17, 33, 6), (5, 5), 1, strides=4, dilations=2, padding=2),
    Geometry((2, 15, 31, 13), (3, 3), 1, strides=(2, 1), padding="same"),
    Geometry((2, 15, 31, 13), (3, 3), 1, strides=(1, 2), padding="same", dilations=(2, 1)),
    Geometry((1, 15, 30, 9), (5, 7), 1, strides=(3, 2), padding=3),
    Geometry((1, 15, 30, 9), (1, 7), 1, padding="same", dilations=(1, 2)),
    Geometry((1, 15, 30, 9), (7, 1), 1, padding="same"),
    Geometry((1, 15, 30, 9), (9, 4), 1, strides=(1, 3), padding="same"),
    Geometry((1, 3, 5, 10), (3, 3), 1, padding=9, dilations=8),
    Geometry((1, 3, 5, 10), (7, 7), 1, padding=12, strides=2),
]


def grouped_case(geometry: Geometry, bounds: Bounds) -> Case:
    """As many filters as channels."""
    channels = geometry.x[3]
    op = FusedGroupedConv2D(bounds=bounds, **geometry.fields)
    kernel = (*geometry.taps, channels // geometry.groups, channels)
    make = normal(geometry.x, kernel, (channels,))
    name = label(geometry, f"{bounds}")
    return Case(op, make, 5e-6, differentiable=False, label=name)


# Groups that a vector holds several of, one of, a part of.
GROUPED_BLOCKS = [
    *(
        Geometry((2, size, 2 * size, c), (3, 3), c, strides=stride, padding=1, groups=c // each)
        for stride in (1, 2)
        for size, c, each in ((1, 8, 4), (7, 32, 4), (8, 24, 8), (15, 20, 4), (9, 32, 16))
    ),
    Geometry((1, 9, 20, 40), (3, 3), 40, groups=5),
]


def preactivated_case(x: tuple[int, int, int, int], filters: int, bounds: Bounds) -> Case:
    """What enters is bounded below, as by a ReLU."""
    op = PreactivatedConv2D(filters=filters, enter=RELU, bounds=bounds)

    def make(rng: np.random.Generator) -> Sequence[Array]:
        panels = PackFilters().reference(rng.standard_normal((1, 1, x[3], filters)))
        vectors = [rng.standard_normal(n) for n in (filters, x[3], x[3])]
        return [rng.standard_normal(x), panels, *vectors]

    return Case(op, make, 5e-6, False, label=f"{x}-{filters}-{bounds}".replace(" ", ""))


# Pixels around a tile and a block, channels and filters around a vector and a strip.
PREACTIVATED = [
    *(((1, 1, q, 5), 33, UNBOUNDED) for q in (1, 5, 6, 7, 13, 14, 15, 24, 25, 56, 57)),
    *(((2, 5, 7, c), k, RELU) for c, k in ((1, 1), (8, 16), (17, 15), (100, 70), (1024, 40))),
]

KERNELS = [(3, 3, 5, 7), (1, 1, 3, 32), (3, 3, 17, 33), (3, 3, 4, 64), (3, 3, 2, 100)]

CASES: list[Case] = [
    *(
        Case(PackFilters(), normal(kernel), differentiable=False, label=f"{kernel}")
        for kernel in KERNELS
    ),
    Case(PackFilters(3), normal((3, 3, 4, 66)), differentiable=False, label="groups"),
    *(packed_case(geometry, UNBOUNDED, False, "") for geometry in PACKED + GRAY),
    *(packed_case(geometry, RELU6, False, "relu6") for geometry in GRAY[::4]),
    *(
        packed_case(geometry, RELU, True, "relu-sum")
        for geometry in (*PACKED[: -len(PAGES) : 3], *PAGES)
    ),
    packed_case(PACKED[7], RELU6, False, "relu6"),
    *(packed_case(geometry, RELU6, True, "relu6-sum") for geometry in NARROW),
    *(packed_case(geometry, UNBOUNDED, False, "moments", True) for geometry in MOMENTS),
    packed_case(MOMENTS[-3], RELU, True, "relu-sum-moments", True),
    *(
        Case(WinogradFilters(tile), normal(kernel), 1e-6, False, label=f"F{tile}-{kernel}")
        for tile in (4, 2)
        for kernel in KERNELS
        if kernel[0] == 3
    ),
    *(
        Case(
            WinogradFilters(7 - taps),
            normal((taps, taps, *kernel[2:])),
            1e-6,
            False,
            label=f"{taps}-taps-{kernel}",
        )
        for taps in (4, 5)
        for kernel in KERNELS
    ),
    *(depthwise_case(geometry, UNBOUNDED) for geometry in (*DEPTHWISE, *DEPTHWISE_BLOCKS)),
    depthwise_case(DEPTHWISE_BLOCKS[2], RELU6),
    *(depthwise_case(geometry, UNBOUNDED, True) for geometry in DEPTHWISE_BLOCKS),
    depthwise_case(DEPTHWISE[0], RELU, True),
    *(grouped_case(geometry, UNBOUNDED) for geometry in GROUPED_BLOCKS),
    grouped_case(GROUPED_BLOCKS[1], RELU),
    *(winograd_case(*given) for given in (*WINOGRAD, *SHORT)),
    *(winograd_case(*given, RELU, True, "relu-sum") for given in WINOGRAD[2::3]),
    winograd_case(*WINOGRAD[4], RELU6, name="relu6"),
    *(winograd_case(*given, tile=2) for given in (*WINOGRAD, *SHORT)),
    *(
        winograd_case(*given, RELU, name="relu-pool", tile=tile, pool=2)
        for given in (*WINOGRAD[2:], *SHORT, *POOLED)
        for tile in (4, 2)
    ),
    *(winograd_case(*given, RELU, True, "relu-sum", tile=2) for given in WINOGRAD[2::3]),
    *(
        case
        for taps in (4, 5)
        for case in (
            *(winograd_case(*given, tile=7 - taps, taps=taps) for given in MORE_TAPS),
            *(
                winograd_case(*given, RELU, True, "relu-sum", 7 - taps, taps=taps)
                for given in MORE_TAPS[1::3]
            ),
        )
    ),
    *(winograd_case(*given, RELU, False, "relu-pool", 2, 2, 5) for given in MORE_TAPS[2:]),
    *(preactivated_case(*given) for given in PREACTIVATED),
]
