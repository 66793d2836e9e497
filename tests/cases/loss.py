# SPDX-License-Identifier: Apache-2.0
"""Cases of the loss family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cases.case import Array, Case, Make, normal
from fastcnn.ops.loss import (
    BinaryCrossEntropy,
    BinaryCrossEntropyGrad,
    SoftmaxCrossEntropy,
    SoftmaxCrossEntropyGrad,
    SoftmaxCrossEntropyWithGrad,
    SparseSoftmaxCrossEntropy,
    SparseSoftmaxCrossEntropyGrad,
    SparseSoftmaxCrossEntropyWithGrad,
)
from fastcnn.ops.loss_softmax import LogSoftmax, LogSoftmaxGrad, Softmax, SoftmaxGrad

ROWS = [(1, 1), (5, 7), (3, 16), (2, 3, 17), (7, 10), (2, 1001)]
FLAT = [(1,), (13,), (2, 3, 17), (1500,)]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def outliers(shape: tuple[int, ...]) -> Make:
    """Normal logits of which some are far away, and one row constant."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        x = rng.standard_normal(shape)
        x[rng.random(shape) < 0.2] *= 60
        x[0] = 1000
        return [x]

    return make


def probable(shape: tuple[int, ...]) -> Make:
    """Probabilities and a gradient of them."""
    return lambda rng: [_softmax(rng.standard_normal(shape)), rng.standard_normal(shape)]


def labelled(shape: tuple[int, ...], unknown: bool = False) -> Make:
    """Logits and class numbers; `unknown` puts two that do not exist."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        labels = rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
        if unknown:
            labels.flat[:2] = (-1, shape[-1])
        return [rng.standard_normal(shape) * 2, labels]

    return make


def labelled_gradient(shape: tuple[int, ...], unknown: bool = False) -> Make:
    """Probabilities, class numbers and the gradient of the losses."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        logits, labels = labelled(shape, unknown)(rng)
        return [_softmax(logits), labels, rng.standard_normal(shape[:-1])]

    return make


def targeted(shape: tuple[int, ...]) -> Make:
    """Logits and soft targets."""
    return lambda rng: [rng.standard_normal(shape) * 2, _softmax(rng.standard_normal(shape))]


def targeted_gradient(shape: tuple[int, ...]) -> Make:
    """Probabilities, targets that do not sum to 1, and the gradient of the losses."""
    return lambda rng: [
        _softmax(rng.standard_normal(shape)),
        rng.random(shape),
        rng.standard_normal(shape[:-1]),
    ]


def with_upstream(make: Make, shape: tuple[int, ...]) -> Make:
    """What `make` makes for logits of `shape`, and the gradient of the losses."""
    return lambda rng: [*make(rng), rng.standard_normal(shape[:-1])]


def soft_yes(shape: tuple[int, ...], with_gradient: bool = False) -> Make:
    """Logits of both signs, targets in 0 to 1, and the gradient of the losses where asked."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        made = [rng.standard_normal(shape) * 8, rng.random(shape)]
        return [*made, rng.standard_normal(shape)] if with_gradient else made

    return make


def _label(*parts: object) -> str:
    return "-".join(str(p).replace(" ", "") for p in parts)


CASES: list[Case] = [
    *(Case(Softmax(), normal(s), label=_label(s)) for s in ROWS),
    Case(Softmax(), outliers((4, 19)), label="outliers"),
    *(Case(SoftmaxGrad(), probable(s), differentiable=False, label=_label(s)) for s in ROWS),
    *(Case(LogSoftmax(), normal(s), label=_label(s)) for s in ROWS),
    Case(LogSoftmax(), outliers((4, 19)), label="outliers"),
    *(Case(LogSoftmaxGrad(), normal(s, s), differentiable=False, label=_label(s)) for s in ROWS),
    *(
        Case(SparseSoftmaxCrossEntropy(s), labelled(rows), outputs=(0,), label=_label(rows, s))
        for rows in ROWS
        for s in (0.0, 0.1)
    ),
    Case(
        SparseSoftmaxCrossEntropy(0.1),
        labelled((5, 7), True),
        differentiable=False,
        label="unknown",
    ),
    *(
        Case(
            SparseSoftmaxCrossEntropyGrad(0.1),
            labelled_gradient(rows, rows[0] == 5),
            2e-6,
            False,
            label=_label(rows),
        )
        for rows in ROWS
    ),
    *(
        Case(SoftmaxCrossEntropy(s), targeted(rows), outputs=(0,), label=_label(rows, s))
        for rows in ROWS
        for s in (0.0, 0.1)
    ),
    *(
        Case(SoftmaxCrossEntropyGrad(0.1), targeted_gradient(rows), 2e-6, False, label=_label(rows))
        for rows in ROWS
    ),
    *(
        Case(
            SparseSoftmaxCrossEntropyWithGrad(s),
            with_upstream(labelled(rows, rows[0] == 5 and s > 0), rows),
            differentiable=False,
            label=_label(rows, s),
        )
        for rows in ROWS
        for s in (0.0, 0.1)
    ),
    *(
        Case(
            SoftmaxCrossEntropyWithGrad(s),
            with_upstream(targeted(rows), rows),
            differentiable=False,
            label=_label(rows, s),
        )
        for rows in ROWS
        for s in (0.0, 0.1)
    ),
    *(Case(BinaryCrossEntropy(), soft_yes(s), label=_label(s)) for s in FLAT),
    *(
        Case(BinaryCrossEntropyGrad(), soft_yes(s, True), 2e-6, False, label=_label(s))
        for s in FLAT
    ),
]
