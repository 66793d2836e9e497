# SPDX-License-Identifier: Apache-2.0
"""Cases of the elementwise operations of two and three tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cases.case import Array, Case, Make
from fastcnn.ops.elementwise_binary import (
    Add,
    Divide,
    Equal,
    Greater,
    GreaterEqual,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    Where,
)

PAIRS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((1,), (1,)),
    ((7,), (7,)),
    ((17,), ()),
    ((), (15,)),
    ((3, 5, 700), (3, 5, 700)),  # several pieces of a joined row
    ((2, 3, 5, 19), (19,)),  # bias
    ((1, 19), (2, 3, 5, 19)),
    ((2, 3, 5, 19), (2, 1, 1, 19)),  # squeeze and excitation
    ((2, 3, 5, 19), (2, 3, 5, 1)),
    ((2, 1, 3), (1, 5, 1)),
    ((2, 1, 3, 1, 5, 1), (1, 2, 1, 2, 1, 3)),
]


def _label(*shapes: tuple[int, ...]) -> str:
    return "-".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def apart(a: tuple[int, ...], b: tuple[int, ...]) -> Make:
    """Two inputs whose elements differ by 0.05 at least, however they meet; none is near 0."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        x = rng.integers(-9, 9, a) + 0.6
        y = rng.integers(-9, 9, b) + 0.4
        return [x + rng.random(a) * 0.1, y - rng.random(b) * 0.1]

    return make


def choosing(mask: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> Make:
    """A mask of -1 and 1, and two inputs."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        return [rng.choice([-1.0, 1.0], mask), rng.standard_normal(a), rng.standard_normal(b)]

    return make


def special(rng: np.random.Generator) -> Sequence[Array]:
    """All pairs of NaN, infinities, zero and numbers; some equal."""
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -2.5])
    return [np.repeat(values, len(values)), np.tile(values, len(values))]


CASES: list[Case] = [
    *(Case(op(), apart(a, b), 2e-7, label=_label(a, b))
      for op in (Add, Subtract, Multiply, Divide, Maximum, Minimum) for a, b in PAIRS),
    *(Case(op(), apart(a, b), 0.0, differentiable=False, label=_label(a, b))
      for op in (Equal, Greater, GreaterEqual) for a, b in PAIRS[:6]),
    *(Case(op(), special, 1e-7, differentiable=False, label="special")
      for op in (Add, Subtract, Multiply, Divide, Maximum, Minimum, Equal, Greater, GreaterEqual)),
    *(Case(Where(), choosing(*shapes), 0.0, label=_label(*shapes))
      for shapes in [
          ((7,),) * 3, ((2, 3, 17),) * 3, ((3, 1), (2, 1, 17), (17,)), ((5, 1), (5, 9), ()),
      ]),
]  # fmt: skip
