# SPDX-License-Identifier: Apache-2.0
"""Cases of batch normalization with what follows it in a training step."""

from __future__ import annotations

import math

import numpy as np

from cases.case import Array, Case, Make
from cases.conv_packed import RELU, RELU6
from cases.norm import BATCH_SHAPES, Shape
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds
from fastcnn.ops.norm_batch_fused import (
    FusedBatchNormAgain,
    FusedBatchNormGrad,
    FusedBatchNormSumGrad,
    FusedBatchNormTrain,
)


def forward(shape: Shape, residual: bool) -> Make:
    """x, gamma, beta, and a residual on demand."""

    def make(rng: np.random.Generator) -> list[Array]:
        x, vector = rng.standard_normal(shape) * 1.5 + 0.5, shape[-1:]
        inputs = [x, rng.standard_normal(vector) + 1, 2 * rng.standard_normal(vector)]
        return [*inputs, rng.standard_normal(shape)] if residual else inputs

    return make


def given(shape: Shape, block: int, residual: bool) -> Make:
    """The same with moments (blocks, 2, C) that are not those of x, about a mean far from zero."""

    def make(rng: np.random.Generator) -> list[Array]:
        blocks = -(-math.prod(shape[:-1]) // block)
        means = rng.standard_normal((blocks, 1, shape[-1])) + 5
        return [
            *forward(shape, residual)(rng),
            np.concatenate([means, block * (rng.random(means.shape) + 0.5)], 1),
        ]

    return make


def again(shape: Shape, residual: bool) -> Make:
    """x, mean, scale, offset, and a residual on demand."""

    def make(rng: np.random.Generator) -> list[Array]:
        vectors = [rng.standard_normal(shape[-1:]) for _ in range(3)]
        inputs = [rng.standard_normal(shape), *vectors]
        return [*inputs, rng.standard_normal(shape)] if residual else inputs

    return make


def backward(shape: Shape, bounds: Bounds) -> Make:
    """x is moved to where its normalized value keeps 0.01 away from the bounds."""

    def make(rng: np.random.Generator) -> list[Array]:
        dy, x, vector = rng.standard_normal(shape), rng.standard_normal(shape) * 1.5, shape[-1:]
        gamma, beta = rng.standard_normal(vector) + 3, 2 * rng.standard_normal(vector)
        mean, variance = rng.standard_normal(vector), rng.random(vector) + 0.5
        scale = gamma / np.sqrt(variance + 1e-3)
        y = (x - mean) * scale + beta
        for bound in bounds:
            if np.isfinite(bound):
                y = np.where(np.abs(y - bound) < 0.01, bound + 0.02, y)
        return [dy, (y - beta) / scale + mean, gamma, mean, variance, beta]

    return make


def backward_added(shape: Shape, bounds: Bounds) -> Make:
    """With a gradient that came another way."""

    def make(rng: np.random.Generator) -> list[Array]:
        return [*backward(shape, bounds)(rng), rng.standard_normal(shape)]

    return make


def backward_of_sum(shape: Shape, bounds: Bounds) -> Make:
    """y is any sum within the bounds, which hold at many of its elements."""

    def make(rng: np.random.Generator) -> list[Array]:
        *inputs, _ = backward(shape, bounds)(rng)
        return [*inputs, np.clip(4 * rng.standard_normal(shape), *bounds)]

    return make


def words(shape: Shape, *rest: object) -> str:
    return "-".join(["x".join(map(str, shape)), *map(str, rest)]).replace(" ", "")


CASES: list[Case] = [
    *(
        Case(
            FusedBatchNormTrain(bounds=bounds),
            forward(shape, residual),
            3e-6,
            differentiable=False,
            label=words(shape, bounds, residual),
        )
        for shape in BATCH_SHAPES
        for bounds, residual in ((RELU, False), (RELU, True), (RELU6, False), (UNBOUNDED, True))
    ),
    *(
        Case(
            FusedBatchNormTrain(bounds=bounds, block=block),
            given(shape, block, residual),
            3e-6,
            differentiable=False,
            label=words(shape, bounds, residual, block),
        )
        for shape in BATCH_SHAPES
        for bounds, residual, block in ((RELU, False, 42), (UNBOUNDED, True, 5))
    ),
    *(
        Case(
            FusedBatchNormAgain(bounds=bounds),
            again(shape, residual),
            1e-6,
            differentiable=False,
            label=words(shape, bounds, residual),
        )
        for shape in BATCH_SHAPES
        for bounds, residual in ((RELU, False), (RELU6, True), (UNBOUNDED, False))
    ),
    *(
        Case(
            FusedBatchNormGrad(bounds=bounds),
            backward(shape, bounds),
            5e-6,
            differentiable=False,
            label=words(shape, bounds),
        )
        for shape in BATCH_SHAPES
        for bounds in (RELU, RELU6)
    ),
    *(
        Case(
            FusedBatchNormGrad(bounds=RELU),
            backward_added(shape, RELU),
            5e-6,
            differentiable=False,
            label=words(shape, "added"),
        )
        for shape in BATCH_SHAPES
    ),
    *(
        Case(
            FusedBatchNormSumGrad(bounds=bounds),
            backward_of_sum(shape, bounds),
            5e-6,
            differentiable=False,
            label=words(shape, bounds),
        )
        for shape in BATCH_SHAPES
        for bounds in (RELU, RELU6)
    ),
]
