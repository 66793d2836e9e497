# SPDX-License-Identifier: Apache-2.0
"""Cases of the pool family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cases.case import Array, Case, Make, distinct, normal
from fastcnn.graph import Spec
from fastcnn.ops.geometry import normalize_padding
from fastcnn.ops.pool_adaptive import (
    AdaptiveAvgPool2D,
    AdaptiveAvgPool2DGrad,
    AdaptiveMaxPool2D,
    AdaptiveMaxPool2DGrad,
)
from fastcnn.ops.pool_average import AvgPool2D, AvgPool2DGrad
from fastcnn.ops.pool_max import (
    MaxPool2D,
    MaxPool2DGrad,
    MaxPool2DValues,
    MaxUnpool2D,
    MaxUnpool2DGrad,
    WindowToFlat,
)
from fastcnn.ops.pool_window import Pair

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Geometry:
    """An input and a window over it."""

    shape: Shape
    pool: Pair
    strides: Pair
    padding: Any = "valid"
    ceil: bool = False

    @property
    def label(self) -> str:
        """Unique among the geometries."""
        numbers = [*self.shape, *self.pool, *self.strides]
        return f"{'-'.join(map(str, numbers))}-{self.padding}{'-ceil' * self.ceil}"


GEOMETRIES = [
    Geometry((1, 5, 5, 1), (3, 3), (1, 1)),
    Geometry((2, 8, 8, 16), (2, 2), (2, 2)),
    Geometry((2, 7, 7, 17), (3, 3), (2, 2), 1),
    Geometry((1, 13, 7, 15), (3, 2), (2, 3), "same"),
    Geometry((1, 6, 7, 7), (3, 3), (2, 2), "same_lower"),
    Geometry((1, 7, 8, 13), (3, 3), (2, 2), "valid", True),
    Geometry((1, 8, 9, 3), (2, 3), (3, 3), ((1, 0), (0, 2)), True),
    Geometry((2, 2, 2, 5), (3, 3), (2, 2), "valid", True),
    Geometry((1, 1, 13, 33), (1, 3), (1, 2), "same"),
    Geometry((3, 4, 4, 2), (1, 1), (3, 2)),
    Geometry((1, 20, 19, 3), (17, 18), (2, 1)),
    Geometry((2, 1, 1, 64), (1, 1), (1, 1)),
    # windows that tile the input, or leave a rest
    Geometry((3, 28, 28, 6), (2, 2), (2, 2)),
    Geometry((2, 7, 9, 3), (2, 2), (2, 2)),
    Geometry((2, 6, 5, 18), (2, 2), (2, 2)),
    Geometry((2, 7, 11, 1), (3, 2), (3, 2)),
    # channels of several vectors at once, of single ones and of a part
    Geometry((2, 5, 6, 64), (3, 3), (1, 1), "same"),
    Geometry((1, 8, 9, 75), (3, 3), (2, 2), "valid", True),
    Geometry((2, 5, 7, 91), (2, 3), (1, 2), ((1, 0), (0, 2))),
    Geometry((1, 8, 7, 40), (2, 2), (3, 3)),
    Geometry((1, 7, 7, 33), (5, 5), (1, 1), "same"),
    Geometry((1, 19, 20, 35), (17, 18), (1, 2), "same"),
    Geometry((1, 6, 6, 8), (2, 2), (2, 2)),
    Geometry((1, 5, 6, 9), (3, 3), (3, 3), 1),
]
# Input and output size.
ADAPTIVE = [
    ((2, 7, 7, 16), (7, 7)),
    ((1, 7, 5, 13), (3, 2)),
    ((2, 13, 8, 3), (5, 4)),
    ((1, 3, 2, 17), (5, 3)),
    ((2, 6, 6, 7), (1, 1)),
    ((1, 7, 5, 75), (3, 4)),
]


def max_pool_of(g: Geometry) -> MaxPool2D:
    return MaxPool2D(g.pool, g.strides, normalize_padding(g.padding), g.ceil)


def values_of(op: MaxPool2D) -> MaxPool2DValues:
    return MaxPool2DValues(op.pool_size, op.strides, op.padding, op.ceil_mode)


def repeated(shape: Shape, specials: bool = False) -> Make:
    """Few distinct values, so that most windows have ties; some NaN and infinities on demand."""

    def make(rng: np.random.Generator) -> list[Array]:
        x = rng.integers(-2, 3, shape).astype(np.float64)
        if specials:
            for value in (np.nan, -np.inf, np.inf):
                x[rng.random(shape) < 0.15] = value
        return [x]

    return make


def winners(op: MaxPool2D | AdaptiveMaxPool2D, shape: Shape, with_dy: bool = True) -> Make:
    """dy and the index of a pooling of ties."""

    def make(rng: np.random.Generator) -> list[Array]:
        y, index = op.reference(*repeated(shape)(rng))
        return [rng.standard_normal(y.shape), index] if with_dy else [index]

    return make


def sliding_cases(g: Geometry) -> list[Case]:
    op, spec = max_pool_of(g), Spec(g.shape, "float64")
    size, pads = g.shape[1:3], op.pads(spec)
    cases = [
        Case(op, distinct(g.shape), 0.0, label=g.label),
        Case(op, repeated(g.shape, True), 0.0, False, label=f"ties-{g.label}"),
        Case(values_of(op), repeated(g.shape, True), 0.0, False, label=g.label),
        Case(
            MaxPool2DGrad(size, g.pool, g.strides, pads),
            winners(op, g.shape),
            2e-6,
            False,
            label=g.label,
        ),
        Case(
            WindowToFlat(size[1], g.pool, g.strides, pads),
            winners(op, g.shape, False),
            0.0,
            False,
            label=g.label,
        ),
    ]
    for padded in (False, True):
        label = f"{g.label}{'-padded' * padded}"
        average = AvgPool2D(g.pool, g.strides, op.padding, g.ceil, padded)
        grad = AvgPool2DGrad(size, g.pool, g.strides, pads, padded)
        cases += [
            Case(average, normal(g.shape), label=label),
            Case(grad, normal(average.output_spec(spec).sizes), differentiable=False, label=label),
        ]
    return cases


def adaptive_cases(shape: Shape, out: Pair) -> list[Case]:
    label = "-".join(map(str, (*shape, *out)))
    size, small = shape[1:3], (shape[0], *out, shape[3])
    largest = AdaptiveMaxPool2D(out)
    return [
        Case(AdaptiveAvgPool2D(out), normal(shape), label=label),
        Case(AdaptiveAvgPool2DGrad(size), normal(small), differentiable=False, label=label),
        Case(largest, distinct(shape), 0.0, label=label),
        Case(largest, repeated(shape, True), 0.0, False, label=f"ties-{label}"),
        Case(AdaptiveMaxPool2DGrad(size), winners(largest, shape), 2e-6, False, label=label),
    ]


def unpool_cases(small: Shape, large: Pair) -> list[Case]:
    """Positions at random collide, and a few lie outside of the plane."""
    label = "-".join(map(str, (*small, *large)))
    plane = (small[0], *large, small[3])

    def positions(rng: np.random.Generator) -> Array:
        return rng.integers(-1, large[0] * large[1] + 1, small).astype(np.int32)

    return [
        Case(
            MaxUnpool2D(large),
            lambda rng: [rng.standard_normal(small), positions(rng)],
            0.0,
            label=label,
        ),
        Case(
            MaxUnpool2DGrad(),
            lambda rng: [rng.standard_normal(plane), positions(rng)],
            0.0,
            False,
            label=label,
        ),
    ]


CASES: list[Case] = [
    *(case for g in GEOMETRIES for case in sliding_cases(g)),
    *(case for shape, out in ADAPTIVE for case in adaptive_cases(shape, out)),
    *unpool_cases((2, 2, 3, 5), (4, 6)),
    *unpool_cases((1, 5, 4, 33), (3, 3)),
]
