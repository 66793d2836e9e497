# SPDX-License-Identifier: Apache-2.0
"""Cases of the elementwise family."""

from __future__ import annotations

from cases import elementwise_binary
from cases.case import Case, away_from, normal

from fastcnn.ops.elementwise import CheckFinite, Identity, ReLU

CASES: list[Case] = [
    Case(Identity(), normal((3, 7, 5)), 0.0),
    Case(CheckFinite(), normal((13,)), differentiable=False),
    *(Case(ReLU(), away_from([0], (n,)), 0.0, label=str(n)) for n in (1, 7, 13, 16, 17, 2049)),
    *elementwise_binary.CASES,
]
