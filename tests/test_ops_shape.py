# SPDX-License-Identifier: Apache-2.0
"""Moving, joining, cutting and resizing against NumPy and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastcnn import ops
from fastcnn.autodiff import gradient, gradients
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import placeholder
from fastcnn.ops._apply import apply
from fastcnn.ops.shape import Reshape
from fastcnn.plan import Plan

Array = np.ndarray[Any, Any]
DTYPES = ["float32", "float64", "uint8", "int32"]


def filled(shape: tuple[int, ...], dtype: str) -> Array:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@st.composite
def blocks(draw: st.DrawFn, min_dims: int = 1, min_side: int = 1) -> Array:
    shape = draw(array_shapes(min_dims=min_dims, max_dims=5, min_side=min_side, max_side=6))
    return filled(shape, draw(st.sampled_from(DTYPES)))


def same(found: Any, wanted: Array) -> None:
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


# --- against NumPy -----------------------------------------------------------------------------


@given(blocks(), st.data())
def test_transpose(x: Array, data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(x.ndim)))
    same(ops.transpose(x, axes), x.transpose(axes))
    same(ops.transpose(x), x.T)
    same(ops.transpose(ops.transpose(x, axes), np.argsort(axes)), x)


@given(blocks(), st.data())
def test_slice_and_pad(x: Array, data: st.DataObject) -> None:
    begin = [data.draw(st.integers(0, d - 1)) for d in x.shape]
    size = [data.draw(st.integers(1, d - b)) for d, b in zip(x.shape, begin, strict=True)]
    index = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
    block = ops.slice(x, begin, size)
    same(block, x[index])
    pads = [(b, d - b - n) for d, b, n in zip(x.shape, begin, size, strict=True)]
    same(ops.crop(x, pads), x[index])
    value = data.draw(st.integers(0, 255))
    padded = ops.pad(block, pads, constant_values=value)
    wanted = np.full_like(x, value)
    wanted[index] = x[index]
    same(padded, wanted)


@given(blocks(), st.data())
def test_split_and_concatenate(x: Array, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, x.shape[axis]), max_size=3)))
    parts = ops.split(x, cuts, axis)
    for part, wanted in zip(parts, np.split(x, cuts, axis), strict=True):
        same(part, wanted)
    same(ops.concatenate(parts, axis), x)
    for part, wanted in zip(
        ops.split(x, x.shape[axis], axis), np.split(x, x.shape[axis], axis), strict=True
    ):
        same(part, wanted)


@given(blocks(), st.data())
def test_broadcast_to(x: Array, data: st.DataObject) -> None:
    ones = [data.draw(st.booleans()) for _ in x.shape]
    small = x[tuple(slice(0, 1) if one else slice(None) for one in ones)]
    target = (*data.draw(array_shapes(max_dims=6 - x.ndim, max_side=3)), *x.shape)
    same(ops.broadcast_to(small, target), np.broadcast_to(small, target))


@given(blocks(), st.data())
def test_axes_of_size_one(x: Array, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    wide = ops.expand_dims(x, axis)
    same(wide, np.expand_dims(x, axis))
    same(ops.squeeze(wide, axis), x)
    same(ops.squeeze(wide), np.squeeze(x))
    same(ops.stack([x, x[::-1]], axis), np.stack([x, x[::-1]], axis))
    same(ops.flatten(x), x.reshape(len(x), -1))


@given(arrays(np.float32, (2, 3, 12)), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_channel_shuffle(x: Array, groups: int) -> None:
    y = ops.channel_shuffle(x, groups)
    same(y, x.reshape(2, 3, groups, -1).swapaxes(2, 3).reshape(2, 3, 12))
    same(ops.channel_shuffle(y, 12 // groups), x)


def test_results_never_share_memory_with_arguments() -> None:
    for dtype in DTYPES:
        x = filled((2, 4), dtype)
        results = [
            ops.reshape(x, (4, 2)),
            ops.transpose(x, (0, 1)),
            ops.concatenate([x]),
            ops.slice(x, (0, 0), (None, None)),
            ops.pad(x, 0),
            ops.broadcast_to(x, (2, 4)),
        ]
        if dtype.startswith("float"):
            results.append(ops.channel_shuffle(x, 1))
        assert not any(np.shares_memory(x, y) for y in results)


def test_gradient_of_broadcasting_is_a_sum() -> None:
    x = np.ones((3, 1))
    same(gradient(lambda t: ops.broadcast_to(t, (2, 3, 4)), x)[0], np.full((3, 1), 8.0))


# --- unknown sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "target", "wanted"),
    [
        ((None, 4, 4, 3), (-1, 48), (None, 48)),
        ((None, 4, 4, 3), (None, -1), (None, 48)),
        ((None, 4, 4, 3), (None, 2, -1), (None, 2, 24)),
        ((None, None, 3), (None, None, 3, 1), (None, None, 3, 1)),
        ((None, None, 3), (-1, 3), (None, 3)),
        ((5, 4, 3), (None, -1), (5, 12)),
        ((5, 0, 3), (None, -1), (5, 0)),
        ((5, 0, 3), (0, 7), (0, 7)),
        ((), (1, 1), (1, 1)),
    ],
)
def test_reshape_with_unknown_sizes(shape: Any, target: Any, wanted: Any) -> None:
    assert apply(Reshape(target), placeholder(shape)).shape == wanted


def test_an_unknown_batch_passes() -> None:
    x = placeholder((None, 4, 6, 8))
    assert ops.transpose(x, (0, 3, 1, 2)).shape == (None, 8, 4, 6)
    assert ops.concatenate([x, placeholder((None, 4, 6, 2))], axis=-1).shape == (None, 4, 6, 10)
    assert ops.concatenate([x, placeholder((5, 4, 6, 2))], axis=-1).shape == (5, 4, 6, 10)
    assert ops.concatenate([x, x], axis=0).shape == (None, 4, 6, 8)
    assert [t.shape for t in ops.split(x, [2], axis=-1)] == [(None, 4, 6, 2), (None, 4, 6, 6)]
    assert ops.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0))).shape == (None, 7, 6, 8)
    assert ops.crop(x, ((0, 0), (1, 2), (0, 0), (0, 0))).shape == (None, 1, 6, 8)
    assert ops.resize(x, (9, 7)).shape == (None, 9, 7, 8)
    assert ops.channel_shuffle(x, 4).shape == x.shape
    assert ops.expand_dims(x, 1).shape == (None, 1, 4, 6, 8)
    assert ops.expand_dims(x, 0).shape == (1, None, 4, 6, 8)
    assert ops.squeeze(ops.expand_dims(x, 0), 0).shape == x.shape
    assert ops.flatten(x).shape == (None, 192)
    assert ops.flatten(placeholder((None,))).shape == (None, 1)
    assert ops.flatten(placeholder((8, 5, None, 3))).shape == (8, None)


# --- resizing ----------------------------------------------------------------------------------


def row(*values: float) -> Array:
    """One image of one row and one channel."""
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def resized(x: Array, width: int, *args: Any) -> list[float]:
    return [float(v) for v in ops.resize(x, (1, width), *args).ravel()]


def test_nearest_by_hand() -> None:
    assert resized(row(1, 2), 4, "nearest") == [1, 1, 2, 2]
    # Centres of 3 outputs over 5 inputs: 5/6, 15/6, 25/6.
    assert resized(row(1, 2, 3, 4, 5), 3, "nearest") == [1, 3, 5]
    # Centres of 4 over 6: 0.75, 2.25, 3.75, 5.25.
    assert resized(row(1, 2, 3, 4, 5, 6), 4, "nearest") == [1, 3, 4, 6]
    # Centres of 2 over 4 lie on the border of pixels: 1 and 3.
    assert resized(row(1, 2, 3, 4), 2, "nearest") == [2, 4]


def test_bilinear_by_hand() -> None:
    # Half-pixel centres of 4 over 2: -1/4 (the border), 1/4, 3/4, 5/4 (the border).
    assert resized(row(0, 4), 4) == [0, 1, 3, 4]
    # 2 over 4: 1/2 and 5/2. 2 over 8: 3/2 and 11/2, where the 100s never count: no antialiasing.
    assert resized(row(1, 2, 3, 4), 2) == [1.5, 3.5]
    assert resized(row(100, 1, 1, 100, 100, 1, 1, 100), 2) == [1, 1]
    # 3 over 2: -1/6 (the border), 1/2, 7/6 (the border).
    assert resized(row(0, 6), 3) == [0, 3, 6]


def test_align_corners_by_hand() -> None:
    assert resized(row(0, 3), 4, "bilinear", True) == [0, 1, 2, 3]
    assert resized(row(0, 1, 2, 3, 4), 3, "bilinear", True) == [0, 2, 4]
    assert resized(row(5, 7, 9), 1, "bilinear", True) == [5]
    assert resized(row(5), 3, "bilinear", True) == [5, 5, 5]


images = arrays(
    np.float32,
    st.tuples(*[st.integers(1, 6)] * 4),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
modes = st.sampled_from([("nearest", False), ("bilinear", False), ("bilinear", True)])


@given(images, sizes, modes)
def test_resizing_commutes_with_turning(x: Array, size: Any, mode: Any) -> None:
    y = ops.resize(x, size, *mode)
    turned = ops.resize(x.transpose(0, 2, 1, 3).copy(), size[::-1], *mode)
    np.testing.assert_allclose(turned.transpose(0, 2, 1, 3), y, rtol=1e-5, atol=1e-4)
    if mode[0] == "bilinear":
        mirrored = ops.resize(x[:, ::-1, ::-1].copy(), size, *mode)
        if 1 not in size or not mode[1]:
            np.testing.assert_allclose(mirrored[:, ::-1, ::-1], y, rtol=1e-4, atol=1e-3)


@given(images, sizes, modes)
def test_resizing_keeps_range_constants_and_identity(x: Array, size: Any, mode: Any) -> None:
    y = ops.resize(x, size, *mode)
    assert y.min() >= x.min() - 1e-4
    assert y.max() <= x.max() + 1e-4
    same(ops.resize(x, x.shape[1:3], *mode), x)
    ones = ops.resize(np.ones_like(x), size, *mode)
    np.testing.assert_allclose(ones, 1, rtol=1e-6)


@given(images, sizes, modes)
def test_gradient_is_the_adjoint(x: Array, size: Any, mode: Any) -> None:
    y = ops.resize(x, size, *mode)
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    dx = gradient(lambda t: ops.multiply(ops.resize(t, size, *mode), dy), x)[0]
    left, right = (y.astype(float) * dy).sum(), (x.astype(float) * dx).sum()
    assert left == pytest.approx(right, rel=1e-4, abs=1e-2)


# --- errors ------------------------------------------------------------------------------------


X = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [1, -1, [0, 1, 1], [[1, -2], [0, 0]]], ids=str)
def test_take(indices: Any, axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(ops.take(x, indices, axis), np.take(x, indices, axis))


def test_take_at_positions_that_are_computed() -> None:
    """Outside of the axis there are zeros; what was taken twice gets both gradients."""
    x, positions = placeholder((4, 2)), placeholder((3,), "int32")
    y = ops.take(x, positions)
    (dx,) = gradients(ops.sum(y), [x])
    at = np.array([3, 7, 3], np.int32)
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    taken, grad = Plan([x, positions], [y, dx]).run(values, at)
    np.testing.assert_array_equal(taken, [[6, 7], [0, 0], [6, 7]])
    np.testing.assert_array_equal(grad, [[0, 0], [0, 0], [0, 0], [2, 2]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.reshape(X, (5, 5)), ShapeError, "same number of elements"),
        (lambda: ops.reshape(X, (-1, 5)), ShapeError, "same number of elements"),
        (lambda: ops.reshape(X, (-1, -1)), ShapeError, "at most one -1"),
        (lambda: ops.reshape(X, (2, -3, 4)), ShapeError, "spell out the sizes"),
        (lambda: ops.reshape(X, (2, 3, 4, None)), ShapeError, "None where the input has"),
        (lambda: ops.transpose(X, (0, 1)), ShapeError, "every one of 0 to 2 once"),
        (lambda: ops.transpose(X, (0, 1, 1)), ShapeError, "every one of 0 to 2 once"),
        (lambda: ops.transpose(X, (0, 1, 3)), ShapeError, "found axis 3"),
        (lambda: ops.concatenate([X, X[:, :2]], 2), ShapeError, "input 0 and .* for input 1"),
        (lambda: ops.concatenate([X, X[0]], 0), ShapeError, "expected equal sizes"),
        (lambda: ops.concatenate([X, X.astype(np.float64)]), DtypeError, "expected one dtype"),
        (lambda: ops.concatenate([]), ShapeError, "found no inputs"),
        (lambda: ops.stack([]), ShapeError, "found no inputs"),
        (lambda: ops.concatenate([X], 3), ShapeError, "found axis 3 for an input of rank 3"),
        (lambda: ops.slice(X, (0, 0, 2), (2, 3, 3)), ShapeError, "along axis 2"),
        (lambda: ops.slice(X, (0, -1, 0), (1, 1, 1)), ShapeError, "start -1"),
        (lambda: ops.slice(X, (0, 0), (1, 1)), ShapeError, "one per axis"),
        (lambda: ops.split(X, 3, axis=-1), ShapeError, "3 sections for axis 2 of size 4"),
        (lambda: ops.split(X, 0, axis=0), ShapeError, "0 sections"),
        (lambda: ops.split(X, [2, 1], axis=1), ShapeError, "increasing positions"),
        (lambda: ops.split(X, [5], axis=1), ShapeError, "increasing positions"),
        (lambda: ops.split(placeholder((None, 3)), 1, axis=0), ShapeError, "no known size"),
        (lambda: ops.pad(X, ((0, 0), (0, 0))), ShapeError, "rank 3"),
        (lambda: ops.pad(X, -1), ShapeError, "negative pad"),
        (lambda: ops.pad(X, 1, mode="reflect"), ArgumentError, "mode='reflect'"),
        (lambda: ops.pad(np.zeros(3, np.uint8), 1, constant_values=-1), ArgumentError, "0 to 255"),
        (lambda: ops.pad(np.zeros(3, np.int32), 1, constant_values=0.5), ArgumentError, "whole"),
        (lambda: ops.crop(X, ((0, 0), (2, 2), (0, 0))), ShapeError, "crop less"),
        (lambda: ops.crop(X, ((0, 0), (-1, 0), (0, 0))), ShapeError, "no negative number"),
        (lambda: ops.squeeze(X, 1), ShapeError, "has size 3, expected 1"),
        (lambda: ops.expand_dims(X, 5), ShapeError, "found axis 5"),
        (lambda: ops.broadcast_to(X, (2, 3, 5)), ShapeError, "counted from the last axis"),
        (lambda: ops.broadcast_to(X, (3, 4)), ShapeError, "counted from the last axis"),
        (lambda: ops.take(X, [3], 1), ArgumentError, "indices from 3 to 3, expected -3 to 2"),
        (lambda: ops.take(X, [0.5]), DtypeError, "expected integers"),
        (lambda: ops.take(X, [0], 3), ShapeError, "found axis 3"),
        (lambda: ops.take(placeholder((None, 3)), [-1]), ShapeError, "count from 0"),
        (lambda: ops.channel_shuffle(X, 3), ShapeError, "a divisor of its 4 channels"),
        (lambda: ops.channel_shuffle(X, 0), ShapeError, "groups=0"),
        (lambda: ops.resize(X, (2, 2)), ShapeError, r"expected rank 4 \(N, H, W, C\)"),
        (lambda: ops.resize(X[None], (0, 2)), ShapeError, "at least 1"),
        (lambda: ops.resize(X[None], (2,)), ArgumentError, "expected .height, width."),
        (lambda: ops.resize(X[None], (2, 2), "bicubic"), ArgumentError, "'bicubic'"),
        (lambda: ops.resize(X[None], (2, 2), "nearest", True), ArgumentError, "align_corners"),
        (lambda: ops.resize(np.zeros((1, 2, 2, 1), np.uint8), (4, 4)), DtypeError, "uint8"),
    ],
)
def test_wrong_arguments(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
