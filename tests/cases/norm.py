# SPDX-License-Identifier: Apache-2.0
"""Cases of the norm family."""

from __future__ import annotations

import numpy as np

from cases.case import Array, Case, Make, normal
from fastcnn.ops.norm_batch import (
    BatchNormGrad,
    BatchNormInference,
    BatchNormInferenceGrad,
    BatchNormTrain,
)
from fastcnn.ops.norm_group import GroupNorm, GroupNormGrad, LayerNorm, LayerNormGrad
from fastcnn.ops.norm_local import LocalResponseNorm, LocalResponseNormGrad

Shape = tuple[int, ...]

# Rows around one, two and several blocks of 64, so that merging meets whole and partial blocks.
BATCH_SHAPES: list[Shape] = [
    (2, 1),
    (7, 13),
    (64, 16),
    (65, 17),
    (2, 3, 1, 5),
    (3, 7, 7, 33),
    (5, 13, 11, 3),
    (1, 450, 8),
    (2, 300),
]
# Shape and groups.
GROUP_SHAPES: list[tuple[Shape, int]] = [
    ((2, 4), 2),
    ((3, 5, 6), 1),
    ((2, 7, 7, 12), 3),
    ((1, 13, 5, 17), 17),
    ((2, 9, 15, 34), 2),
    ((2, 1, 1, 300), 4),
]
# Shape and number of trailing axes.
LAYER_SHAPES: list[tuple[Shape, int]] = [
    ((3, 7), 1),
    ((2, 5, 16), 1),
    ((2, 3, 17), 2),
    ((70, 33), 1),
    ((2, 13, 7, 9), 3),
    ((600,), 1),
    ((3, 1), 1),
]
LOCAL = [((2, 3), 5), ((2, 3, 3, 7), 5), ((3, 16), 4), ((2, 5, 33), 3), ((13, 17), 1), ((2, 6), 9)]


def forward(shape: Shape, vector: Shape, offset: float = 0.5) -> Make:
    """x, gamma, beta."""

    def make(rng: np.random.Generator) -> list[Array]:
        x = rng.standard_normal(shape) * 1.5 + offset
        return [x, rng.standard_normal(vector) + 1, rng.standard_normal(vector)]

    return make


def inference(shape: Shape) -> Make:
    """x, gamma, beta, mean, variance."""

    def make(rng: np.random.Generator) -> list[Array]:
        channels = shape[-1:]
        x, gamma, beta = forward(shape, channels)(rng)
        return [x, gamma, beta, rng.standard_normal(channels), rng.random(channels) + 0.3]

    return make


def backward(shape: Shape, vector: Shape, statistic: Shape) -> Make:
    """dy, x, gamma, mean, and a variance or reciprocal deviation."""

    def make(rng: np.random.Generator) -> list[Array]:
        x, gamma, _ = forward(shape, vector)(rng)
        spread = rng.random(statistic) + 0.5
        return [rng.standard_normal(shape), x, gamma, rng.standard_normal(statistic), spread]

    return make


def words(*numbers: object) -> str:
    """A label of shapes and numbers."""
    return "-".join("x".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in numbers)


def batch_cases() -> list[Case]:
    cases = [
        Case(BatchNormTrain(), forward((3, 50, 4), (4,), 1e4), 1e-5, False, label="offset"),
        Case(BatchNormTrain(1e-5), normal((1, 5), (5,), (5,)), 1e-5, outputs=(0,), label="one-row"),
    ]
    for s in BATCH_SHAPES:
        c = s[-1:]
        cases += [
            Case(BatchNormTrain(), forward(s, c), 3e-6, outputs=(0,), label=words(s)),
            Case(BatchNormGrad(), backward(s, c, c), 3e-6, False, label=words(s)),
            Case(BatchNormInference(), inference(s), 3e-6, label=words(s)),
            Case(BatchNormInferenceGrad(), backward(s, c, c), 3e-6, False, label=words(s)),
        ]
    return cases


def sample_cases() -> list[Case]:
    cases = [
        Case(GroupNorm(2), forward((2, 50, 4), (4,), 1e4), 1e-5, False, label="offset"),
        Case(LayerNorm(), forward((7, 50), (50,), 1e4), 1e-5, False, label="offset"),
    ]
    for s, groups in GROUP_SHAPES:
        c, label = s[-1:], words(s, groups)
        statistic = (s[0], groups)
        cases += [
            Case(GroupNorm(groups), forward(s, c), 3e-6, outputs=(0,), label=label),
            Case(GroupNormGrad(), backward(s, c, statistic), 3e-6, False, label=label),
        ]
    for s, rank in LAYER_SHAPES:
        split, label = len(s) - rank, words(s, rank)
        cases += [
            Case(LayerNorm(rank), forward(s, s[split:]), 3e-6, outputs=(0,), label=label),
            Case(LayerNormGrad(), backward(s, s[split:], s[:split]), 3e-6, False, label=label),
        ]
    return cases


def local_cases() -> list[Case]:
    strong = {"alpha": 2.0, "beta": 0.75, "k": 1.5}
    cases = [Case(LocalResponseNorm(), normal((3, 3, 13)), 3e-6, label="defaults")]
    for s, size in LOCAL:
        label = words(s, size)
        cases += [
            Case(LocalResponseNorm(size, **strong), normal(s), 3e-6, label=label),
            Case(LocalResponseNormGrad(size, **strong), normal(s, s), 3e-6, False, label=label),
        ]
    return cases


CASES: list[Case] = [*batch_cases(), *sample_cases(), *local_cases()]
