# SPDX-License-Identifier: Apache-2.0
"""Cases of the shape family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cases.case import Array, Case, Make, normal
from fastcnn.ops.shape import BroadcastTo, ChannelShuffle, Reshape, Transpose
from fastcnn.ops.shape_copy import CopyPixels, InterleaveChannels, SpaceToDepth
from fastcnn.ops.shape_join import Concat, Pad, Slice
from fastcnn.ops.shape_resize import (
    ResizeBilinear,
    ResizeBilinearGrad,
    ResizeNearest,
    ResizeNearestGrad,
)
from fastcnn.ops.shape_take import Take, TakeGrad


def integers(dtype: Any, *shapes: tuple[int, ...]) -> Make:
    """Integer inputs of the given shapes."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        return [rng.integers(0, 200, shape).astype(dtype) for shape in shapes]

    return make


TRANSPOSES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((5,), (0,)),
    ((7, 13), (1, 0)),
    ((17, 33), (1, 0)),
    ((2, 5, 6, 3), (0, 3, 1, 2)),
    ((2, 3, 5, 6), (0, 2, 3, 1)),
    ((2, 3, 4, 5), (1, 0, 2, 3)),
    ((2, 3, 4, 5), (3, 2, 1, 0)),
    ((4, 1, 5, 1), (3, 2, 1, 0)),
    ((2, 3, 2, 3, 2, 3), (4, 1, 5, 0, 3, 2)),
]
# (x, block, zeros in front, size): runs of 6 and 12 floats and others, squares that lie outside on
# every side, all of them, pixels left out, rows that no thread shares evenly.
SQUARES: list[tuple[tuple[int, ...], int, tuple[int, int], tuple[int, int]]] = [
    ((1, 1, 1, 1), 1, (0, 0), (1, 1)),
    ((2, 6, 4, 3), 2, (0, 0), (3, 2)),
    ((1, 9, 11, 3), 2, (3, 3), (8, 9)),
    ((3, 13, 15, 3), 4, (2, 1), (4, 5)),
    ((1, 7, 8, 5), 3, (4, 7), (5, 6)),
    ((2, 5, 5, 2), 2, (1, 0), (2, 2)),
    ((1, 3, 2, 3), 2, (4, 4), (2, 2)),
]
CONCATS: list[tuple[int, tuple[tuple[int, ...], ...]]] = [
    (0, ((3, 5), (1, 5), (4, 5))),
    (-1, ((2, 3, 3, 1), (2, 3, 3, 7), (2, 3, 3, 16))),
    (1, ((2, 3, 5), (2, 0, 5), (2, 4, 5))),
    (1, ((2, 3000, 2), (2, 5000, 2))),
    (0, ((13,),)),
    (0, ((0, 3), (0, 3))),
    (1, ((2, 0), (2, 0))),
]
SLICES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int | None, ...]]] = [
    ((13,), (2,), (7,)),
    ((4, 7, 5), (1, 0, 0), (2, None, None)),
    ((2, 6, 7, 5), (0, 1, 2, 0), (None, 4, 3, None)),
    ((2, 3, 3, 17), (0, 0, 0, 5), (None, None, None, 11)),
    ((3, 4, 5), (1, 2, 3), (1, 1, 1)),
    ((3, 9000), (1, 0), (2, None)),
    ((2, 3), (0, 1), (2, 0)),
]
PADS: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...], float]] = [
    ((5,), ((2, 3),), 0.0),
    ((2, 4, 5, 3), ((0, 0), (1, 2), (0, 3), (0, 0)), 0.0),
    ((2, 4, 5, 3), ((0, 0), (0, 0), (0, 0), (2, 1)), -1.5),
    ((2, 3, 4), ((1, 0), (0, 1), (2, 2)), 7.25),
    ((2, 3), ((0, 0), (0, 0)), 1.0),
    ((1, 9000), ((1, 1), (0, 0)), 0.5),
]
BROADCASTS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((1,), (9000,)),
    ((5,), (3, 4, 5)),
    ((3, 1), (3, 7)),
    ((2, 1, 1, 5), (2, 3, 4, 5)),
    ((1, 3, 1, 5, 1), (2, 3, 4, 5, 6)),
    ((4, 3), (4, 3)),
    ((1, 1), (1, 1)),
]
# Shape of x, axis and shape of the indices, of which some lie outside and some come twice.
TAKES: list[tuple[tuple[int, ...], int, tuple[int, ...]]] = [
    ((7,), 0, (5,)),
    ((4, 7, 5), 1, (9,)),
    ((3, 6), -1, (2, 4)),
    ((2, 3, 9000), 1, (3,)),
    ((5, 17, 33), 0, (1,)),
]
# Input (N, H, W, C) and size (P, Q): up, down, whole and broken ratios, and one row.
RESIZES = [
    ((2, 3, 4, 5), (6, 8)),
    ((1, 7, 5, 17), (3, 4)),
    ((1, 4, 6, 1), (9, 3)),
    ((1, 1, 5, 3), (4, 1)),
    ((2, 13, 2, 16), (5, 7)),
    ((1, 3, 3, 2), (3, 3)),
]


def taken(shape: tuple[int, ...], size: int, indices: tuple[int, ...]) -> Make:
    """A normal input, and positions from -1 to `size`."""

    def make(rng: np.random.Generator) -> Sequence[Array]:
        positions = rng.integers(-1, size + 1, indices).astype(np.int32)
        return [rng.standard_normal(shape), positions]

    return make


def _take_cases() -> list[Case]:
    cases = []
    for shape, axis, indices in TAKES:
        axis_from_front = axis % len(shape)
        size = shape[axis]
        dy = (*shape[:axis_from_front], *indices, *shape[axis_from_front + 1 :])
        label = _label(shape, axis, indices)
        cases.append(Case(Take(axis), taken(shape, size, indices), 0.0, label=label))
        grad = TakeGrad(axis_from_front, size)
        cases.append(Case(grad, taken(dy, size, indices), 1e-6, label=label))
    return cases


def _label(*parts: object) -> str:
    return "-".join(str(p).replace(" ", "") for p in parts)


def _resize_cases() -> list[Case]:
    cases = []
    for shape, size in RESIZES:
        n, h, w, c = shape
        x, dy, label = normal(shape), normal((n, *size, c)), _label(shape, size)
        cases.append(Case(ResizeNearest(size), x, 0.0, label=label))
        cases.append(Case(ResizeNearestGrad((h, w)), dy, differentiable=False, label=label))
        for align in (False, True):
            aligned = f"{label}-align" if align else label
            cases.append(Case(ResizeBilinear(size, align), x, label=aligned))
            grad = ResizeBilinearGrad((h, w), align)
            cases.append(Case(grad, dy, differentiable=False, label=aligned))
    return cases


CASES: list[Case] = [
    Case(Reshape((2, 15)), normal((2, 3, 5)), 0.0),
    Case(Reshape((None, -1)), normal((2, 3, 5)), 0.0, label="flatten"),
    *(Case(Transpose(p), normal(s), 0.0, label=_label(s, p)) for s, p in TRANSPOSES),
    Case(Transpose((1, 0)), integers(np.uint8, (5, 18)), 0.0, False, label="uint8"),
    Case(Transpose((1, 0)), integers(np.int64, (5, 18)), 0.0, False, label="int64"),
    *(
        Case(CopyPixels(), normal(s), 0.0, False, label=_label(s))
        for s in ((3, 5), (1, 1), (2, 3, 4, 17), (2, 0, 4))
    ),
    *(
        Case(InterleaveChannels(), normal(s, s), 0.0, False, label=_label(s))
        for s in ((3, 5), (1, 1), (2, 3, 4, 58), (2, 4, 5, 16), (2, 0, 4))
    ),
    *(
        Case(SpaceToDepth(b, z, to), normal(s), 0.0, False, label=_label(s, (b, *z, *to)))
        for s, b, z, to in SQUARES
    ),
    *(Case(Concat(a), normal(*s), 0.0, label=_label(a, *s)) for a, s in CONCATS),
    Case(Concat(1), integers(np.uint8, (3, 2), (3, 5)), 0.0, False, label="uint8"),
    *(Case(Slice(b, n), normal(s), 0.0, label=_label(s, b, n)) for s, b, n in SLICES),
    Case(Slice((1, 0), (2, 3)), integers(np.int32, (4, 5)), 0.0, False, label="int32"),
    *(Case(Pad(p, v), normal(s), 0.0, label=_label(s, p, v)) for s, p, v in PADS),
    Case(Pad(((1, 2),), 255), integers(np.uint8, (4,)), 0.0, False, label="uint8"),
    Case(Pad(((1, 2),), -7), integers(np.int32, (4,)), 0.0, False, label="int32"),
    Case(Pad(((1, 2),), -7), integers(np.int64, (4,)), 0.0, False, label="int64"),
    *(Case(BroadcastTo(t), normal(s), 0.0, label=_label(s, t)) for s, t in BROADCASTS),
    Case(BroadcastTo((3, 4)), integers(np.uint8, (3, 1)), 0.0, False, label="uint8"),
    *(
        Case(ChannelShuffle(g), normal((2, 3, c)), 0.0, label=f"{c}-{g}")
        for c, g in ((12, 3), (12, 4), (7, 7), (7, 1), (34, 2))
    ),
    *_resize_cases(),
    *_take_cases(),
]
