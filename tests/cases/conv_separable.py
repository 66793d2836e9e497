# SPDX-License-Identifier: Apache-2.0
"""Cases of a depthwise convolution with the 1x1 convolutions around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cases.case import Array, Case
from cases.conv_packed import RELU6
from fastcnn.graph import Spec
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds, PackFilters
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.ops.geometry import Padding, normalize_padding


def separable_case(
    x: tuple[int, int, int, int],
    channels: int,
    filters: int,
    size: int = 3,
    strides: int = 1,
    padding: object = "same",
    dilations: int = 1,
    bounds: Bounds = UNBOUNDED,
    residual: bool = False,
) -> Case:
    """`channels` in between, or 0 where no convolution stands in front."""
    pads: Padding = normalize_padding(padding)
    op = FusedSeparableConv2D(
        filters=filters,
        expands=channels > 0,
        expand_bounds=bounds,
        depthwise_bounds=bounds,
        bounds=bounds,
        strides=(strides, strides),
        padding=pads,
        dilations=(dilations, dilations),
    )
    E = channels or x[3]

    def make(rng: np.random.Generator) -> Sequence[Array]:
        def panels(C: int, K: int) -> Array:
            return PackFilters().reference(rng.standard_normal((1, 1, C, K)) / C**0.5)

        inputs = [rng.standard_normal(x), rng.standard_normal((size, size, E, 1)) / size]
        inputs += [rng.standard_normal(E), panels(E, filters), rng.standard_normal(filters)]
        if channels:
            inputs += [panels(x[3], E), rng.standard_normal(E)]
        if residual:
            inputs.append(rng.standard_normal(op.infer(*(Spec(a.shape) for a in inputs)).sizes))
        return inputs

    rest = f"{'relu6' * (bounds != UNBOUNDED)}{'sum' * residual}"
    label = f"{x}-{channels}-{filters}-{size}s{strides}{padding}d{dilations}{rest}"
    return Case(op, make, 5e-6, differentiable=False, label=label.replace(" ", ""))


# One strip and several, one row and more than a strip has, channels around a vector, a panel and a
# group of each instruction set, every compiled filter and others, all paddings.
CASES: list[Case] = [
    *(
        separable_case((2, size, 2 * size - 1, 5), c, 7, r, stride)
        for r, stride in ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2))
        for size, c in ((1, 3), (7, 16), (8, 37), (15, 0), (14, 33))
    ),
    *(separable_case((1, 5, 6, c), e, 18) for c in (1, 8, 40) for e in (0, 15, 17, 31, 32, 65)),
    separable_case((2, 56, 56, 24), 144, 24, bounds=RELU6, residual=True),
    separable_case((3, 57, 55, 16), 96, 24, strides=2, bounds=RELU6),
    separable_case((1, 64, 60, 64), 0, 130, bounds=RELU6),
    separable_case((2, 14, 14, 64), 384, 64, residual=True),
    separable_case((1, 30, 30, 128), 0, 128, strides=2, padding="valid"),
    separable_case((1, 30, 31, 40), 80, 24, strides=2, padding=((0, 1), (0, 1))),
    separable_case((2, 40, 41, 20), 70, 24, dilations=2, padding=2),
    separable_case((2, 40, 41, 20), 70, 24, size=2, strides=3, padding=1),
    separable_case((1, 33, 20, 64), 200, 24, size=1, strides=2, padding=0),
]
