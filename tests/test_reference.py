# SPDX-License-Identifier: Apache-2.0
"""The reference kernels against identities, hand-computed cases, NumPy and finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fastcnn.backends import _reference as reference

Array = NDArray[Any]
DTYPES = [np.float32, np.float64]
UNIT = (1, 1)
NO_PADS = (0, 0, 0, 0)


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = reference.get_num_threads()
    yield
    reference.set_num_threads(before)


@dataclass(frozen=True)
class Conv:
    """One convolution; `channels` and `filters` count one group."""

    batch: int
    size: tuple[int, int]
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    groups: int
    channels: int
    filters: int
    seed: int

    @property
    def geometry(self) -> dict[str, Any]:
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}

    def arrays(self, dtype: Any = np.float64) -> tuple[Array, Array]:
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.batch, *self.size, self.groups * self.channels))
        w = rng.standard_normal((*self.kernel_size, self.channels, self.groups * self.filters))
        return x.astype(dtype), w.astype(dtype)

    def depthwise_arrays(self, dtype: Any = np.float64) -> tuple[Array, Array]:
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.batch, *self.size, self.channels))
        w = rng.standard_normal((*self.kernel_size, self.channels, self.filters))
        return x.astype(dtype), w.astype(dtype)


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    small = st.integers(1, 3)
    kernel_size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilations = draw(st.tuples(small, small))
    pad = st.integers(0, 4)
    pads = draw(st.tuples(pad, pad, pad, pad))
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel_size, strict=True)]
    padding = (pads[0] + pads[1], pads[2] + pads[3])
    fits = [max(1, reach[axis] - padding[axis]) for axis in (0, 1)]
    return Conv(
        batch=draw(st.integers(1, 2)),
        size=(fits[0] + draw(st.integers(0, 7)), fits[1] + draw(st.integers(0, 7))),
        kernel_size=kernel_size,
        strides=draw(st.tuples(small, small)),
        pads=pads,
        dilations=dilations,
        groups=draw(small),
        channels=draw(small),
        filters=draw(small),
        seed=draw(st.integers(0, 2**16)),
    )


def patches(x: Array, conv: Conv) -> Array:
    """Return what each output sees, (N, P, Q, C, R, S)."""
    top, bottom, left, right = conv.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilations, conv.kernel_size, strict=True))
    windows = sliding_window_view(padded, reach, axis=(1, 2))
    (down, across), (dilate_h, dilate_w) = conv.strides, conv.dilations
    return windows[:, ::down, ::across, :, ::dilate_h, ::dilate_w]


def inner(a: Array, b: Array) -> tuple[float, float]:
    """Return <a, b> and the size of its terms, which bounds its rounding error."""
    terms = (a * b).ravel()
    return float(terms.sum()), float(np.abs(terms).sum())


def assert_adjoint(*pairs: tuple[Array, Array]) -> None:
    (expected, scale), *others = (inner(a, b) for a, b in pairs)
    for found, found_scale in others:
        assert abs(found - expected) <= 1e-12 * max(scale, found_scale)


# Convolution


@settings(deadline=None, max_examples=150)
@given(convs())
def test_conv2d_matches_numpy(conv: Conv) -> None:
    x, w = conv.arrays()
    seen = patches(x, conv)
    n, p, q, _, r, s = seen.shape
    grouped = seen.reshape(n, p, q, conv.groups, conv.channels, r, s)
    filters = w.reshape(r, s, conv.channels, conv.groups, conv.filters)
    expected = np.einsum("npqgcrs,rscgk->npqgk", grouped, filters).reshape(n, p, q, -1)
    y = reference.conv2d(x, w, **conv.geometry, groups=conv.groups)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)

    dy = np.random.default_rng(conv.seed + 1).standard_normal(y.shape)
    split = dy.reshape(n, p, q, conv.groups, conv.filters)
    expected = np.einsum("npqgcrs,npqgk->rscgk", grouped, split).reshape(w.shape)
    dw = reference.conv2d_grad_kernel(x, dy, conv.kernel_size, **conv.geometry, groups=conv.groups)
    np.testing.assert_allclose(dw, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=150)
@given(convs())
def test_conv2d_gradients_are_adjoint(conv: Conv) -> None:
    x, w = conv.arrays()
    y = reference.conv2d(x, w, **conv.geometry, groups=conv.groups)
    dy = np.random.default_rng(conv.seed + 1).standard_normal(y.shape)
    dx = reference.conv2d_grad_input(dy, w, conv.size, **conv.geometry, groups=conv.groups)
    dw = reference.conv2d_grad_kernel(x, dy, conv.kernel_size, **conv.geometry, groups=conv.groups)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    assert_adjoint((y, dy), (x, dx), (w, dw))


@settings(deadline=None, max_examples=150)
@given(convs())
def test_depthwise_matches_numpy_and_gradients_are_adjoint(conv: Conv) -> None:
    x, w = conv.depthwise_arrays()
    y = reference.depthwise_conv2d(x, w, **conv.geometry)
    expected = np.einsum("npqcrs,rscm->npqcm", patches(x, conv), w)
    np.testing.assert_allclose(y, expected.reshape(y.shape), rtol=1e-12, atol=1e-12)

    dy = np.random.default_rng(conv.seed + 1).standard_normal(y.shape)
    dx = reference.depthwise_conv2d_grad_input(dy, w, conv.size, **conv.geometry)
    dw = reference.depthwise_conv2d_grad_kernel(x, dy, conv.kernel_size, **conv.geometry)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    assert_adjoint((y, dy), (x, dx), (w, dw))


@settings(deadline=None, max_examples=30)
@given(convs())
def test_depthwise_is_conv2d_with_one_channel_per_group(conv: Conv) -> None:
    x, w = conv.depthwise_arrays(np.float32)
    merged = w.reshape(*conv.kernel_size, 1, -1)
    y = reference.conv2d(x, merged, **conv.geometry, groups=conv.channels)
    np.testing.assert_array_equal(reference.depthwise_conv2d(x, w, **conv.geometry), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 2), (1, 1), (2, 0), (2, 1)])
def test_delta_kernel_shifts_the_image(dtype: Any, r: int, s: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 3)).astype(dtype)
    kernel = np.zeros((3, 3, 3, 3), dtype)
    kernel[r, s] = np.eye(3)
    y = reference.conv2d(x, kernel, UNIT, (1, 1, 1, 1), UNIT, 1)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_array_equal(y, padded[:, r : r + 5, s : s + 7])
    assert y.dtype == dtype

    depthwise = np.zeros((3, 3, 3, 1), dtype)
    depthwise[r, s] = 1
    y = reference.depthwise_conv2d(x, depthwise, UNIT, (1, 1, 1, 1), UNIT)
    np.testing.assert_array_equal(y, padded[:, r : r + 5, s : s + 7])


def test_conv2d_by_hand() -> None:
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    y = reference.conv2d(x, kernel, UNIT, NO_PADS, UNIT, 1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[37, 47], [67, 77]])
    y = reference.conv2d(x, kernel, (2, 2), (1, 0, 1, 0), UNIT, 1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[4, 18], [36, 77]])
    y = reference.conv2d(x, kernel, UNIT, NO_PADS, (2, 2), 1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[1 + 2 * 3 + 3 * 7 + 4 * 9]])


def test_transposed_convolution_spreads_each_pixel() -> None:
    dy = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2, 1)
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    dx = reference.conv2d_grad_input(dy, kernel, (5, 4), (2, 2), NO_PADS, UNIT, 1)
    expected = np.zeros((5, 4))
    expected[:4] = np.kron(dy[0, :, :, 0], kernel[:, :, 0, 0])
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


def test_lecture_chain_of_sizes() -> None:
    x, kernel = np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1))
    assert reference.conv2d(x, kernel, UNIT, NO_PADS, UNIT, 1).shape == (1, 3, 3, 1)
    same = reference.conv2d(x, kernel, UNIT, (1, 1, 1, 1), UNIT, 1)
    assert same.shape == (1, 5, 5, 1)
    assert reference.conv2d(x, kernel, (2, 2), NO_PADS, UNIT, 1).shape == (1, 2, 2, 1)


# Max-pooling


def test_overlapping_windows_add_up_their_gradients() -> None:
    """A 3x3 window at stride 1 over 5x5: the centre wins five windows, a corner wins one."""
    plane = [
        [1, 2, 0, 1, 3],
        [0, 1, 2, 1, 0],
        [1, 0, 9, 0, 1],
        [2, 1, 0, 8, 1],
        [1, 3, 1, 0, 2],
    ]
    x = np.array(plane, dtype=np.float64).reshape(1, 5, 5, 1)
    x[0, 4, 4, 0] = 11
    y, index = reference.max_pool2d(x, (3, 3), UNIT, NO_PADS, (3, 3))
    np.testing.assert_array_equal(y[0, :, :, 0], [[9, 9, 9], [9, 9, 9], [9, 9, 11]])
    np.testing.assert_array_equal(index[0, :, :, 0], [[8, 7, 6], [5, 4, 3], [2, 1, 8]])
    dy = 2.0 ** np.arange(9).reshape(1, 3, 3, 1)
    dx = reference.max_pool2d_grad(dy, index, (5, 5), (3, 3), UNIT, NO_PADS)
    expected = np.zeros((5, 5))
    expected[2, 2], expected[4, 4] = 255, 256
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


def test_gradients_accumulate_in_row_order_of_the_windows() -> None:
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1] = 1
    _, index = reference.max_pool2d(x, (2, 2), UNIT, NO_PADS, (2, 2))
    dy = np.array([1.0, 1e8, -1e8, 1.0], np.float32).reshape(1, 2, 2, 1)
    dx = reference.max_pool2d_grad(dy, index, (3, 3), (2, 2), UNIT, NO_PADS)
    assert dx[0, 1, 1, 0] == ((dy.flat[0] + dy.flat[1]) + dy.flat[2]) + dy.flat[3] == 1
    dy = np.array([1e8, -1e8, 1.0, 1.0], np.float32).reshape(1, 2, 2, 1)
    dx = reference.max_pool2d_grad(dy, index, (3, 3), (2, 2), UNIT, NO_PADS)
    assert dx[0, 1, 1, 0] == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, -3.0, 5.0, -np.inf, np.inf])
def test_ties_go_to_the_first_in_row_order(dtype: Any, value: float) -> None:
    x = np.full((1, 4, 4, 2), value, dtype)
    y, index = reference.max_pool2d(x, (2, 2), (2, 2), NO_PADS, (2, 2))
    assert (y == value).all()
    assert not index.any()
    # With one row and column of padding the first real pixel is elsewhere in the border windows.
    y, index = reference.max_pool2d(x, (2, 2), (2, 2), (1, 1, 1, 1), (3, 3))
    assert (y == value).all()
    np.testing.assert_array_equal(index[0, :, :, 0], [[3, 2, 2], [1, 0, 0], [1, 0, 0]])


def test_padding_never_wins() -> None:
    x = np.full((1, 2, 2, 1), -7.0)
    y, index = reference.max_pool2d(x, (3, 3), UNIT, (2, 2, 2, 2), (4, 4))
    assert (y == -7).all()
    dx = reference.max_pool2d_grad(np.ones_like(y), index, (2, 2), (3, 3), UNIT, (2, 2, 2, 2))
    assert dx.sum() == 16


def test_window_without_input_is_minus_infinity_and_has_no_gradient() -> None:
    x = np.ones((1, 1, 1, 1))
    y, index = reference.max_pool2d(x, UNIT, UNIT, (1, 1, 1, 1), (3, 3))
    assert y[0, 1, 1, 0] == 1
    assert (np.delete(y.ravel(), 4) == -np.inf).all()
    dx = reference.max_pool2d_grad(np.ones_like(y), index, (1, 1), UNIT, UNIT, (1, 1, 1, 1))
    assert dx.item() == 1


def test_windows_may_reach_beyond_the_padded_input() -> None:
    x = np.arange(25.0).reshape(1, 5, 5, 1)
    y, index = reference.max_pool2d(x, (2, 2), (2, 2), NO_PADS, (3, 3))
    np.testing.assert_array_equal(y[0, :, :, 0], [[6, 8, 9], [16, 18, 19], [21, 23, 24]])
    np.testing.assert_array_equal(index[0, :, :, 0], [[3, 3, 2], [3, 3, 2], [1, 1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_first_nan_wins(dtype: Any) -> None:
    x = np.array([[1, np.nan, 9], [np.nan, 2, np.inf]], dtype).reshape(1, 2, 3, 1)
    y, index = reference.max_pool2d(x, (2, 3), UNIT, NO_PADS, UNIT)
    assert np.isnan(y.item())
    assert index.item() == 1
    y, index = reference.max_pool2d(x[:, :, ::-1].copy(), (2, 3), UNIT, NO_PADS, UNIT)
    assert np.isnan(y.item())
    assert index.item() == 1


@pytest.mark.parametrize(
    ("pool_size", "dtype"), [((16, 16), np.uint8), ((1, 257), np.int32), ((17, 16), np.int32)]
)
def test_index_dtype_holds_the_last_position(pool_size: tuple[int, int], dtype: Any) -> None:
    x = np.zeros((1, *pool_size, 1), np.float32)
    x[0, -1, -1] = 1
    y, index = reference.max_pool2d(x, pool_size, UNIT, NO_PADS, UNIT)
    assert index.dtype == dtype
    assert index.item() == pool_size[0] * pool_size[1] - 1
    dx = reference.max_pool2d_grad(y, index, pool_size, pool_size, UNIT, NO_PADS)
    np.testing.assert_array_equal(dx, x)


@settings(deadline=None, max_examples=150)
@given(convs(), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_max_pool2d_matches_numpy(conv: Conv, below: int, beyond: int, with_nan: bool) -> None:
    """`below` and `beyond` windows' worth of pixels past the padding stand for `ceil_mode`."""
    rng = np.random.default_rng(conv.seed)
    x = rng.integers(-3, 4, (conv.batch, *conv.size, conv.channels)).astype(np.float64)
    if with_nan:
        x[rng.random(x.shape) < 0.2] = np.nan
    (down, across), (top, bottom, left, right) = conv.strides, conv.pads
    widths = ((0, 0), (top, bottom + below * down), (left, right + beyond * across), (0, 0))
    padded = np.pad(x, widths, constant_values=-np.inf)
    rows = max(0, conv.kernel_size[0] - padded.shape[1])
    columns = max(0, conv.kernel_size[1] - padded.shape[2])
    padded = np.pad(padded, ((0, 0), (0, rows), (0, columns), (0, 0)), constant_values=-np.inf)
    windows = sliding_window_view(padded, conv.kernel_size, axis=(1, 2))[:, ::down, ::across]
    flat = windows.reshape(*windows.shape[:4], -1)
    size = flat.shape[1:3]

    y, index = reference.max_pool2d(x, conv.kernel_size, conv.strides, conv.pads, size)
    np.testing.assert_array_equal(y, flat.max(axis=-1))
    np.testing.assert_array_equal(index, flat.argmax(axis=-1))

    dy = rng.integers(-9, 10, y.shape).astype(np.float64)
    expected = np.zeros(padded.shape)
    r, s = np.divmod(flat.argmax(axis=-1), conv.kernel_size[1])
    n, p, q, c = np.indices(y.shape)
    np.add.at(expected, (n, p * down + r, q * across + s, c), dy)
    expected = expected[:, top : top + conv.size[0], left : left + conv.size[1]]
    dx = reference.max_pool2d_grad(dy, index, conv.size, conv.kernel_size, conv.strides, conv.pads)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize(
    ("pool_size", "strides", "pads", "output_size"),
    [
        ((3, 3), (1, 1), NO_PADS, (4, 3)),
        ((3, 2), (2, 1), (1, 1, 1, 0), (3, 5)),
        ((2, 2), (3, 3), NO_PADS, (2, 2)),
        ((2, 3), (2, 2), (0, 0, 1, 1), (3, 3)),
    ],
)
def test_max_pool2d_gradient_by_finite_differences(
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    output_size: tuple[int, int],
) -> None:
    rng = np.random.default_rng(1)
    shape = (2, 6, 5, 2)
    # Values one apart keep every winner under a step of 1/4, and make the difference exact.
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float64)
    y, index = reference.max_pool2d(x, pool_size, strides, pads, output_size)
    dy = rng.integers(-8, 9, y.shape).astype(np.float64)
    dx = reference.max_pool2d_grad(dy, index, shape[1:3], pool_size, strides, pads)
    for at in np.ndindex(shape):
        loss = []
        for step in (0.25, -0.25):
            moved = x.copy()
            moved[at] += step
            pooled, _ = reference.max_pool2d(moved, pool_size, strides, pads, output_size)
            loss.append(np.vdot(pooled, dy))
        assert (loss[0] - loss[1]) / 0.5 == dx[at]


# Every kernel


def every_kernel(conv: Conv, dtype: Any) -> list[Array]:
    x, w = conv.arrays(dtype)
    y = reference.conv2d(x, w, **conv.geometry, groups=conv.groups)
    depth_x, depth_w = conv.depthwise_arrays(dtype)
    depth_y = reference.depthwise_conv2d(depth_x, depth_w, **conv.geometry)
    size, kernel_size, geometry = conv.size, conv.kernel_size, conv.geometry
    pooling = (kernel_size, conv.strides, conv.pads)
    pooled, index = reference.max_pool2d(x, *pooling, output_size=(7, 7))
    return [
        y,
        reference.conv2d_grad_input(y, w, size, **geometry, groups=conv.groups),
        reference.conv2d_grad_kernel(x, y, kernel_size, **geometry, groups=conv.groups),
        depth_y,
        reference.depthwise_conv2d_grad_input(depth_y, depth_w, size, **geometry),
        reference.depthwise_conv2d_grad_kernel(depth_x, depth_y, kernel_size, **geometry),
        pooled,
        index,
        reference.max_pool2d_grad(pooled, index, size, *pooling),
    ]


EXAMPLE = Conv(3, (13, 11), (3, 3), (2, 1), (1, 2, 0, 1), (1, 2), 2, 5, 7, seed=3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_number_of_threads(dtype: Any) -> None:
    results = []
    for threads in (1, 2, 3):
        reference.set_num_threads(threads)
        assert reference.get_num_threads() == threads
        results.append([array.tobytes() for array in every_kernel(EXAMPLE, dtype)])
    assert results[0] == results[1] == results[2]


def test_float32_agrees_with_float64() -> None:
    singles, doubles = every_kernel(EXAMPLE, np.float32), every_kernel(EXAMPLE, np.float64)
    for single, double in zip(singles, doubles, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4 * np.abs(double).max())
    assert {array.dtype for array in singles} == {np.dtype("f4"), np.dtype("u1")}
    assert {array.dtype for array in doubles} == {np.dtype("f8"), np.dtype("u1")}


def test_inputs_may_be_read_only_and_named() -> None:
    x, w = EXAMPLE.arrays(np.float32)
    expected = reference.conv2d(x, w, **EXAMPLE.geometry, groups=2)
    x.flags.writeable = w.flags.writeable = False
    y = reference.conv2d(x=x, kernel=w, **EXAMPLE.geometry, groups=2)
    np.testing.assert_array_equal(y, expected)
    dx = reference.conv2d_grad_input(
        dy=y, kernel=w, input_size=EXAMPLE.size, **EXAMPLE.geometry, groups=2
    )
    assert dx.shape == x.shape


def test_empty_batch() -> None:
    x, w = np.zeros((0, 4, 4, 2)), np.ones((3, 3, 2, 5))
    y = reference.conv2d(x, w, UNIT, NO_PADS, UNIT, 1)
    assert y.shape == (0, 2, 2, 5)
    assert reference.conv2d_grad_input(y, w, (4, 4), UNIT, NO_PADS, UNIT, 1).shape == x.shape
    assert not reference.conv2d_grad_kernel(x, y, (3, 3), UNIT, NO_PADS, UNIT, 1).any()


def test_broken_promises_are_caught() -> None:
    x, w = np.ones((1, 4, 4, 4)), np.ones((3, 3, 2, 6))
    with pytest.raises(AssertionError):
        reference.conv2d(x, w, UNIT, NO_PADS, UNIT, 1)
    with pytest.raises(AssertionError):
        reference.conv2d(x, w, (0, 1), NO_PADS, UNIT, 2)
    with pytest.raises(AssertionError):
        reference.max_pool2d_grad(x, np.zeros((1, 4, 4, 3), np.uint8), (4, 4), UNIT, UNIT, NO_PADS)
    single: Array = w.astype(np.float32)
    with pytest.raises(ValueError, match="dtype mismatch"):
        reference.conv2d(x, single, UNIT, NO_PADS, UNIT, 2)
    with pytest.raises(ValueError, match="contiguous"):
        reference.conv2d(x[:, :, ::2], w, UNIT, NO_PADS, UNIT, 2)
    with pytest.raises(AssertionError, match="at least 1"):
        reference.set_num_threads(0)
