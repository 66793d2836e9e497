# SPDX-License-Identifier: Apache-2.0
"""Softmax and cross-entropies: formulas, far logits, smoothing, labels that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastcnn import ops
from fastcnn.autodiff import gradient, gradients
from fastcnn.errors import ArgumentError, DtypeError, NotDifferentiableError, ShapeError
from fastcnn.graph import placeholder
from fastcnn.ops._apply import apply
from fastcnn.ops.loss import (
    SoftmaxCrossEntropyWithGrad,
    SparseSoftmaxCrossEntropy,
    SparseSoftmaxCrossEntropyWithGrad,
)

Array = np.ndarray[Any, Any]
DTYPES = [np.float32, np.float64]
FAR = [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [0, 1, 2]]

logits = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=20),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@given(logits)
def test_softmax_rows_are_distributions(x: Array) -> None:
    y = ops.softmax(x)
    assert (y >= 0).all()
    assert (y <= 1).all()
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-5)


@given(logits)
def test_log_softmax_is_the_logarithm(x: Array) -> None:
    log = ops.log_softmax(x)
    assert (log <= 0).all()
    assert np.isfinite(log).all()
    np.testing.assert_allclose(np.exp(log), ops.softmax(x), atol=1e-5)
    shifted = ops.log_softmax(x.astype(np.float64) + 3)
    np.testing.assert_allclose(log, shifted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax])
def test_any_axis(function: Any, axis: int, dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(dtype)
    wanted = np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis)
    np.testing.assert_array_equal(function(x, axis=axis), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_logits(dtype: Any) -> None:
    x = np.array(FAR, dtype)
    third = 1 / 3
    e = np.exp([-2.0, -1.0, 0.0])
    wanted = [[1, 0, 0], [third] * 3, [third] * 3, e / e.sum()]
    np.testing.assert_allclose(ops.softmax(x), wanted, rtol=1e-6)
    losses = ops.sparse_categorical_crossentropy(np.int32([1, 0, 2, 2]), x)
    np.testing.assert_allclose(losses, [2e4, np.log(3), np.log(3), np.log(e.sum())], rtol=1e-6)
    one_hot = np.eye(3, dtype=dtype)[[1, 0, 2, 2]]
    np.testing.assert_allclose(ops.categorical_crossentropy(one_hot, x), losses, rtol=1e-6)
    dx = gradient(lambda t: ops.sparse_categorical_crossentropy(np.int32([1, 0, 2, 2]), t), x)[0]
    np.testing.assert_allclose(dx, ops.softmax(x) - one_hot, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_not_finite_stay_apart(dtype: Any) -> None:
    x = np.array([[1, np.nan, 0], [1, -np.inf, 1], [0, 0, 0]], dtype)
    y = ops.softmax(x)
    assert np.isnan(y[0]).all()
    np.testing.assert_allclose(y[1:], [[0.5, 0, 0.5], [1 / 3] * 3], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_label_smoothing_is_a_mixed_target(smoothing: float, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 10)).astype(dtype) * 3
    labels = rng.integers(0, 10, 6).astype(np.int32)
    one_hot = np.eye(10, dtype=dtype)[labels]
    target = one_hot * (1 - smoothing) + smoothing / 10
    wanted = -(target * np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True))).sum(-1)
    sparse = ops.sparse_categorical_crossentropy(labels, x, label_smoothing=smoothing)
    dense = ops.categorical_crossentropy(one_hot, x, label_smoothing=smoothing)
    np.testing.assert_allclose(sparse, wanted, rtol=2e-5)
    np.testing.assert_allclose(dense, wanted, rtol=2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_logits_with_smoothing_keep_their_digits(dtype: Any) -> None:
    x = np.array([[1e4, 1e4 - 1, 1e4 - 2]], dtype)
    loss = ops.sparse_categorical_crossentropy(np.int32([0]), x, label_smoothing=0.3)
    log_sum = np.log(np.exp([0.0, -1.0, -2.0]).sum())
    np.testing.assert_allclose(loss, [log_sum + 0.1 * 3], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", [-1, 3, 255, -(2**31), 2**31 - 1])
def test_labels_that_do_not_exist_give_nan(label: int, dtype: Any) -> None:
    x = np.array(FAR, dtype)
    labels = np.int32([0, label, 1, 2])

    def loss(t: Any) -> Any:
        return ops.sparse_categorical_crossentropy(labels, t, 0.1)

    known = [0, 2, 3]
    found = loss(x)
    assert np.isnan(found[1])
    np.testing.assert_array_equal(
        found[known], ops.sparse_categorical_crossentropy(labels[known], x[known], 0.1)
    )
    dx = gradient(loss, x)[0]
    assert np.isnan(dx[1]).all()
    assert np.isfinite(dx[known]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64])
def test_labels_of_any_integer_type(dtype: Any) -> None:
    x = np.array(FAR, np.float32)
    found = ops.sparse_categorical_crossentropy(np.array([0, 1, 2, 1], dtype), x)
    wanted = ops.sparse_categorical_crossentropy(np.int32([0, 1, 2, 1]), x)
    np.testing.assert_array_equal(found, wanted)


def test_labels_beyond_int32_do_not_wrap_around() -> None:
    x = np.zeros((3, 3), np.float32)
    labels = np.array([2**32 + 1, -(2**32) + 1, 1])
    found = ops.sparse_categorical_crossentropy(labels, x)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])


def test_targets_receive_a_gradient() -> None:
    x = np.array([[0.5, -1, 2]])
    target = np.array([[0.2, 0.3, 0.5]])
    dt = gradient(lambda t: ops.categorical_crossentropy(t, x, 0.1), target)[0]
    np.testing.assert_allclose(dt, -0.9 * ops.log_softmax(x), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy(dtype: Any) -> None:
    x = np.array([-1e4, -1e4, 1e4, 1e4, 0, 0, 2, -20, 20], dtype)
    t = np.array([0, 1, 0, 1, 0, 0.5, 0.25, 0, 1], dtype)
    at_two = -0.25 * np.log(1 / (1 + np.exp(-2.0))) - 0.75 * np.log(1 - 1 / (1 + np.exp(-2.0)))
    small = np.log1p(np.exp(-20.0))
    wanted = [0, 1e4, 1e4, 0, np.log(2), np.log(2), at_two, small, small]
    np.testing.assert_allclose(ops.binary_crossentropy(t, x), wanted, rtol=2e-6)
    dx = gradient(lambda a: ops.binary_crossentropy(t, a), x)[0]
    sigmoid = np.array([0, 0, 1, 1, 0.5, 0.5, 1 / (1 + np.exp(-2.0)), np.exp(-20), 1])
    np.testing.assert_allclose(dx, sigmoid - t, rtol=2e-6, atol=3e-9)


def test_wrong_inputs() -> None:
    x = np.zeros((2, 3), np.float32)
    labels = np.zeros(2, np.int32)
    with pytest.raises(DtypeError, match="found labels of float32, expected int32"):
        ops.sparse_categorical_crossentropy(np.zeros(2, np.float32), x)
    with pytest.raises(ShapeError, match=r"labels of shape \(3,\) for logits of shape \(2, 3\)"):
        ops.sparse_categorical_crossentropy(np.zeros(3, np.int32), x)
    with pytest.raises(ShapeError, match="give one class number per row"):
        ops.sparse_categorical_crossentropy(np.zeros((2, 1), np.int32), x)
    with pytest.raises(ArgumentError, match=r"label_smoothing=1\.5"):
        ops.sparse_categorical_crossentropy(labels, x, 1.5)
    with pytest.raises(ShapeError, match="expected equal shapes"):
        ops.categorical_crossentropy(np.zeros((2, 4), np.float32), x)
    with pytest.raises(ShapeError, match="expected equal shapes"):
        ops.binary_crossentropy(np.zeros((1, 3), np.float32), x)
    with pytest.raises(DtypeError, match="expected float32"):
        ops.softmax(np.zeros((2, 3), np.int32))
    with pytest.raises(ShapeError, match="K of at least 1"):
        ops.softmax(np.zeros((2, 0), np.float32))
    with pytest.raises(ShapeError, match="found axis 2"):
        ops.softmax(x, axis=2)


def test_by_products_carry_no_gradient() -> None:
    x, labels = placeholder((2, 3)), placeholder((2,), "int32")
    probabilities = apply(SparseSoftmaxCrossEntropy(), x, labels)[1]
    with pytest.raises(NotDifferentiableError, match=r"use ops\.softmax"):
        gradients(probabilities, [x])


def test_unknown_batch() -> None:
    x, labels = placeholder((None, 3)), placeholder((None,), "int32")
    assert ops.softmax(x).shape == (None, 3)
    assert ops.softmax(placeholder((None, 4, 3)), axis=1).shape == (None, 4, 3)
    assert ops.sparse_categorical_crossentropy(labels, x).shape == (None,)
    assert ops.categorical_crossentropy(placeholder((8, 3)), x).shape == (None,)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("sparse", [True, False])
def test_gradients_beside_losses_are_the_slopes(sparse: bool, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((3, 5)), rng.standard_normal(3)
    target = np.int32([4, 0, 2]) if sparse else rng.random((3, 5))
    kind = SparseSoftmaxCrossEntropyWithGrad if sparse else SoftmaxCrossEntropyWithGrad
    losses, dx = apply(kind(smoothing), x, target, dy)
    function = ops.sparse_categorical_crossentropy if sparse else ops.categorical_crossentropy
    np.testing.assert_array_equal(losses, function(target, x, smoothing))
    step = 1e-6 * np.eye(15).reshape(15, 3, 5)
    above, below = (
        np.array([(dy * function(target, x + sign * d, smoothing)).sum() for d in step])
        for sign in (1, -1)
    )
    np.testing.assert_allclose(dx.ravel(), (above - below) / 2e-6, rtol=1e-6, atol=1e-8)


def test_gradients_beside_losses_want_one_number_a_row() -> None:
    x, labels = placeholder((3, 5)), placeholder((3,), "int32")
    with pytest.raises(ShapeError, match=r"found a gradient of shape \(1,\) for losses of"):
        apply(SparseSoftmaxCrossEntropyWithGrad(), x, labels, placeholder((1,)))
    with pytest.raises(DtypeError, match="one float type"):
        apply(SoftmaxCrossEntropyWithGrad(), x, x, placeholder((3,), "float64"))
