# SPDX-License-Identifier: Apache-2.0
"""Cases of the elementwise family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cases import elementwise_binary, elementwise_unary
from cases.case import Array, Case, Make, normal
from fastcnn.ops.elementwise import Cast, CheckFinite, Identity, OneHot
from fastcnn.ops.elementwise_dropout import Dropout


def integers(dtype: str, low: int, high: int, *shape: int) -> Make:
    """Integers of `dtype` in [low, high)."""
    return lambda rng: [rng.integers(low, high, shape).astype(dtype)]


def with_rng(*shape: int, of: Any = None) -> Make:
    """x, and a seed and step that fill their words."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        x = rng.standard_normal(shape) if of is None else np.resize(of, shape)
        return [x, rng.integers(0, 1 << 32, 4).astype(np.uint32)]

    return make


CASES: list[Case] = [
    Case(Identity(), normal((3, 7, 5)), 0.0),
    Case(CheckFinite(), normal((13,)), differentiable=False),
    Case(Cast(), normal((3, 17)), 0.0, differentiable=False, label="float32"),
    Case(Cast("float64"), normal((3, 17)), 0.0, kernel=False, label="float64"),
    *(
        Case(Cast(), integers(dtype, low, high, 5, 331), 0.0, differentiable=False, label=dtype)
        for dtype, low, high in [
            ("uint8", 0, 256),
            ("int32", -(10**6), 10**6),
            ("uint32", 0, 10**6),
            ("int64", -(10**6), 10**6),
        ]
    ),
    *(
        Case(OneHot(n), integers(dtype, low, n + 1, *shape), 0.0, False, label=f"{dtype}-{n}")
        for dtype, low, n, shape in [
            ("int32", -1, 10, (3, 5)),
            ("int64", -1, 1, (7,)),
            ("uint8", 0, 33, (65,)),
            ("uint32", 0, 4, ()),
        ]
    ),
    *(
        Case(Dropout(0.4, salt=n), with_rng(n), 1e-7, label=str(n))
        for n in (1, 7, 63, 65, 1023, 5000)
    ),
    Case(Dropout(0.25, 1 << 31), with_rng(3, 5, 7, 19), 1e-7, label="nhwc"),
    Case(Dropout(0.0), with_rng(99), 0.0, label="none"),
    Case(Dropout(1.0), with_rng(99), 0.0, differentiable=False, label="all"),
    Case(Dropout(0.5, 3, (1, 2)), with_rng(3, 5, 7, 19), 1e-7, label="spatial"),
    Case(Dropout(0.5, 3, (0, 3)), with_rng(3, 5, 7, 19), 1e-7, label="pixels"),
    Case(
        Dropout(0.5),
        with_rng(64, of=[np.nan, np.inf, 1.0]),
        0.0,
        differentiable=False,
        label="special",
    ),
    *elementwise_unary.CASES,
    *elementwise_binary.CASES,
]
