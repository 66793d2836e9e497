# SPDX-License-Identifier: Apache-2.0
"""The pool family: max, average, adaptive and global pooling over (N, H, W, C), and unpooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, Op, Spec, Tensor, spec_of
from fastcnn.ops._apply import apply, as_operands, require_rank
from fastcnn.ops.geometry import normalize_padding, pair
from fastcnn.ops.pool_adaptive import OPS as ADAPTIVE
from fastcnn.ops.pool_adaptive import AdaptiveAvgPool2D, AdaptiveMaxPool2D
from fastcnn.ops.pool_average import OPS as AVERAGE
from fastcnn.ops.pool_average import AvgPool2D
from fastcnn.ops.pool_max import OPS as MAX
from fastcnn.ops.pool_max import MaxPool2D, MaxUnpool2D, WindowToFlat, plane
from fastcnn.ops.reduce import max as reduce_max
from fastcnn.ops.reduce import mean as reduce_mean


def max_pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Any = "valid",
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of every window.

    The first of equal values in row order wins; a NaN wins over any number; padding never wins.

    Args:
        x: (N, H, W, C) float tensor.
        pool_size: window size in pixels, an integer or (height, width).
        strides: step in pixels; pool_size when None.
        padding: "valid", "same", "same_lower", an integer or ((top, bottom), (left, right)), less
            than the window on each side.
        ceil_mode: keep a last, incomplete window if it begins inside the input.
        return_indices: return (y, indices): int32 positions h * W + w of the winners, as y.

    Raises:
        ArgumentError: a size, stride or padding of the wrong form.
        ShapeError: another rank, or a window larger than the padded input.
    """
    size = pair(pool_size, "pool_size")
    steps = size if strides is None else pair(strides, "strides")
    op = MaxPool2D(size, steps, normalize_padding(padding), bool(ceil_mode))
    (x,) = as_operands((x,))
    y, index = apply(op, x)
    if not return_indices:
        return y
    spec = _spec(x)
    return y, apply(WindowToFlat(plane(spec)[1], size, steps, op.pads(spec)), index)


def _spec(x: Any) -> Spec:
    return x.spec if isinstance(x, Tensor) else spec_of(x)


def max_unpool2d(x: Any, indices: Any, output_size: Any) -> Any:
    """Zeros with every value of x at its position, where max_pool2d found it.

    Args:
        x: (N, P, Q, C) float tensor.
        indices: int32 positions h * W + w, in the shape of x. Of several values for one position
            the last in row order stays.
        output_size: (H, W) of the result, or one integer for both.

    Returns:
        (N, H, W, C).

    Raises:
        ArgumentError: an index outside of the plane (checked where the indices are an array).
        ShapeError, DtypeError: x and indices that do not fit each other.
    """
    H, W = pair(output_size, "output_size")
    x, indices = as_operands((x, indices))
    if isinstance(indices, np.ndarray):
        indices = _checked_indices(indices, H * W)
    return apply(MaxUnpool2D((H, W)), x, indices)


def _checked_indices(indices: Array, pixels: int) -> Array:
    """Integer indices as int32, none outside of the plane."""
    if indices.dtype.kind in "iu" and indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= pixels:
            raise ArgumentError(
                f"ops.max_unpool2d: found indices from {low} to {high}, expected 0 to "
                f"{pixels - 1}; give the output_size of the plane they were taken from"
            )
        return indices.astype(np.int32)
    return indices


def avg_pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Any = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Any:
    """The mean of every window.

    Args:
        x, pool_size, strides, padding, ceil_mode: as in `max_pool2d`.
        count_include_pad: count padding as zeros; otherwise only pixels count.

    Raises:
        ArgumentError: a size, stride or padding of the wrong form.
        ShapeError: another rank, or a window larger than the padded input.
    """
    size = pair(pool_size, "pool_size")
    steps = size if strides is None else pair(strides, "strides")
    padding = normalize_padding(padding)
    return apply(AvgPool2D(size, steps, padding, bool(ceil_mode), bool(count_include_pad)), x)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Any:
    """The means of output_size windows that tile x (N, H, W, C) evenly: (N, P, Q, C)."""
    return apply(AdaptiveAvgPool2D(pair(output_size, "output_size")), x)


def adaptive_max_pool2d(x: Any, output_size: Any) -> Any:
    """The maxima of output_size windows that tile x (N, H, W, C) evenly: (N, P, Q, C)."""
    return apply(AdaptiveMaxPool2D(pair(output_size, "output_size")), x)[0]


def global_avg_pool2d(x: Any, keepdims: bool = False) -> Any:
    """The mean of every channel of x (N, H, W, C): (N, C), or (N, 1, 1, C) with keepdims."""
    return reduce_mean(_image(x), axis=(1, 2), keepdims=keepdims)


def global_max_pool2d(x: Any, keepdims: bool = False) -> Any:
    """The maximum of every channel of x (N, H, W, C): (N, C), or (N, 1, 1, C) with keepdims."""
    return reduce_max(_image(x), axis=(1, 2), keepdims=keepdims)


def _image(x: Any) -> Any:
    """x, or a ShapeError unless it is (N, H, W, C)."""
    (x,) = as_operands((x,))
    require_rank(_spec(x), 4, "(N, H, W, C)")
    return x


OPS: tuple[type[Op], ...] = (*MAX, *AVERAGE, *ADAPTIVE)
