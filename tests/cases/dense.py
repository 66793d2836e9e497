# SPDX-License-Identifier: Apache-2.0
"""Cases of the dense family."""

from __future__ import annotations

from cases.case import Case, normal
from fastcnn.ops.dense import MatMul

# (M, D, N): around a tile's rows, a vector and two of them, and one block of depth
SIZES = [
    (1, 1, 1),
    (1, 13, 7),
    (7, 1, 17),
    (3, 5, 33),
    (8, 7, 16),
    (9, 17, 31),
    (13, 300, 32),
    (65, 9, 15),
    (17, 257, 65),
    (300, 6, 3),
    (4, 700, 5),
    # few rows, few deep, few rows of long sums
    (5, 40, 300),
    (32, 17, 257),
    (70, 20, 90),
    (7, 800, 15),
]
TRANSPOSES = [(False, False), (True, False), (False, True), (True, True)]


def product(size: tuple[int, int, int], a: bool, b: bool, batch: tuple[int, ...] = ()) -> Case:
    M, D, N = size
    left = (*batch, D, M) if a else (*batch, M, D)
    right = (*batch, N, D) if b else (*batch, D, N)
    words = ["x".join(map(str, (*batch, *size))), "ta" if a else "", "tb" if b else ""]
    label = "-".join(word for word in words if word)
    return Case(MatMul(a, b), normal(left, right), 5e-6, label=label)


CASES: list[Case] = [
    *(product(size, a, b) for size in SIZES for a, b in TRANSPOSES),
    *(product((5, 6, 17), a, b, batch=(2, 3)) for a, b in TRANSPOSES),
    Case(MatMul(), normal((2, 3, 7, 5), (5, 18)), 5e-6, label="rows"),
    Case(MatMul(False, True), normal((3, 7, 5), (18, 5)), 5e-6, label="rows-tb"),
]
