# SPDX-License-Identifier: Apache-2.0
"""Cases of what a training step does beside inference's convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cases.accuracy import ALLOWED, GRAD_KERNEL, MAX, allowed
from cases.case import Array, Case, normal
from cases.conv import Geometry
from cases.conv_packed import DEPTHWISE_BLOCKS, GROUPED_BLOCKS, PACKED, RELU, RELU6, SHORT, WINOGRAD
from fastcnn.graph import Spec
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import DepthwiseConv2D, DepthwiseConv2DGradInput
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds
from fastcnn.ops.conv_packed_grad import (
    PackedConv2DGradInput,
    PackExchangedFilters,
    TransformFilters,
    WinogradConv2DGradKernel,
    WinogradTrainConv2D,
    exchange,
    phase_steps,
)

# (kernel, steps of phases): taps that fill them, do not, and are fewer.
PHASES = [
    ((3, 3, 20, 33), (2, 2)),
    ((4, 5, 3, 7), (2, 3)),
    ((2, 1, 17, 5), (3, 2)),
    ((7, 7, 16, 16), (4, 1)),
]

# (kernel, groups): rows of a block and columns of a panel that are whole, not, and several.
KERNELS = [
    ((3, 3, 5, 7), 1),
    ((1, 1, 32, 3), 1),
    ((3, 3, 33, 17), 1),
    ((3, 3, 64, 16), 1),
    ((3, 3, 100, 50), 1),
    ((3, 3, 4, 66), 3),
    ((2, 5, 40, 68), 2),
]

# Images of few channels, which are summed one by one.
FEW = [
    Geometry((8, 14, 14, 6), (5, 5), 16),
    Geometry((9, 9, 11, 3), (3, 3), 20, strides=2, padding=1),
    Geometry((11, 7, 13, 8), (3, 5), 7, dilations=(2, 1), padding="same"),
    Geometry((8, 20, 12, 1), (2, 9), 33, padding=((1, 0), (3, 2))),
    Geometry((8, 11, 12, 4), (2, 2), 5, strides=3),
    Geometry((8, 1, 5, 5), (1, 2), 1),
]


def grad_input_case(
    geometry: Geometry, epilogue: bool = False, bounds: Bounds = UNBOUNDED, residual: bool = False
) -> Case:
    """Filters are packed by the reference, so that nothing lies beyond the last channel."""
    _, H, W, C = geometry.x
    fields = {**geometry.fields, "groups": geometry.groups}
    kernel = (*geometry.taps, C // geometry.groups, geometry.filters)
    dy = Conv2D(**fields).infer(Spec(geometry.x), Spec(kernel)).sizes
    op = PackedConv2DGradInput(
        input_size=(H, W), taps=geometry.taps, channels=C, bounds=bounds, **fields
    )
    steps = phase_steps(op.strides, op.dilations)

    def make(rng: np.random.Generator) -> Sequence[Array]:
        filters = rng.standard_normal(kernel)
        panels = PackExchangedFilters(geometry.groups, steps).reference(filters)
        inputs = [rng.standard_normal(dy), panels]
        if epilogue:
            inputs.append(rng.standard_normal(C))
        return [*inputs, rng.standard_normal(geometry.x)] if residual else inputs

    name = f"-{bounds}{'-sum' * residual}" if epilogue else ""
    return Case(op, make, 5e-6, differentiable=False, label=geometry.label + name)


def winograd_train_case(
    x: tuple[int, int, int, int],
    filters: int,
    pads: tuple[int, int, int, int],
    exchanged: bool,
    bounds: Bounds = UNBOUNDED,
    residual: bool = False,
) -> Case:
    """As for inference, from filters as they are."""
    N, H, W, C = x
    op = WinogradTrainConv2D(pads=pads, exchanged=exchanged, bounds=bounds)
    y = (N, H + pads[0] + pads[1] - 2, W + pads[2] + pads[3] - 2, filters)

    def make(rng: np.random.Generator) -> Sequence[Array]:
        kernel = rng.standard_normal((3, 3, C, filters)) * math.sqrt(2 / (9 * C))
        kernel = exchange(kernel[::-1, ::-1], 1) if exchanged else kernel
        image = np.maximum(rng.standard_normal(x), 0)
        inputs = [image, kernel, 0.1 * rng.standard_normal(filters)]
        return [*inputs, rng.standard_normal(y)] if residual else inputs

    text = "x".join(map(str, x)) + f"-{filters}-{pads}-{exchanged}-{residual}".replace(" ", "")
    tolerance = allowed(MAX["F4"], C)
    return Case(op, make, tolerance, differentiable=False, label=text)


# Beside the general ones: strides whose phases hold one tap, several, none; more than a tile.
STRIDED = [
    Geometry((2, 9, 11, 40), (3, 3), 33, strides=2, padding=1),
    Geometry((1, 8, 8, 20), (1, 1), 24, strides=2),
    Geometry((1, 7, 9, 16), (1, 1), 8, strides=3),
    Geometry((1, 17, 15, 3), (7, 7), 16, strides=2, padding=3),
    Geometry((1, 12, 12, 6), (4, 4), 10, strides=4, padding=1, groups=2),
    Geometry((1, 14, 15, 17), (4, 5), 20, strides=(2, 3), padding="same"),
    Geometry(
        (2, 10, 13, 24), (3, 4), 9, strides=(4, 3), dilations=(2, 1), padding=((2, 1), (0, 3))
    ),
]

# Pixels of dy whole pages of 4 KB apart. Sums of so many products go far beyond a ReLU6.
APART = [
    Geometry((1, 3, 9, 40), (1, 1), 1024),
    Geometry((2, 5, 4, 17), (3, 3), 1024, padding=1),
]

# Gradients for the kernel over several blocks: images together, parts of images, slices with copies
# of their own; channels and filters in several parts; taps merged, strided, far apart, in groups.
BLOCKS = [
    Geometry((9, 7, 7, 40), (3, 3), 70, padding=1),
    Geometry((2, 33, 40, 3), (7, 7), 24, strides=2, padding=3),
    Geometry((3, 20, 30, 16), (3, 3), 20, padding=1),
    Geometry((2, 40, 35, 33), (3, 3), 64, strides=2, padding=1),
    Geometry((1, 3, 300, 37), (1, 3), 9),
    Geometry((4, 12, 12, 200), (1, 1), 130),
    Geometry((2, 15, 16, 130), (1, 1), 40, strides=2),
    Geometry((2, 18, 18, 48), (3, 3), 96, padding=2, dilations=2, groups=2),
    Geometry((2, 18, 18, 12), (3, 3), 24, padding=2, dilations=2),
    # filters of one vector: pixels in pairs, or all but one
    Geometry((3, 28, 28, 1), (5, 5), 6),
    Geometry((2, 15, 17, 3), (3, 3), 5, strides=2, padding=1),
    Geometry((1, 7, 9, 20), (2, 2), 7),
]


def grad_kernel_case(geometry: Geometry) -> Case:
    fields = {**geometry.fields, "groups": geometry.groups}
    kernel = (*geometry.taps, geometry.x[3] // geometry.groups, geometry.filters)
    dy = Conv2D(**fields).infer(Spec(geometry.x), Spec(kernel)).sizes
    op = Conv2DGradKernel(kernel_size=geometry.taps, **fields)
    return Case(op, normal(geometry.x, dy), 5e-6, differentiable=False, label=geometry.label)


def winograd_grad_case(
    x: tuple[int, int, int, int], filters: int, pads: tuple[int, int, int, int]
) -> Case:
    """As far off as float32 may be where entries are small; `test_accuracy.py` is stricter."""
    N, H, W, _ = x
    dy = (N, H + pads[0] + pads[1] - 2, W + pads[2] + pads[3] - 2, filters)

    def make(rng: np.random.Generator) -> Sequence[Array]:
        return [np.maximum(rng.standard_normal(x), 0), rng.standard_normal(dy)]

    text = "x".join(map(str, x)) + f"-{filters}-{pads}".replace(" ", "")
    op = WinogradConv2DGradKernel(pads=pads)
    return Case(op, make, ALLOWED * GRAD_KERNEL, differentiable=False, label=text)


# Patches that borders cut, channels and filters around a panel, tiles of several blocks.
WINOGRAD_GRADS = [
    *WINOGRAD,
    *SHORT,
    ((2, 9, 11, 47), 31, (1, 1, 1, 1)),
    ((2, 9, 11, 49), 65, (0, 0, 0, 0)),
    ((9, 28, 30, 100), 96, (1, 1, 1, 1)),
]


def turned_cases(geometry: Geometry, depthwise: bool) -> Case:
    _, H, W, C = geometry.x
    each = C // geometry.groups
    kernel = (*geometry.taps, C, 1) if depthwise else (*geometry.taps, each, C)
    forward: Any = DepthwiseConv2D(**geometry.fields)
    op: Any = DepthwiseConv2DGradInput(input_size=(H, W), **geometry.fields)
    if not depthwise:
        forward = Conv2D(groups=geometry.groups, **geometry.fields)
        op = Conv2DGradInput(input_size=(H, W), groups=geometry.groups, **geometry.fields)
    dy = forward.infer(Spec(geometry.x), Spec(kernel)).sizes
    return Case(
        op, normal(dy, kernel), 5e-6, differentiable=False, label=f"turned-{geometry.label}"
    )


# Groups that are no part of a vector, other filters, strides, dilations.
OTHER_GROUPS = [
    Geometry((1, 7, 8, 12), (3, 3), 12, groups=4, padding=1),
    Geometry((1, 9, 9, 16), (5, 3), 16, groups=4, padding=2, strides=(1, 2), dilations=(2, 1)),
]


CASES: list[Case] = [
    *(
        Case(PackExchangedFilters(groups), normal(kernel), differentiable=False, label=f"{kernel}")
        for kernel, groups in KERNELS
    ),
    *(
        Case(
            PackExchangedFilters(1, steps),
            normal(kernel),
            differentiable=False,
            label=f"{kernel}-{steps}",
        )
        for kernel, steps in PHASES
    ),
    *(
        Case(
            TransformFilters(exchanged),
            normal(kernel),
            1e-6,
            differentiable=False,
            label=f"{kernel}-{exchanged}",
        )
        for kernel, groups in KERNELS
        if groups == 1 and kernel[0] == 3
        for exchanged in (False, True)
    ),
    *(
        winograd_train_case(*given, exchanged)
        for given in (*WINOGRAD[:-3:4], *WINOGRAD[-3:], *SHORT[::5])
        for exchanged in (False, True)
    ),
    winograd_train_case((1, 9, 14, 40), 70, (1, 1, 1, 1), False, RELU, residual=True),
    winograd_train_case((11, 28, 28, 330), 24, (1, 1, 1, 1), True),
    *(grad_input_case(geometry) for geometry in (*PACKED, *STRIDED, *APART, *FEW)),
    *(grad_input_case(geometry, True, RELU6) for geometry in (*PACKED[1::3], *STRIDED, *FEW[:2])),
    *(grad_input_case(geometry, True, RELU, True) for geometry in (*PACKED[2::3], *STRIDED)),
    *(grad_kernel_case(geometry) for geometry in BLOCKS),
    *(winograd_grad_case(*given) for given in WINOGRAD_GRADS),
    *(turned_cases(geometry, True) for geometry in DEPTHWISE_BLOCKS),
    *(turned_cases(geometry, False) for geometry in (*GROUPED_BLOCKS, *OTHER_GROUPS)),
]
