# SPDX-License-Identifier: Apache-2.0
"""Reshaping tensors that do not lie in ONNX's order of axes, moving as little as possible.

Old and new sizes are cut into runs of equal products. Where the axes of every run lie side by side,
the reshape is done in place (channels split into groups, ones added or dropped); where they do not,
the tensor is transposed just so that they do. All axes but the batch made one stay as they lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.onnx.call import Call
from fastcnn.onnx.value import Unknown, Value, natural

Run = tuple[list[int], list[int]]  # old axes, new axes


def reshaped(call: Call, x: Value, target: Sequence[Any]) -> Value:
    """`x` with the sizes of `target`: numbers, one -1, unknown sizes."""
    x = x.settled()
    sizes = _resolved(call, x, target)
    if len(sizes) == 2 and x.rank > 2 and sizes[0] == x.shape[0] and x.order[0] == 0:
        others = [d for d in x.tensor.shape[1:] if d != 1]
        if len(others) > 1 and x.order != natural(x.rank):
            return Value(x.tensor, x.order, x.kind, flat=True)
    runs = _runs(x.shape, sizes)
    if runs is None:
        tensor = x.natural()
        return Value(ops.reshape(tensor, _as_target(sizes)), natural(len(sizes)), x.kind)
    placed = sorted((min(x.order.index(a) for a in old), old, new) for old, new in runs if old)
    arranged = x.arranged(tuple(a for _, old, _ in placed for a in old))
    order = [a for _, _, new in placed for a in new]
    order = [a for old, new in runs if not old for a in new] + order
    return Value(
        ops.reshape(arranged.tensor, _as_target([sizes[a] for a in order])), tuple(order), x.kind
    )


def _resolved(call: Call, x: Value, target: Sequence[Any]) -> list[int | None]:
    """The sizes, None where they have to wait."""
    have = list(x.shape)
    sizes: list[Any] = list(target)
    batch = call.drawing.file_batch
    if have and have[0] is None and len(sizes) > 1 and sizes[0] == batch is not None:
        rest = [d for d in sizes[1:] if d != -1]
        if None not in have[1:] and (-1 in sizes or math.prod(rest) == math.prod(have[1:])):  # type: ignore[arg-type]
            sizes[0] = Unknown(0)
    if None not in have:
        known = math.prod(d for d in sizes if d != -1)
        if -1 in sizes:
            sizes[sizes.index(-1)] = math.prod(have) // known if known else 0  # type: ignore[arg-type]
        return sizes
    if isinstance(sizes[0], Unknown) and have[0] is None and None not in have[1:] and -1 in sizes:
        known = math.prod(d for d in sizes[1:] if d != -1)
        sizes[sizes.index(-1)] = math.prod(have[1:]) // known  # type: ignore[arg-type]
    if batch is not None and not any(d == -1 or isinstance(d, Unknown) for d in sizes):
        raise ShapeError(f"{call.where}: the sizes {target} hold for a batch of {batch} only")
    waiting = [i for i, d in enumerate(sizes) if d == -1 or isinstance(d, Unknown)]
    if len(waiting) > 1 and not (len(have) == len(sizes) or waiting[0] == 0):
        raise ShapeError(
            f"{call.where}: found several sizes that are not known in {target} for an input of "
            f"shape {x.shape}; fix the model's input sizes"
        )
    return [None if i in waiting else d for i, d in enumerate(sizes)]


def _as_target(sizes: Sequence[int | None]) -> tuple[int | None, ...]:
    """One unknown size is what is left."""
    if list(sizes).count(None) == 1:
        return tuple(-1 if d is None else d for d in sizes)
    return tuple(sizes)


def _runs(have: Sequence[int | None], want: Sequence[int | None]) -> list[Run] | None:
    """Old and new axes in runs of equal products; None where unknown sizes or zeros forbid it."""
    if 0 in have or 0 in want:
        return None
    runs: list[Run] = []
    i = j = 0
    while i < len(have) or j < len(want):
        old, new = [i] if i < len(have) else [], [j] if j < len(want) else []
        i, j = i + len(old), j + len(new)
        while (a := _product(have, old)) != (b := _product(want, new)):
            if a is None or b is None:
                return None
            if a < b and i < len(have):
                old.append(i)
                i += 1
            elif b < a and j < len(want):
                new.append(j)
                j += 1
            else:
                return None
        runs.append((old, new))
    return runs


def _product(sizes: Sequence[int | None], axes: Sequence[int]) -> int | None:
    found = [sizes[a] for a in axes]
    return None if None in found else math.prod(d for d in found if d is not None)
