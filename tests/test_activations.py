# SPDX-License-Identifier: Apache-2.0
"""Activations by name and formula, and regularizers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastcnn import activations, regularizers
from fastcnn.errors import ArgumentError
from fastcnn.graph import placeholder

X = np.array([[-7.0, -3.5, -1.0, -0.2, 0.0, 0.3, 1.0, 2.9, 6.5]])


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "exponential": np.exp,
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "linear": lambda x: x,
    "log_softmax": lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "scaled_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_formula_by_name(name):
    function = activations.get(name)
    assert function is getattr(activations, name)
    expected = FORMULAS[name](X)
    np.testing.assert_allclose(function(X), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(function(X.astype("float32")), expected, rtol=1e-5, atol=1e-5)
    assert function(placeholder((None, 9))).shape == (None, 9)


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_names_round_trip(name):
    assert activations.get(activations.serialize(activations.get(name))) is activations.get(name)


def test_get_takes_none_functions_and_configs():
    def own(x):
        return x

    assert activations.get(None) is activations.linear
    assert activations.get(own) is own
    assert activations.get(activations.serialize(own), {"own": own}) is own
    assert activations.get({"class_name": "function", "config": "relu"}) is activations.relu
    with pytest.raises(ArgumentError, match="hard_silu"):
        activations.get("rellu")
    with pytest.raises(ArgumentError, match="hard_silu"):
        activations.get(3)
    with pytest.raises(ArgumentError, match="custom_objects"):
        activations.serialize(lambda x: x)


def test_arguments_follow_keras():
    np.testing.assert_allclose(
        activations.relu(X, negative_slope=0.1, max_value=2.0, threshold=0.5),
        np.where(X >= 0.5, np.minimum(X, 2.0), 0.1 * (X - 0.5)),
    )
    np.testing.assert_allclose(activations.elu(X, alpha=0.5), np.where(X > 0, X, np.expm1(X) / 2))
    tanh = np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))
    expected = X * 0.5 * (1 + tanh)
    np.testing.assert_allclose(activations.gelu(X, approximate=True), expected, atol=1e-12)
    np.testing.assert_allclose(activations.softmax(X.T, axis=0), activations.softmax(X).T)


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (regularizers.L1(0.1), 0.6),
        (regularizers.L2(0.1), 1.4),
        (regularizers.L1L2(0.1, 0.2), 0.6 + 2.8),
        (regularizers.L1L2(), 0.0),
    ],
)
def test_regularizers(regularizer, expected):
    weight = np.array([[1.0, -2.0, 3.0]], np.float32)
    assert float(regularizer(weight)) == pytest.approx(expected)
    assert regularizer(placeholder((3, 4))).shape == ()
    copy = regularizers.get(json.loads(json.dumps(regularizers.serialize(regularizer))))
    assert copy.get_config() == regularizer.get_config()


def test_regularizers_by_name():
    assert regularizers.get(None) is None
    assert regularizers.get("l2").get_config() == {"l2": 0.01}
    assert isinstance(regularizers.get("L1L2"), regularizers.L1L2)
    assert regularizers.l2(0.5).l2 == 0.5
    assert regularizers.get(abs) is abs
    with pytest.raises(ArgumentError, match="l1_l2"):
        regularizers.get("l3")
    for wrong in (-1, float("nan"), "a", None):
        with pytest.raises(ArgumentError, match="l2="):
            regularizers.L2(wrong)
