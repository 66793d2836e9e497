# SPDX-License-Identifier: Apache-2.0
"""One case: an op, inputs that reach its branches, and how far a float32 kernel may be off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn.graph import Op

Array = np.ndarray[Any, Any]
Make = Callable[[np.random.Generator], Sequence[Array]]


@dataclass(frozen=True)
class Case:
    """Inputs are made in float64 (integers as they are); kernels get them as float32.

    Attributes:
        op: the op under test.
        make: inputs from a generator; values stay away from kinks where `differentiable`.
        tolerance: allowed |kernel - reference| / (|reference| + scale), where scale is the largest
            |reference| of the output (float32's own error grows with the longest sum), or 0 where
            `elementwise`.
        differentiable: check the op's gradient against finite differences.
        outputs: float outputs that carry gradient (all when None); the others are by-products.
        elementwise: hold every element to the tolerance by its own size alone.
        kernel: False for forms that only references serve, such as a cast to float64.
        label: distinguishes cases of one op.
    """

    op: Op
    make: Make
    tolerance: float = 2e-6
    differentiable: bool = True
    outputs: tuple[int, ...] | None = None
    elementwise: bool = False
    kernel: bool = True
    label: str = ""

    @property
    def id(self) -> str:
        """Name shown by pytest."""
        return f"{self.op.name}-{self.label}" if self.label else self.op.name


def normal(*shapes: tuple[int, ...]) -> Make:
    """Standard normal float inputs of the given shapes."""
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def away_from(kinks: Sequence[float], shape: tuple[int, ...], scale: float = 3.0) -> Make:
    """One normal input whose values keep 0.05 away from `kinks`."""

    def make(rng: np.random.Generator) -> list[Array]:
        x = rng.standard_normal(shape) * scale
        for kink in kinks:
            near = np.abs(x - kink) < 0.05
            x[near] = kink + 0.05 + rng.random(int(near.sum()))
        return [x]

    return make


def distinct(shape: tuple[int, ...]) -> Make:
    """One input of distinct values at least 0.1 apart in random order: maxima are unique."""

    def make(rng: np.random.Generator) -> list[Array]:
        count = int(np.prod(shape))
        return [(rng.permutation(count).reshape(shape) - count / 2) * 0.1]

    return make
