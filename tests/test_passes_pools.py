# SPDX-License-Identifier: Apache-2.0
"""Max pools that Winograd's convolutions do in their stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, layers
from fastcnn.errors import ShapeError
from fastcnn.graph import Spec
from fastcnn.ops.conv_packed import WinogradConv2D

FUSED = ("f32_winograd_conv2d",)
APART = ("f32_winograd_conv2d", "f32_max_pool2d_values")


def pooled(size: tuple[int, int], relu: bool = True, **pool: Any) -> Model:
    """A convolution that is Winograd's, and a pool of its outputs."""
    image = Input((*size, 32))
    activation = "relu" if relu else None
    y = layers.Conv2D(32, 3, padding="same", activation=activation)(image)
    return Model(image, layers.MaxPooling2D(**{"pool_size": 2, **pool})(y))


def images(*size: int) -> Any:
    return np.random.default_rng(5).standard_normal((2, *size, 32)).astype(np.float32)


@pytest.fixture(autouse=True)
def winograd(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)


@pytest.mark.parametrize("size", [(24, 24), (22, 26), (23, 26), (26, 23), (27, 25)])
@pytest.mark.parametrize("relu", [True, False])
def test_the_same_bits_as_a_pool_of_its_own(size: tuple[int, int], relu: bool) -> None:
    model, x = pooled(size, relu), images(*size)
    assert model.plan(x.shape).kernels == FUSED
    _, conv, _ = model.layers
    before = Model(model.inputs, conv.output).predict_on_batch(x)
    image = Input(before.shape[1:])
    after = Model(image, layers.MaxPooling2D(2)(image)).predict_on_batch(before)
    np.testing.assert_array_equal(model.predict_on_batch(x), after)


@pytest.mark.parametrize(
    "pool",
    [
        {"pool_size": 3, "strides": 2},
        {"strides": 1},
        {"pool_size": (2, 1)},
        {"pool_size": 2, "padding": "same"},
    ],
)
def test_other_windows_keep_their_pool(pool: dict[str, Any]) -> None:
    model, x = pooled((25, 25), **pool), images(25, 25)
    assert model.plan(x.shape).kernels == APART


def test_what_others_read_is_stored_whole() -> None:
    image = Input((24, 24, 32))
    y = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    model = Model(image, [layers.MaxPooling2D(2)(y), y])
    assert model.plan((1, 24, 24, 32)).kernels == APART
    small, whole = model.predict_on_batch(images(24, 24))
    np.testing.assert_array_equal(small, whole.reshape(2, 12, 2, 12, 2, 32).max((2, 4)))


def test_a_sum_keeps_its_pool() -> None:
    image = Input((24, 24, 32))
    y = layers.Add()([layers.Conv2D(32, 3, padding="same")(image), image])
    model = Model(image, layers.MaxPooling2D(2)(y))
    assert model.plan((1, 24, 24, 32)).kernels == APART


def test_a_nan_wins_its_window() -> None:
    model, x = pooled((24, 24)), images(24, 24)
    clean = model.predict_on_batch(x)
    x[0, 9, 14] = np.nan
    y = model.predict_on_batch(x)
    assert np.isnan(y[0, 4, 7]).all()
    np.testing.assert_array_equal(y[1], clean[1])


def test_a_second_pool_stays() -> None:
    image = Input((24, 24, 32))
    y = layers.Conv2D(32, 3, padding="same")(image)
    model = Model(image, layers.MaxPooling2D(2)(layers.MaxPooling2D(2)(y)))
    assert model.plan((1, 24, 24, 32)).kernels == APART


def test_a_residual_and_a_pool_are_refused() -> None:
    op = WinogradConv2D(pads=(1, 1, 1, 1), filters=16, pool=2)
    x, y = Spec((1, 8, 8, 16)), Spec((1, 8, 8, 16))
    with pytest.raises(ShapeError, match="a residual and a pool"):
        op.infer(x, Spec((1, 36, 2, 16, 16)), Spec((16,)), y)


def test_products_are_those_of_the_whole_convolution() -> None:
    op = WinogradConv2D(pads=(1, 1, 1, 1), filters=16, pool=2)
    specs = Spec((1, 9, 8, 16)), Spec((1, 36, 2, 16, 16)), Spec((16,))
    assert op.infer(*specs).sizes == (1, 4, 4, 16)
    assert op.macs(*specs) == 9 * 8 * 16 * 9 * 16
