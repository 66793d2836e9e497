# SPDX-License-Identifier: Apache-2.0
"""Gradients as graph: sums, independence, given dy, higher orders, and the eager shorthand."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn import ops
from fastcnn.autodiff import evaluate, gradient
from fastcnn.errors import NotDifferentiableError
from fastcnn.graph import Parameter, placeholder


def test_uses_of_one_tensor_add_up() -> None:
    x = np.array([1.0, -2.0, 3.0])
    (dx,) = gradient(lambda t: t * t + ops.relu(t) * 3.0 + t, x)
    np.testing.assert_allclose(dx, 2 * x + 3 * (x > 0) + 1)


def test_independent_inputs_have_no_symbolic_gradient_and_a_zero_array() -> None:
    x, y = placeholder((2,)), placeholder((2,))
    dx, dy = fastcnn.gradients(ops.exp(x), [x, y])
    assert dx is not None
    assert dy is None
    arrays = gradient(lambda a, b: ops.exp(a), np.ones(2), np.ones(2))
    np.testing.assert_array_equal(arrays[1], [0, 0])


def test_a_given_dy_is_carried_back() -> None:
    x = placeholder((2, 2), "float64")
    dy = np.array([[1.0, 0.0], [0.0, 2.0]])
    (dx,) = fastcnn.gradients(ops.square(x), [x], ops.add(x, 0.0))
    value = np.arange(4.0).reshape(2, 2)
    np.testing.assert_allclose(evaluate([dx], {x: value})[0], 2 * value * value)
    (dx,) = fastcnn.gradients(ops.square(x), [x], ops.multiply(x, dy))
    np.testing.assert_allclose(evaluate([dx], {x: value})[0], 2 * value * value * dy)


def test_second_derivatives_of_convolutions() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 4, 2))
    w = placeholder((3, 3, 2, 2), "float64")
    image = placeholder(x.shape, "float64")
    y = ops.conv2d(image, w)
    y = ops.sum(ops.multiply(y, y))
    (dw,) = fastcnn.gradients(y, [w])
    (second,) = fastcnn.gradients(ops.sum(dw), [w])
    kernel = rng.standard_normal(w.spec.sizes)
    step = 1e-5 * np.ones_like(kernel)

    def total(k: np.ndarray) -> float:
        return float(evaluate([dw], {w: k, image: x})[0].sum())

    directional = (total(kernel + step) - total(kernel - step)) / 2e-5
    found = evaluate([second], {w: kernel, image: x})[0].sum()
    assert found == pytest.approx(directional, rel=1e-7)


def test_gradients_reach_parameters() -> None:
    p = Parameter("w", np.array([2.0, 3.0]))
    (dp,) = fastcnn.gradients(ops.sum(ops.square(p.tensor)), [p])
    np.testing.assert_allclose(evaluate([dp], {})[0], [4.0, 6.0])


def test_ops_without_gradient_are_named() -> None:
    x = placeholder((3, 4))
    labels = ops.argmax(x, axis=-1)
    with pytest.raises(NotDifferentiableError, match="not a float"):
        fastcnn.gradients(labels, [x])
    mask = ops.greater(x, 0.0)
    with pytest.raises(NotDifferentiableError, match="greater"):
        fastcnn.gradients(mask, [x])


def test_eager_gradient_in_float32_agrees_with_float64() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((3, 3, 3, 4))

    def loss(a: object, b: object) -> object:
        return ops.sum(ops.tanh(ops.max_pool2d(ops.conv2d(a, b), 2, strides=1)))

    exact = ops.gradient(loss, x, w)
    single = ops.gradient(loss, x.astype(np.float32), w.astype(np.float32))
    for a, b in zip(exact, single, strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_model_with_respect_to_its_input() -> None:
    model = fastcnn.Sequential(
        [fastcnn.Input((4,)), fastcnn.layers.Dense(3, activation="tanh"), fastcnn.layers.Dense(1)]
    )
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    (dx,) = ops.gradient(lambda t: model(t), x)
    step = np.zeros_like(x)
    step[0, 1] = 1e-3
    numeric = (model.predict_on_batch(x + step) - model.predict_on_batch(x - step)).sum() / 2e-3
    assert dx[0, 1] == pytest.approx(float(numeric), rel=2e-2, abs=1e-4)
