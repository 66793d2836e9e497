# SPDX-License-Identifier: Apache-2.0
"""Cases of the update family."""

from __future__ import annotations

import dataclasses
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
# Threads' shares end inside weights and between them.
LISTS: list[list[tuple[int, ...]]] = [
    [(3,), (1500,), (), (0,), (2, 300), (17,)],
    [(1024,), (1024,), (1024,)],
]


def step_inputs(op: Update, *shapes: tuple[int, ...]) -> Make:
    """Numbers, then parameter, gradient and slots; those under a root are large enough for it."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        made: list[Any] = [np.array([0.05, 0.01])] if op.shared else []
        for shape in shapes:
            made += [rng.standard_normal(shape), rng.standard_normal(shape)]
            for slot in op.slots:
                wide = slot in ("mean_square", "v", "v_max", "accumulator")
                made.append(rng.random(shape) + 1 if wide else rng.standard_normal(shape) * 0.1)
        return made

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
    EMAUpdate(0.99),
]


def _label(op: Op, *shapes: tuple[int, ...]) -> str:
    numbers = ",".join(str(v) for v in op.attributes().values())
    return f"{numbers}-{'+'.join(map(str, shapes))}".replace(" ", "")


CASES: list[Case] = [
    *(
        Case(op, step_inputs(op, shape), differentiable=False, label=_label(op, shape))
        for op in UPDATES
        for shape in (SHAPES if op in UPDATES[::4] else SHAPES[1:2])
    ),
    *(
        Case(
            dataclasses.replace(op, weights=len(shapes)),
            step_inputs(op, *shapes),
            differentiable=False,
            label=_label(op, *shapes),
        )
        for op in UPDATES
        for shapes in (LISTS if op in UPDATES[::4] else LISTS[:1])
    ),
]
