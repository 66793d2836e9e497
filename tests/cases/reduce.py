# SPDX-License-Identifier: Apache-2.0
"""Cases of the reduce family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cases.case import Array, Case, Make, distinct, normal
from fastcnn.ops.reduce import (
    Argmax,
    Broadcast,
    ReduceExtremumGrad,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
)

# Shape and axes: rows, columns, both at once, kept and reduced in turn.
LAYOUTS: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = [
    ((), None),
    ((1,), None),
    ((7,), (0,)),
    ((13, 17), (-1,)),
    ((13, 17), (0,)),
    ((3, 7, 5, 19), (1, 2)),
    ((3, 7, 5, 19), (0, 2)),
    ((3, 7, 5, 19), (1, 3)),
    ((2, 3, 1, 5), (1, 2)),
    ((2, 1, 3, 1, 2, 5), (2, 5)),
    ((1, 5, 1), (0, 2)),
    ((4, 3), ()),
    ((2, 1031, 70), (1,)),
]
# Long enough to be cut into slices.
LONG: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = [
    ((5, 33, 31, 3), (0, 1, 2)),
    ((20011,), None),
    ((3, 4097), (1,)),
    ((4099, 2, 3), (0, 2)),
    ((7, 32, 28, 6), (0, 1, 2)),
    ((1030, 10), (0,)),
    ((600, 24), (0,)),
]


def _label(shape: tuple[int, ...], axes: tuple[int, ...] | None, keepdims: bool = False) -> str:
    words = "x".join(map(str, shape)) or "scalar"
    over = "all" if axes is None else "_".join(map(str, axes)) or "none"
    return f"{words}-{over}{'-keepdims' if keepdims else ''}"


def _cases(op: Any, make: Any, tolerance: float) -> list[Case]:
    cases = []
    for shape, axes in LAYOUTS + LONG:
        for keepdims in (False, True):
            label = _label(shape, axes, keepdims)
            cases.append(Case(op(axes, keepdims), make(shape), tolerance, label=label))
    return cases


def special(*shape: int) -> Make:
    """Infinities and NaNs among normal numbers, at most one kind in a row."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        x = rng.standard_normal(shape)
        x[0, 1], x[1, 0], x[2, -1] = np.inf, -np.inf, np.nan
        return [x]

    return make


def ties(shape: tuple[int, ...], axes: tuple[int, ...] | None, fold: Any) -> Make:
    """dy, x with many equal elements, and the extrema of x."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        x = rng.integers(0, 3, shape).astype(np.float64)
        y = np.asarray(fold(x, axes))
        return [rng.standard_normal(y.shape), x, y]

    return make


def _broadcast(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool, mean: bool) -> Case:
    kept = tuple(d for i, d in enumerate(shape) if i not in axes)
    ones = tuple(1 if i in axes else d for i, d in enumerate(shape))
    label = _label(shape, axes, keepdims) + ("-mean" if mean else "")
    return Case(Broadcast(shape, axes, mean), normal(ones if keepdims else kept), 3e-7, label=label)


CASES: list[Case] = [
    *_cases(ReduceSum, normal, 2e-6),
    *_cases(ReduceMean, normal, 2e-6),
    *_cases(ReduceMax, distinct, 0.0),
    *_cases(ReduceMin, distinct, 0.0),
    # Nothing to sum, and rows of nothing to be joined.
    *(
        Case(ReduceSum(axes), normal(shape), 0.0, differentiable=False, label=_label(shape, axes))
        for shape, axes in (((2, 2, 0, 2, 0), (0, 1, 2, 3)), ((0, 0), (0,)), ((0, 3), (0,)))
    ),
    *(
        Case(op((1,)), special(4, 21), 2e-6, differentiable=False, label="special-rows")
        for op in (ReduceSum, ReduceMean, ReduceMax, ReduceMin)
    ),
    *(
        Case(op((0,)), special(4, 21), 2e-6, differentiable=False, label="special-columns")
        for op in (ReduceSum, ReduceMean, ReduceMax, ReduceMin)
    ),
    *(
        Case(
            ReduceExtremumGrad(axes),
            ties(shape, axes, fold),
            0.0,
            differentiable=False,
            label=f"{fold.__name__}-{_label(shape, axes)}",
        )
        for shape, axes in LAYOUTS[1:]
        if axes != ()
        for fold in (np.max, np.min)
    ),
    *(
        _broadcast(shape, axes, keepdims, mean)
        for shape, axes in [
            ((7,), (0,)),
            ((3, 17), (0,)),
            ((3, 17), (1,)),
            ((2, 3, 5, 19), (1, 2)),
            ((2, 3, 5, 19), (0, 2)),
            ((1, 5, 1), (0, 2)),
            ((4, 3), ()),
        ]
        for keepdims, mean in ((False, False), (True, True))
    ),
    *(
        Case(Argmax(axis), distinct(shape), differentiable=False, label=_label(shape, (axis,)))
        for shape, axis in [((1,), 0), ((13, 17), -1), ((13, 17), 0), ((3, 7, 5), 1)]
    ),
    *(
        Case(Argmax(axis), special(4, 21), differentiable=False, label=f"special-{axis}")
        for axis in (0, 1)
    ),
]
