# SPDX-License-Identifier: Apache-2.0
"""What lessons over planes share: their arguments, and where windows lie, asked of the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.autodiff import gradient
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Array

Pads = tuple[int, int, int, int]  # top, bottom, left, right
# More steps nobody watches.
MOST_STEPS = 1000


def numbers(where: str, name: str, value: Any, ranks: tuple[int, ...], layout: str) -> Array:
    """A float32 or float64 array of one of the ranks.

    Raises:
        DtypeError: not numbers.
        ShapeError: another rank, or nothing in it.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{where}: {name} is {array.dtype}, expected numbers; try float32")
    if array.ndim not in ranks or not array.size:
        raise ShapeError(f"{where}: {name} has shape {array.shape}, expected {layout}")
    return np.ascontiguousarray(array, "float64" if array.dtype == np.float64 else "float32")


def arriving(where: str, dy: Any, y: Array, rank: int) -> Array:
    """The gradient that arrives at y (1, P, Q, K), ones when None.

    Raises:
        ShapeError: another shape than y has for the user, who sees `rank` axes of it.
    """
    if dy is None:
        return np.ones_like(y)
    shape = shown(y, rank).shape
    found = np.asarray(dy)
    if found.dtype.kind not in "fiub":
        raise DtypeError(f"{where}: dy is {found.dtype}, expected numbers; try float32")
    if found.shape != shape:
        raise ShapeError(
            f"{where}: dy has shape {found.shape}, expected {shape}, that of the output"
        )
    return np.ascontiguousarray(found.reshape(y.shape), y.dtype)


def shown(array: Array, rank: int) -> Array:
    """(1, H, W, C) as the user gave it: (H, W) or (H, W, C)."""
    return array[0, :, :, 0] if rank == 2 else array[0]


def require_few(where: str, steps: int) -> None:
    """ArgumentError when nobody would watch that many steps."""
    if steps > MOST_STEPS:
        raise ArgumentError(
            f"{where}: found {steps:,} windows, expected at most {MOST_STEPS:,} to step through; "
            "give a smaller plane or a larger stride"
        )


def cells(
    padded: tuple[int, int],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Array:
    """Which cells of the padded plane each window reads: bool (P, Q, H, W).

    Measured, not calculated: the gradient of each output of a convolution with a kernel of ones.
    """
    kernel = np.ones((*kernel_size, 1, 1), np.float32)
    plane = np.zeros((1, *padded, 1), np.float32)
    window: dict[str, Any] = {"strides": strides, "dilation_rate": dilation}
    _, P, Q, _ = ops.conv2d(plane, kernel, **window).shape
    one_each = np.eye(P * Q, dtype=np.float32).reshape(P * Q, P, Q, 1)
    (dx,) = gradient(
        lambda x: ops.multiply(ops.conv2d(x, kernel, **window), one_each),
        np.zeros((P * Q, *padded, 1), np.float32),
    )
    return (dx > 0).reshape(P, Q, *padded)


def surround(plane: Array, pads: Pads, value: Any = 0) -> Array:
    """A plane (H, W) with its padding around it."""
    return np.pad(plane, (pads[:2], pads[2:]), constant_values=value)


def geometry(
    size: tuple[int, int],
    output: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int] = (1, 1),
) -> str:
    """The output's size as arithmetic: floor((n + p + p - k) / s) + 1."""
    axes = zip(size, output, window, strides, (pads[:2], pads[2:]), dilation, strict=True)
    rows, columns = (_formula(*axis) for axis in axes)
    if rows == columns:
        return f"{rows} rows and as many columns."
    return f"{rows} rows; {columns} columns."


def _formula(
    size: int, output: int, window: int, stride: int, pads: tuple[int, int], dilation: int
) -> str:
    reach = f"{window}"
    if dilation > 1:
        reach = f"(({window} − 1) · {dilation} + 1)"
    padded = "".join(f" + {p}" for p in pads if any(pads))
    return f"⌊({size}{padded} − {reach}) / {stride}⌋ + 1 = {output}"


def words(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int] = (1, 1),
) -> str:
    """A window in words: "3×3, stride 2, padding 1"."""
    parts = [f"{kernel[0]}×{kernel[1]}", f"stride {_both(strides)}"]
    top, bottom, left, right = pads
    if not any(pads):
        parts.append("no padding")
    elif len(set(pads)) == 1:
        parts.append(f"padding {top}")
    else:
        parts.append(f"padding {((top, bottom), (left, right))}")
    if dilation != (1, 1):
        parts.append(f"dilation {_both(dilation)}")
    return ", ".join(parts)


def _both(values: tuple[int, int]) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]}×{values[1]}"
