# SPDX-License-Identifier: Apache-2.0
"""Cases of the update family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cases.case import Array, Case, Make
from fastcnn.graph import Op
from fastcnn.ops.update import (
    AdagradUpdate,
    AdamUpdate,
    EMAUpdate,
    MomentumUpdate,
    RMSpropUpdate,
    SGDUpdate,
    Update,
)

SHAPES: list[tuple[int, ...]] = [(1,), (13,), (3, 3, 7), (2049,)]


def step_inputs(op: Update, shape: tuple[int, ...]) -> Make:
    """Parameter, gradient, numbers and slots; those under a root are large enough for it."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        slots: list[Any] = []
        for slot in op.slots:
            wide = slot in ("mean_square", "v", "v_max", "accumulator")
            slots.append(rng.random(shape) + 1 if wide else rng.standard_normal(shape) * 0.1)
        numbers = np.array([0.05, 0.01])
        return [rng.standard_normal(shape), rng.standard_normal(shape), numbers, *slots]

    return make


UPDATES: list[Update] = [
    SGDUpdate(),
    SGDUpdate(decay=True),
    MomentumUpdate(0.9),
    MomentumUpdate(0.9, nesterov=True, decay=True),
    RMSpropUpdate(0.9),
    RMSpropUpdate(0.9, centered=True),
    RMSpropUpdate(0.9, momentum=0.5),
    RMSpropUpdate(0.9, momentum=0.5, centered=True, decay=True),
    AdamUpdate(),
    AdamUpdate(decay=True),
    AdamUpdate(amsgrad=True),
    AdagradUpdate(),
    AdagradUpdate(decay=True),
]


def _label(op: Op, shape: tuple[int, ...]) -> str:
    numbers = ",".join(str(v) for v in op.attributes().values())
    return f"{numbers}-{shape}".replace(" ", "")


CASES: list[Case] = [
    *(
        Case(op, step_inputs(op, shape), differentiable=False, label=_label(op, shape))
        for op in UPDATES
        for shape in (SHAPES if op in UPDATES[::4] else SHAPES[1:2])
    ),
    *(
        Case(
            EMAUpdate(0.99),
            lambda rng, shape=shape: [rng.standard_normal(shape), rng.standard_normal(shape)],
            differentiable=False,
            label=str(shape),
        )
        for shape in SHAPES
    ),
]
