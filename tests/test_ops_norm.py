# SPDX-License-Identifier: Apache-2.0
"""Normalisation: what the statistics are, limits, accuracy, and what the errors say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.autodiff import evaluate, gradients
from fastcnn.errors import ArgumentError, DtypeError, NotDifferentiableError, ShapeError
from fastcnn.graph import Spec, constant, infer, placeholder
from fastcnn.ops.norm_batch import BatchNormInference, BatchNormTrain
from fastcnn.ops.norm_group import GroupNorm, LayerNorm

Array = np.ndarray[Any, Any]


def samples(*shape: int, offset: float = 0.0, dtype: str = "float32") -> Array:
    values = np.random.default_rng(7).standard_normal(shape)
    return (values * 2 + offset).astype(dtype)


def ones_zeros(*shape: int, dtype: str = "float32") -> tuple[Array, Array]:
    return np.ones(shape, dtype), np.zeros(shape, dtype)


@pytest.mark.parametrize("shape", [(50, 3), (2, 9, 3), (4, 9, 7, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_output_has_mean_zero_and_variance_one(shape: Any, dtype: str) -> None:
    x = samples(*shape, offset=3.0, dtype=dtype)
    axes = tuple(range(len(shape) - 1))
    y, mean, variance = ops.batch_norm(x, *ones_zeros(shape[-1], dtype=dtype), epsilon=1e-6)
    assert y.dtype == mean.dtype == variance.dtype == dtype
    np.testing.assert_allclose(y.mean(axis=axes), 0, atol=2e-6)
    np.testing.assert_allclose(y.var(axis=axes), 1, atol=1e-5)
    np.testing.assert_allclose(mean, x.astype("float64").mean(axis=axes), rtol=1e-6)
    np.testing.assert_allclose(variance, x.astype("float64").var(axis=axes), rtol=2e-6)


def test_gamma_and_beta_scale_and_shift() -> None:
    x, gamma, beta = samples(6, 5, 4), samples(4), samples(4, offset=1.0)
    plain = ops.batch_norm(x, *ones_zeros(4))[0]
    np.testing.assert_allclose(
        ops.batch_norm(x, gamma, beta)[0], plain * gamma + beta, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("scale_and_offset", [True, False])
def test_inference_on_the_batch_statistics_equals_training(scale_and_offset: bool) -> None:
    x = samples(3, 8, 8, 5, offset=-2.0)
    gamma, beta = (samples(5), samples(5, offset=1.0)) if scale_and_offset else ones_zeros(5)
    y, mean, variance = ops.batch_norm(x, gamma, beta, epsilon=1e-3)
    optional = {"scale": gamma, "offset": beta} if scale_and_offset else {}
    again = ops.batch_normalization(x, mean, variance, **optional)
    np.testing.assert_allclose(again, y, atol=3e-6)


def test_constant_channels_give_beta_exactly() -> None:
    x = np.broadcast_to(np.float32([0.1, -12345.678, 0.0]), (200, 3)).copy()
    beta = np.float32([0.5, -1.0, 2.0])
    y, mean, variance = ops.batch_norm(x, np.ones(3, "float32"), beta)
    np.testing.assert_array_equal(variance, 0)
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(y, np.broadcast_to(beta, y.shape))


def exact(x: Array, axes: Any) -> Array:
    """Normalised in float64 from the float32 values."""
    wide = x.astype("float64")
    variance = wide.var(axis=axes, keepdims=True)
    return (wide - wide.mean(axis=axes, keepdims=True)) / np.sqrt(variance + 1e-3)


def test_a_large_offset_costs_no_accuracy() -> None:
    """At 1e4 a float32 mean is off by up to 5e-4, a sum of squares by far more."""
    x = samples(2, 25, 25, 6, offset=1e4)
    flat = ones_zeros(6)
    np.testing.assert_allclose(ops.batch_norm(x, *flat)[0], exact(x, (0, 1, 2)), atol=1e-5)
    by_sample = exact(x.reshape(2, -1, 2, 3), (1, 3)).reshape(x.shape)
    np.testing.assert_allclose(ops.group_norm(x, *flat, groups=2), by_sample, atol=1e-5)
    rows = samples(5, 600, offset=1e4)
    np.testing.assert_allclose(ops.layer_norm(rows, *ones_zeros(600)), exact(rows, 1), atol=1e-5)


def test_one_outlier_in_the_first_row_costs_little_accuracy() -> None:
    x = samples(1000, 4)
    x[0] = 1e5
    np.testing.assert_allclose(
        ops.batch_norm(x, *ones_zeros(4))[2], x.astype("f8").var(0), rtol=1e-5
    )


def test_nan_stays_in_its_channel() -> None:
    x = samples(70, 20)
    x[66, 3] = np.nan
    y, mean, variance = ops.batch_norm(x, *ones_zeros(20))
    bad = np.arange(20) == 3
    for statistic in (mean, variance, y.sum(0)):
        np.testing.assert_array_equal(np.isnan(statistic), bad)


def test_group_norm_limits_are_instance_and_layer_norm() -> None:
    x = samples(3, 5, 4, 6, offset=1.0)
    gamma, beta = samples(6), samples(6, offset=0.5)
    instance = np.concatenate([ops.batch_norm(s[None], gamma, beta)[0] for s in x])
    np.testing.assert_allclose(ops.group_norm(x, gamma, beta, groups=6), instance, atol=3e-6)
    everywhere = (np.broadcast_to(v, x.shape[1:]).copy() for v in (gamma, beta))
    layer = ops.layer_norm(x, *everywhere, axis=(1, 2, 3))
    np.testing.assert_allclose(ops.group_norm(x, gamma, beta, groups=1), layer, atol=3e-6)


def test_layer_norm_by_hand() -> None:
    y = ops.layer_norm([[1.0, 3.0], [5.0, 5.0]], [2.0, 1.0], [0.0, 10.0], epsilon=1e-12)
    np.testing.assert_allclose(y, [[-2.0, 11.0], [0.0, 10.0]], rtol=1e-6)


def test_layer_norm_takes_axes_in_any_spelling() -> None:
    x, vectors = samples(2, 3, 4), ones_zeros(3, 4)
    for axis in [(1, 2), (-2, -1), [2, 1]]:
        np.testing.assert_array_equal(
            ops.layer_norm(x, *vectors, axis=axis), ops.layer_norm(x, *vectors, axis=(1, -1))
        )


def local_by_loops(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    y = np.empty(x.shape)
    for c in range(x.shape[-1]):
        window = x[..., max(c - size // 2, 0) : c + (size - 1) // 2 + 1].astype("float64")
        y[..., c] = x[..., c] / (k + alpha / size * (window**2).sum(-1)) ** beta
    return y


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_local_response_norm_by_loops(size: int) -> None:
    x = samples(2, 3, 3, 11)
    found = ops.local_response_norm(x, size=size, alpha=0.5, beta=0.6, k=2.0)
    np.testing.assert_allclose(found, local_by_loops(x, size, 0.5, 0.6, 2.0), rtol=3e-6)


def test_gradient_of_batch_norm_is_orthogonal_to_one_and_to_x() -> None:
    """y does not change when x is shifted or scaled, so neither direction has a slope."""
    x = samples(40, 3, dtype="float64")
    gamma, beta = ones_zeros(3, dtype="float64")
    dy = np.random.default_rng(0).standard_normal(x.shape)
    leaf = placeholder(x.shape, "float64")
    y, _, _ = ops.batch_norm(leaf, gamma, beta, epsilon=1e-12)
    (dx,) = evaluate(gradients(y, [leaf], constant(dy)), {leaf: x})
    np.testing.assert_allclose(dx.sum(0), 0, atol=1e-10)
    np.testing.assert_allclose((dx * x).sum(0), 0, atol=1e-9)
    assert np.abs(dx).max() > 0.1


def test_unknown_batch_is_kept_unknown() -> None:
    x = Spec((None, None, None, 8))
    vector = Spec((8,))
    assert infer(BatchNormTrain(), [x, vector, vector]) == (x, vector, vector)
    assert infer(GroupNorm(4), [x, vector, vector])[1].shape == (None, 4)
    assert infer(LayerNorm(), [x, vector, vector])[2].shape == (None, None, None)


def test_gradient_through_batch_statistics_is_refused() -> None:
    x = placeholder((4, 3))
    _, mean, _ = ops.batch_norm(x, *ones_zeros(3))
    with pytest.raises(NotDifferentiableError, match="no gradient through its statistics"):
        gradients(mean, [x])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.batch_norm(x, *ones_zeros(4)), ShapeError, r"gamma has shape \(4,\)"),
        (lambda x: ops.batch_norm(x[0, 0], *ones_zeros(3)), ShapeError, "at least 2 dimensions"),
        (lambda x: ops.batch_norm(x[:0], *ones_zeros(3)), ShapeError, "without any values"),
        (lambda x: ops.batch_norm(x, *ones_zeros(3), epsilon=0), ArgumentError, "try epsilon"),
        (lambda x: ops.batch_norm(x.astype(int), *ones_zeros(3)), DtypeError, "found int64"),
        (lambda x: ops.batch_norm(x, np.ones(3), np.ones(3)), DtypeError, "one float type"),
        (lambda x: ops.batch_normalization(x, *ones_zeros(3), axis=1), ArgumentError, "axis is 1"),
        (lambda x: ops.batch_normalization(x, *ones_zeros(2)), ShapeError, "expected"),
        (lambda x: ops.group_norm(x, *ones_zeros(3), groups=2), ShapeError, r"one of \[1, 3\]"),
        (lambda x: ops.group_norm(x, *ones_zeros(3), groups=0), ShapeError, "groups=0"),
        (lambda x: ops.layer_norm(x, *ones_zeros(2)), ShapeError, "gamma has shape"),
        (lambda x: ops.layer_norm(x, *ones_zeros(3), axis=0), ArgumentError, "trailing axes"),
        (lambda x: ops.layer_norm(x, *ones_zeros(3), axis=()), ArgumentError, "trailing axes"),
        (lambda x: ops.local_response_norm(x, size=0), ArgumentError, "size is 0"),
        (lambda x: ops.local_response_norm(x, k=0.0), ArgumentError, "k > 0"),
        (lambda x: ops.local_response_norm(x[0, 0, :]), ShapeError, "at least 2 dimensions"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call(samples(2, 2, 3))
    assert "ops." in str(caught.value)


def test_inference_takes_a_single_row() -> None:
    spec = Spec((3,))
    assert infer(BatchNormInference(), [spec] * 5)[0].shape == (3,)
