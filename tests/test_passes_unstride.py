# SPDX-License-Identifier: Apache-2.0
"""First layers whose strides become channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, layers, ops
from fastcnn.applications import AlexNet, ResNet18
from fastcnn.graph import Parameter, placeholder, topological
from fastcnn.passes import Algorithms, unstride

UNSTRIDED = ("f32_space_to_depth", "f32_winograd_conv2d")
# (size, channels, taps, strides, padding): a square's rest of taps is 3, 4 or 5; sizes that strides
# do not divide; zeros in front, behind, on both sides and nowhere.
FIRST = [
    ((64, 64), 3, 7, 2, 3),
    ((61, 58), 3, 7, 2, "same"),
    ((67, 67), 3, 11, 4, 2),
    ((64, 71), 3, 11, 4, 0),
    ((60, 50), 3, 8, 2, "same"),
    ((57, 60), 4, 5, 2, 2),
    ((55, 55), 3, 10, 2, ((1, 4), (0, 2))),
    ((80, 63), 2, 9, 3, 1),
]


def first(size: Any, channels: int, taps: int, strides: Any, padding: Any, **given: Any) -> Model:
    image = Input((*size, channels))
    conv = layers.Conv2D(32, taps, strides, padding, activation="relu", **given)
    return Model(image, conv(image))


def images(size: Any, channels: int) -> Any:
    return np.random.default_rng(8).standard_normal((2, *size, channels)).astype(np.float32)


@pytest.fixture(autouse=True)
def winograd(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_sums_stay_what_they_were(case: Any) -> None:
    size, channels, *_ = case
    model, x = first(*case), images(size, channels)
    assert model.plan(x.shape).kernels == UNSTRIDED
    fast = model.predict_on_batch(x)
    model.exact = True
    assert "f32_winograd_conv2d" not in model.plan(x.shape).kernels
    exact = model.predict_on_batch(x)
    assert fast.shape == exact.shape
    np.testing.assert_allclose(fast, exact, rtol=2e-5, atol=2e-5 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("case", "given"),
    [
        (((64, 64), 3, 3, 2, 1), {}),  # two taps are left
        (((64, 64), 3, 7, 1, 3), {}),  # no stride
        (((64, 64), 3, 7, (2, 1), 3), {}),
        (((64, 64), 3, (7, 5), 2, 3), {}),
        (((64, 64), 24, 7, 2, 3), {}),  # too much to copy
        (((64, 64), 2, 7, 2, 3), {}),  # too few channels to transform
        (((64, 64), 4, 7, 2, 3), {"groups": 2}),
        (((8, 8), 3, 7, 2, 3), {}),  # filters outweigh the image
    ],
    ids=str,
)
def test_others_keep_their_strides(case: Any, given: Any) -> None:
    size, channels, *_ = case
    model = first(*case, **given)
    assert "f32_space_to_depth" not in model.plan((2, *size, channels)).kernels


def test_exact_models_keep_their_strides(monkeypatch: Any) -> None:
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    size, channels, *_ = FIRST[0]
    assert "f32_space_to_depth" not in first(*FIRST[0]).plan((1, *size, channels)).kernels


def test_a_direct_sum_keeps_its_stride() -> None:
    x = placeholder((1, 64, 64, 3))
    kernel = Parameter("w", images((7, 7), 3)[:1].reshape(7, 7, 3, 1).repeat(16, 3)).tensor
    y = ops.conv2d(x, kernel, strides=2, padding=3)
    assert len(topological(unstride([y], Algorithms(False)))) > len(topological([y]))
    measured = frozenset({("4x4: 1x35x35x12 -> 1x32x32x16", "direct")})
    assert unstride([y], Algorithms(False, measured)) == [y]
    assert unstride([y], Algorithms(True)) == [y]


def test_training_keeps_its_strides_and_agrees() -> None:
    size, channels, *_ = FIRST[0]
    base = first(*FIRST[0])
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(base.output))
    model, x = Model(base.inputs, y), images(size, channels)
    before = model.predict_on_batch(x)
    model.compile("sgd", "mse")
    np.testing.assert_allclose(model.train_on_batch(x, before + 1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("network", [AlexNet, ResNet18])
def test_first_layers_of_networks(network: Any) -> None:
    model = network(weights=None)
    kernels = model.plan((1, *model.inputs[0].shape[1:])).kernels
    assert kernels[:2] == UNSTRIDED


def test_a_nan_stays_in_its_neighbourhood() -> None:
    model, x = first(*FIRST[0]), images((64, 64), 3)
    clean = model.predict_on_batch(x)
    x[0, 30, 30] = np.nan
    y = model.predict_on_batch(x)
    assert np.isnan(y[0, 15, 15]).all()
    np.testing.assert_array_equal(y[1], clean[1])
    np.testing.assert_array_equal(y[0, 22:], clean[0, 22:])
