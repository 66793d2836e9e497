# SPDX-License-Identifier: Apache-2.0
"""Cases of the functions of one tensor: activations, mathematics and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from cases.case import Array, Case, Make, away_from
from fastcnn.ops.elementwise_activations import (
    BoundedReLU,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    ScaledTanh,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)
from fastcnn.ops.elementwise_unary import (
    Abs,
    Ceil,
    Clip,
    Differentiable,
    Erf,
    Exp,
    Floor,
    Log,
    Negative,
    Power,
    Reciprocal,
    Round,
    Rsqrt,
    Sign,
    Sqrt,
    Square,
    Unary,
    gradient_op,
)

# Function, its kinks, tolerance of value and of slope.
SMOOTH_OR_NOT: list[tuple[Differentiable, Sequence[float], float, float]] = [
    (ReLU(), [0], 0.0, 0.0),
    (ReLU6(), [0, 6], 0.0, 0.0),
    (LeakyReLU(), [0], 1e-7, 1e-7),
    (LeakyReLU(0.01), [0], 1e-7, 1e-7),
    (BoundedReLU(0.1, 2.0, 0.5), [0.5, 2], 2e-7, 1e-7),
    (BoundedReLU(0.0, math.inf, -1.0), [-1], 1e-7, 1e-7),
    (Elu(), [0], 2e-7, 2e-7),
    (Elu(0.3), [0], 2e-7, 2e-7),
    (Selu(), [0], 3e-7, 2e-7),
    (Sigmoid(), [], 3e-7, 3e-7),
    (HardSigmoid(), [-3, 3], 2e-7, 1e-7),
    (Tanh(), [], 2e-7, 2e-7),
    (ScaledTanh(), [], 2e-7, 3e-7),
    (Softplus(), [], 2e-7, 3e-7),
    (Softsign(), [], 2e-7, 3e-7),
    (Silu(), [], 3e-7, 5e-7),
    (HardSwish(), [-3, 3], 2e-7, 2e-7),
    (Mish(), [], 3e-7, 5e-7),
    (Gelu(), [], 3e-7, 5e-7),
    (Gelu(True), [], 5e-7, 8e-7),
    (Abs(), [0], 0.0, 0.0),
    (Square(), [], 1e-7, 1e-7),
    (Erf(), [], 4e-7, 4e-7),
    (Clip(-1.5, 0.75), [-1.5, 0.75], 0.0, 0.0),
    (Power(3.0), [], 2e-7, 2e-7),
]
POSITIVE: list[tuple[Differentiable, float, float]] = [
    (Sqrt(), 1e-7, 2e-7),
    (Rsqrt(), 2e-7, 3e-7),
    (Reciprocal(), 1e-7, 2e-7),
    (Log(), 2e-7, 1e-7),
    (Power(1.7), 2e-6, 2e-6),
    (Power(-0.3), 2e-6, 2e-6),
    (Power(-2.0), 3e-7, 4e-7),
    (Power(0.0), 0.0, 0.0),
]
SIZES = (1, 7, 15, 17, 2049)


def positive(*shape: int) -> Make:
    """One input in [0.1, 5.1)."""
    return lambda rng: [rng.random(shape) * 5 + 0.1]


def edges(rng: np.random.Generator) -> Sequence[Array]:
    """NaN, infinities, zero, kinks of the piecewise functions, and magnitudes up to 1e30."""
    sizes = [0.5, 3.0, 6.0, 20.0, 87.0, 88.0, 89.0, 103.0, 1e4, 1e30]
    return [np.array([np.nan, np.inf, -np.inf, 0.0, *sizes, *(-s for s in sizes)])]


def small(rng: np.random.Generator) -> Sequence[Array]:
    """Magnitudes from 1e-8 to 1e-2 only: cancellation near 0 would show."""
    return [rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-8, -2, 300)]


def _words(op: Unary, extra: object) -> str:
    numbers = [str(getattr(op, f.name)) for f in fields(op)]  # type: ignore[arg-type]
    return "-".join([*numbers, str(extra)])


def _pair(
    op: Differentiable,
    make: Make,
    value: float,
    slope: float,
    label: object,
    elementwise: bool = False,
) -> list[Case]:
    """The function, not checked for its gradient, and its gradient op on the same x."""

    def make_gradient(rng: np.random.Generator) -> Sequence[Array]:
        (x,) = make(rng)
        with np.errstate(all="ignore"):
            known = x if op.slope_of == "x" else op.reference(x)
        return [rng.standard_normal(x.shape), known]

    words = _words(op, label)
    gradient = gradient_op(type(op))(op)
    # A slope told by y cancels where y has saturated: right to float32's last digit of 1 there.
    alone = elementwise and op.slope_of == "x"
    return [
        Case(op, make, value, False, label=words, elementwise=elementwise),
        Case(gradient, make_gradient, slope, False, label=words, elementwise=alone),
    ]


def _cases_of(
    op: Differentiable, make: Make, large: Make, value: float, slope: float
) -> list[Case]:
    return [
        Case(op, make, value, label=_words(op, "")),
        *_pair(op, large, value, slope, SIZES[-1]),
    ]


def learned(*alpha: int) -> Make:
    """(N, H, W, C) away from 0, and alpha."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        return [*away_from([0], (2, 5, 3, 19))(rng), rng.standard_normal(alpha) * 0.3]

    return make


CASES: list[Case] = [
    *(
        case
        for op, kinks, value, slope in SMOOTH_OR_NOT
        for case in (
            *_cases_of(op, away_from(kinks, (5, 7)), away_from(kinks, (2049,)), value, slope),
            *_pair(op, edges, 4e-6, 4e-6, "edges", True),
            *_pair(op, small, 4e-7, 6e-7, "small", True),
        )
    ),
    *(
        case
        for op, value, slope in POSITIVE
        for case in _cases_of(op, positive(5, 7), positive(2049), value, slope)
    ),
    *(
        case
        for op in (Sqrt(), Rsqrt(), Reciprocal(), Log(), Exp())
        for case in _pair(op, edges, 4e-7, 4e-7, "edges", True)
    ),
    *_cases_of(Exp(), away_from([], (5, 7), 1.0), away_from([], (2049,)), 3e-7, 1e-7),
    *(case for n in SIZES for case in _pair(ReLU(), away_from([0], (n,)), 0.0, 0.0, f"size-{n}")),
    *(case for n in SIZES for case in _pair(Gelu(), away_from([], (n,)), 3e-7, 5e-7, f"size-{n}")),
    *(Case(Negative(), away_from([], (n,)), 0.0, label=str(n)) for n in (1, 17, 1500)),
    *(
        Case(op, make, 0.0, differentiable=False, label=label)
        for op in (Sign(), Floor(), Ceil(), Round())
        for make, label in ((away_from([], (33,)), "33"), (edges, "edges"))
    ),
    *(
        Case(PReLU(), learned(*alpha), 1e-7, label="x".join(map(str, alpha)))
        for alpha in [(19,), (1, 1, 19), (5, 3, 19), (1,), (5, 1, 1)]
    ),
]
