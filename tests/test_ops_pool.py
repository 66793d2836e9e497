# SPDX-License-Identifier: Apache-2.0
"""Pooling: the textbook example by hand, a sliding-window version in NumPy, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastcnn import ops
from fastcnn.autodiff import evaluate, gradient, gradients
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Spec, constant, infer, placeholder
from fastcnn.ops.geometry import normalize_padding
from fastcnn.ops.pool_max import MaxPool2D

Array = np.ndarray[Any, Any]

# A 3x3 window with stride 1 sees every maximum but the last from several windows.
LECTURE_X = np.float32(
    [
        [2, 4, 8, 3, 6],
        [9, 3, 4, 2, 5],
        [5, 4, 6, 3, 1],
        [2, 3, 1, 3, 4],
        [2, 7, 4, 5, 7],
    ]
)
LECTURE_Y = [[9, 8, 8], [9, 6, 6], [7, 7, 7]]
LECTURE_WINNERS = [[5, 2, 2], [5, 12, 12], [21, 21, 24]]  # h * 5 + w
LECTURE_DY = np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
LECTURE_DX = [
    [0, 0, 2 + 3, 0, 0],
    [1 + 4, 0, 0, 0, 0],
    [0, 0, 5 + 6, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 7 + 8, 0, 0, 9],
]


def image(plane: Any, dtype: str = "float32") -> Array:
    return np.asarray(plane, dtype)[None, :, :, None]


def max_pool_gradient(x: Array, dy: Array, *args: Any, **kwargs: Any) -> Array:
    leaf = placeholder(x.shape, x.dtype.name)
    (dx,) = gradients(ops.max_pool2d(leaf, *args, **kwargs), [leaf], constant(dy))
    assert dx is not None
    return evaluate([dx], {leaf: x})[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lecture_forward_with_indices(dtype: str) -> None:
    y, indices = ops.max_pool2d(image(LECTURE_X, dtype), 3, strides=1, return_indices=True)
    assert y.dtype == dtype
    assert indices.dtype == "int32"
    np.testing.assert_array_equal(y, image(LECTURE_Y))
    np.testing.assert_array_equal(indices, image(LECTURE_WINNERS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lecture_backward_adds_up_where_windows_overlap(dtype: str) -> None:
    dx = max_pool_gradient(image(LECTURE_X, dtype), image(LECTURE_DY, dtype), 3, strides=1)
    np.testing.assert_array_equal(dx, image(LECTURE_DX))


def test_ties_go_to_the_first_in_row_order() -> None:
    x = image([[1, 5, 5], [5, 5, 2], [0, 5, 5]])
    y, indices = ops.max_pool2d(x, 2, strides=1, return_indices=True)
    np.testing.assert_array_equal(y, 5)
    np.testing.assert_array_equal(indices, image([[1, 1], [3, 4]]))
    dx = max_pool_gradient(x, image([[1, 2], [4, 8]]), 2, strides=1)
    np.testing.assert_array_equal(dx, image([[0, 3, 0], [4, 8, 0], [0, 0, 0]]))


def test_the_first_nan_wins_and_padding_never_does() -> None:
    x = image([[np.nan, 9, np.nan], [-np.inf, -np.inf, -7], [-8, -9, np.inf]])
    y, indices = ops.max_pool2d(x, 2, strides=1, padding=1, return_indices=True)
    np.testing.assert_array_equal(
        indices, image([[0, 0, 2, 2], [0, 0, 2, 2], [6, 6, 8, 8], [6, 6, 8, 8]])
    )
    np.testing.assert_array_equal(y.ravel(), x.ravel()[indices.ravel()])
    lowest = image(np.full((2, 2), -np.inf))
    y, indices = ops.max_pool2d(lowest, 3, strides=1, padding="same", return_indices=True)
    np.testing.assert_array_equal(y, lowest)
    np.testing.assert_array_equal(indices, 0)


def test_a_window_of_more_than_256_cells_keeps_its_winner() -> None:
    x = np.random.default_rng(1).standard_normal((1, 20, 20, 5)).astype("float32")
    y, indices = ops.max_pool2d(x, 20, return_indices=True)
    np.testing.assert_array_equal(y[0, 0, 0], x.max(axis=(0, 1, 2)))
    np.testing.assert_array_equal(indices[0, 0, 0], x.reshape(400, 5).argmax(0))


# --- against windows cut out one by one --------------------------------------------------------

axis = st.tuples(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)
)


def windows(
    size: int, window: int, stride: int, before: int, after: int, ceil: bool
) -> list[slice]:
    """Begin and end of each window on the padded axis; an incomplete last one in ceil mode."""
    found = []
    begin = -before
    while begin + window <= size + after or (ceil and begin < min(size, size + after)):
        found.append(slice(begin, begin + window))
        begin += stride
    return _without_needless(found, size, after, ceil)


def _without_needless(found: list[slice], size: int, after: int, ceil: bool) -> list[slice]:
    """In ceil mode, windows that begin after one already reached the padded end add nothing."""
    complete = [i for i, s in enumerate(found) if s.stop >= size + after]
    return found[: complete[0] + 1] if ceil and complete else found


def clipped(s: slice, low: int, high: int) -> slice:
    return slice(max(s.start, low), min(s.stop, high))


@settings(max_examples=150, deadline=None)
@given(h=axis, w=axis, channels=st.integers(1, 18), ceil=st.booleans(), padded=st.booleans())
def test_pooling_equals_windows_cut_out_one_by_one(
    h: tuple[int, ...], w: tuple[int, ...], channels: int, ceil: bool, padded: bool
) -> None:
    pads = tuple((a[3], a[4]) for a in (h, w))
    for size, window, _, before, after in (h, w):
        assume(max(before, after) < window <= size + before + after)
    x = np.random.default_rng(0).standard_normal((2, h[0], w[0], channels)).astype("float32")
    rows, columns = windows(*h, ceil), windows(*w, ceil)  # type: ignore[arg-type]
    arguments = {"strides": (h[2], w[2]), "padding": pads, "ceil_mode": ceil}
    largest, indices = ops.max_pool2d(x, (h[1], w[1]), return_indices=True, **arguments)
    average = ops.avg_pool2d(x, (h[1], w[1]), count_include_pad=padded, **arguments)
    assert largest.shape == average.shape == (2, len(rows), len(columns), channels)
    for p, row in enumerate(rows):
        for q, column in enumerate(columns):
            cells = x[:, clipped(row, 0, h[0]), clipped(column, 0, w[0])].astype("float64")
            area = clipped(row, -h[3], h[0] + h[4]), clipped(column, -w[3], w[0] + w[4])
            count = np.prod([s.stop - s.start for s in area]) if padded else cells[0, ..., 0].size
            np.testing.assert_array_equal(largest[:, p, q], cells.max(axis=(1, 2)))
            np.testing.assert_allclose(
                average[:, p, q], cells.sum(axis=(1, 2)) / count, rtol=1e-5, atol=1e-6
            )
    found = np.take_along_axis(
        x.reshape(2, -1, channels), indices.reshape(2, -1, channels).astype(int), axis=1
    )
    np.testing.assert_array_equal(found.reshape(largest.shape), largest)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    out=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    channels=st.integers(1, 18),
)
def test_adaptive_pooling_equals_bins_cut_out_one_by_one(
    size: tuple[int, int], out: tuple[int, int], channels: int
) -> None:
    x = np.random.default_rng(0).standard_normal((1, *size, channels)).astype("float32")
    average, largest = ops.adaptive_avg_pool2d(x, out), ops.adaptive_max_pool2d(x, out)
    assert average.shape == largest.shape == (1, *out, channels)
    for p, q in np.ndindex(*out):
        (top, bottom), (left, right) = (
            (int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip((p, q), size, out, strict=True)
        )
        cells = x[0, top:bottom, left:right]
        np.testing.assert_allclose(average[0, p, q], cells.mean(axis=(0, 1)), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(largest[0, p, q], cells.max(axis=(0, 1)))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "ceil", "expected"),
    [
        (5, 3, 2, "valid", False, 2),
        (6, 3, 2, "valid", False, 2),
        (6, 3, 2, "valid", True, 3),
        (4, 2, 3, "valid", True, 2),
        (5, 2, 3, 1, False, 2),
        (5, 2, 3, 1, True, 2),  # a third window would begin just beyond the input
        (4, 2, 2, 1, True, 3),
        (2, 3, 2, "valid", True, 1),
        (7, 3, 2, "same", False, 4),
        (7, 3, 2, "same", True, 4),
        (None, 3, 2, "same", True, None),
    ],
)
def test_output_sizes(
    size: Any, window: int, stride: int, padding: Any, ceil: bool, expected: Any
) -> None:
    pool = (window, window), (stride, stride)
    op = MaxPool2D(*pool, normalize_padding(padding), ceil)
    y, index = infer(op, [Spec((None, size, size, 3))])
    assert y.shape == index.shape == (None, expected, expected, 3)


def test_strides_default_to_the_window() -> None:
    x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(ops.max_pool2d(x, 2), image([[5, 7], [13, 15]]))
    np.testing.assert_array_equal(ops.avg_pool2d(x, 2), image([[2.5, 4.5], [10.5, 12.5]]))


def test_padding_counts_only_when_asked() -> None:
    x = image(np.ones((3, 3)))
    corner, edge = 4 / 9, 6 / 9
    padded = [[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]
    np.testing.assert_array_equal(ops.avg_pool2d(x, 3, 1, "same"), x)
    np.testing.assert_allclose(
        ops.avg_pool2d(x, 3, 1, "same", count_include_pad=True), image(padded)
    )


def test_average_of_a_constant_is_a_constant() -> None:
    x = np.full((1, 7, 7, 33), 0.1, "float32")
    np.testing.assert_allclose(ops.avg_pool2d(x, 3, 1), 0.1, rtol=1e-6)
    assert len(np.unique(ops.avg_pool2d(x, 3, 1))) == 1


# --- unpooling and global pooling ---------------------------------------------------------------


def test_unpooling_puts_maxima_back() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 19)).astype("float32")
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    back = ops.max_unpool2d(y, indices, (6, 8))
    won = back != 0
    assert won.sum() == y.size
    np.testing.assert_array_equal(back[won], x[won])


def test_unpooling_keeps_the_last_writer_in_row_order() -> None:
    x, indices = image([[1, 2], [3, 4]]), image([[5, 0], [5, 2]], "int32")
    np.testing.assert_array_equal(
        ops.max_unpool2d(x, indices, (2, 3)), image([[2, 0, 4], [0, 0, 3]])
    )
    (dx,) = gradient(lambda t: ops.max_unpool2d(t, constant(indices), (2, 3)), x)
    np.testing.assert_array_equal(dx, image([[0, 1], [1, 1]]))


def test_indices_of_any_integer_type() -> None:
    x, indices = image([[1.5]]), image([[3]], "int64")
    np.testing.assert_array_equal(ops.max_unpool2d(x, indices, 2), image([[0, 0], [0, 1.5]]))


def test_global_pooling() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype("float32")
    np.testing.assert_allclose(ops.global_avg_pool2d(x), x.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(ops.global_max_pool2d(x), x.max(axis=(1, 2)))
    assert ops.global_avg_pool2d(x, keepdims=True).shape == (2, 1, 1, 3)
    np.testing.assert_allclose(
        ops.adaptive_avg_pool2d(x, 1), ops.global_avg_pool2d(x, keepdims=True), atol=1e-6
    )


def test_symbolic_indices() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 2)).astype("float32")
    leaf = placeholder(x.shape)
    y, indices = ops.max_pool2d(leaf, 2, return_indices=True)
    back = ops.max_unpool2d(y, indices, 4)
    found = evaluate([indices, back], {leaf: x})
    np.testing.assert_array_equal(found[0], ops.max_pool2d(x, 2, return_indices=True)[1])
    np.testing.assert_array_equal(found[1][found[1] != 0], x[found[1] != 0])


# --- bad input ----------------------------------------------------------------------------------

X = np.zeros((1, 4, 4, 2), "float32")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.max_pool2d(X[0], 2), ShapeError, r"of rank 3, expected rank 4"),
        (lambda: ops.max_pool2d(X, 5), ShapeError, "larger than the input's 4"),
        (lambda: ops.max_pool2d(X, 7, 1, ceil_mode=True), ShapeError, "larger than the input's 4"),
        (lambda: ops.max_pool2d(X[:, :0], 2), ShapeError, "at least one pixel"),
        (lambda: ops.max_pool2d(X, 2, padding=2), ShapeError, r"less than the window"),
        (lambda: ops.max_pool2d(X, 0), ArgumentError, "pool_size is 0"),
        (lambda: ops.max_pool2d(X, 2, strides=-1), ArgumentError, "strides is -1"),
        (lambda: ops.max_pool2d(X, 2, padding="full"), ArgumentError, "padding is 'full'"),
        (lambda: ops.max_pool2d(X, (1 << 13, 1 << 13)), ArgumentError, "use a global pooling"),
        (lambda: ops.max_pool2d(X.astype(int), 2), DtypeError, "found int64"),
        (lambda: ops.avg_pool2d(X, (5, 1)), ShapeError, "height 5 is larger"),
        (lambda: ops.avg_pool2d(X, (1, 5)), ShapeError, "width 5 is larger"),
        (lambda: ops.adaptive_avg_pool2d(X, 0), ArgumentError, "output_size is 0"),
        (lambda: ops.adaptive_max_pool2d(X[0], 2), ShapeError, "expected rank 4"),
        (lambda: ops.global_avg_pool2d(X[0]), ShapeError, "expected rank 4"),
        (lambda: ops.max_unpool2d(X, X, 4), DtypeError, "int32 positions"),
        (
            lambda: ops.max_unpool2d(X, X[:, 1:].astype("int32"), 4),
            ShapeError,
            "one index per value",
        ),
        (lambda: ops.max_unpool2d(X, X.astype("int32") + 16, 4), ArgumentError, "expected 0 to 15"),
        (lambda: ops.max_unpool2d(X, X.astype("int32") - 1, 4), ArgumentError, "from -1 to -1"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
