# SPDX-License-Identifier: Apache-2.0
"""Layers of the networks before 2012: connection tables, unit biases, subsampling, distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, Sequential, models, optimizers
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers import RBF, Bias, CCells, Conv2D, Dense, Flatten, SCells, Subsampling2D
from fastcnn.layers.connections import connection_table, full_kernel

TABLE = [[1, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 1]]
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "adagrad")


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def wired(layer: Any) -> Any:
    """The kernel (R, S, C, K) that a connected layer convolves with."""
    return np.array(full_kernel(layer.kernel.numpy(), layer.connections))


def test_connected_weights_stand_where_the_table_has_ones() -> None:
    connected = np.arange(1, 8, dtype=np.float32).reshape(1, 1, 7)
    kernel = full_kernel(connected, connection_table(TABLE, 4))
    np.testing.assert_array_equal(kernel[0, 0], [[1, 0, 4, 5], [2, 3, 0, 6], [0, 0, 0, 7]])


def test_a_connected_convolution_is_a_full_one_with_zeros() -> None:
    layer, full = Conv2D(4, 3, connections=TABLE), Conv2D(4, 3)
    x = drawn(2, 6, 7, 3)
    y = layer(x)
    full(x)
    full.set_weights([wired(layer), layer.bias.numpy()])
    np.testing.assert_array_equal(full(x), y)


def test_a_table_of_ones_is_no_table() -> None:
    layer, plain = Conv2D(2, 3, connections=np.ones((3, 2))), Conv2D(2, 3)
    layer(Input((5, 5, 3)))
    plain(Input((5, 5, 3)))
    assert layer.count_params() == plain.count_params() == 56


def test_connected_weights_begin_as_part_of_a_full_kernel() -> None:
    first = np.arange(36, dtype=np.float32).reshape(3, 1, 3, 4)
    layer = Conv2D(4, (3, 1), connections=TABLE, kernel_initializer=lambda s, dtype: first)
    layer(Input((5, 5, 3)))
    np.testing.assert_array_equal(wired(layer), first * np.array(TABLE))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_moves_connected_weights_as_masked_ones_and_makes_no_others(
    optimizer: str,
) -> None:
    """The update of each connected weight is that of a full kernel held at the mask by hand."""
    image = Input((6, 6, 3))
    layer, full = Conv2D(4, 3, connections=TABLE, name="c"), Conv2D(4, 3, name="c")
    x, y = drawn(5, 6, 6, 3), drawn(5, 4, 4, 4, seed=1)
    pair = [Model(image, inner(image)) for inner in (layer, full)]
    full.set_weights([wired(layer), layer.bias.numpy()])
    for model in pair:
        model.compile(optimizers.get(optimizer), "mse")
    before = wired(layer)
    for _ in range(3):
        for model in pair:
            model.train_on_batch(x, y)
        full.set_weights([full.kernel.numpy() * np.array(TABLE), full.bias.numpy()])
    after = wired(layer)
    assert ((after != before) == (np.array(TABLE) == 1)).all()
    np.testing.assert_allclose(after, full.kernel.numpy(), rtol=2e-3, atol=1e-5)


def test_only_what_runs_for_a_sample_counts_as_multiply_accumulates() -> None:
    image = Input((6, 6, 3))
    assert Model(image, Conv2D(4, 3, connections=TABLE)(image)).count_macs() == 16 * 4 * 27


def test_a_connected_kernel_is_saved_and_found_by_its_own_name(tmp_path: Any) -> None:
    image = Input((6, 6, 3))
    model = Model(image, Conv2D(4, 3, connections=TABLE, name="c3")(image))
    assert {n: a.shape for n, a in model.state_dict().items()} == {
        "c3.connected_kernel": (3, 3, 7),
        "c3.bias": (4,),
    }
    model.save(tmp_path / "m.fastcnn")
    again = models.load_model(tmp_path / "m.fastcnn")
    assert again.get_layer("c3").connections == connection_table(TABLE, 4)
    x = drawn(1, 6, 6, 3)
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
    state = {**model.state_dict(), "c3.connected_kernel": np.zeros((3, 3, 12))}
    with pytest.raises(ShapeError, match=r"c3\.connected_kernel"):
        again.load_state_dict(state)


def test_connection_errors_say_what_is_wrong() -> None:
    with pytest.raises(ArgumentError, match=r"of shape \(2, 3\), expected .*\(input maps, 4\)"):
        Conv2D(4, 3, connections=np.ones((2, 3)))
    with pytest.raises(ArgumentError, match=r"filters \[1, 2\] without any"):
        Conv2D(3, 3, connections=[[1, 0, 0]])
    with pytest.raises(ArgumentError, match="groups"):
        Conv2D(4, 3, groups=2, connections=np.ones((2, 4)))


def test_bias_of_units() -> None:
    layer = Bias()
    x = drawn(2, 3, 4, 2)
    layer(x)
    bias = drawn(3, 4, 2, seed=1)
    layer.set_weights([bias])
    np.testing.assert_array_equal(layer(x), x + bias)


def test_bias_shared_over_pixels_is_that_of_a_convolution() -> None:
    layer = Bias(shared_axes=[1, 2], bias_initializer="ones")
    x = drawn(2, 3, 4, 2)
    np.testing.assert_array_equal(layer(x), x + 1)
    assert layer.bias.shape == (1, 1, 2)
    assert Bias(shared_axes=[1, 2])(Input((None, None, 2))).shape == (None, None, None, 2)


def test_subsampling_multiplies_sums() -> None:
    layer = Subsampling2D(2, activation="tanh")
    x = drawn(2, 5, 4, 3)
    layer(x)
    coefficient, bias = drawn(3, seed=1), drawn(3, seed=2)
    layer.set_weights([coefficient, bias])
    sums = x[:, :4].reshape(2, 2, 2, 2, 2, 3).sum((2, 4))
    np.testing.assert_allclose(layer(x), np.tanh(coefficient * sums + bias), rtol=1e-5, atol=1e-6)


def test_subsampling_begins_as_average_and_padding_adds_nothing() -> None:
    ones = np.ones((1, 4, 4, 1), np.float32)
    np.testing.assert_allclose(Subsampling2D((2, 4))(ones), np.ones((1, 2, 1, 1)), rtol=1e-6)
    edge = Subsampling2D(3, 1, "same", coefficient_initializer="ones")(ones)[0, :, :, 0]
    np.testing.assert_allclose(edge, np.outer([2, 3, 3, 2], [2, 3, 3, 2]), rtol=1e-6)


def test_distances_to_centres() -> None:
    layer = RBF(4)
    x = drawn(3, 5)
    layer(x)
    centers = drawn(4, 5, seed=1)
    layer.set_weights([centers])
    expected = ((x[:, None] - centers) ** 2).sum(-1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.diag(layer(centers)), np.zeros(4))


def test_fixed_centres_stay_and_are_no_parameters() -> None:
    rbf = RBF(2, fixed=True)
    model = Sequential([Input((3,)), Dense(4), rbf])
    assert (rbf.count_params(), rbf.count_params(buffers=True)) == (0, 8)
    before = rbf.get_weights()[0]
    model.compile("sgd", "mse")
    kernel = model.layers[0].get_weights()[0]
    model.train_on_batch(drawn(6, 3), np.zeros((6, 2), np.float32))
    np.testing.assert_array_equal(rbf.get_weights()[0], before)
    assert not np.array_equal(model.layers[0].get_weights()[0], kernel)


def test_s_cells_are_the_papers_first_equation() -> None:
    layer = SCells(2, 3, selectivity=4.0, decay=0.5)
    x = np.abs(drawn(1, 3, 3, 2))
    layer(x)
    a, b = np.abs(drawn(3, 3, 2, 2, seed=1)), np.array([0.5, 2.0])
    layer.set_weights([a, b])
    distance = np.array([[2, 1, 2], [1, 0, 1], [2, 1, 2]]) ** 0.5
    c = 0.5**distance / (0.5**distance).sum() / 2
    v = np.sqrt((c[:, :, None] * x[0] ** 2).sum())
    excitation = np.einsum("rsc,rsck->k", x[0], a)
    expected = 4 * np.maximum((1 + excitation) / (1 + 8 / 5 * b * v) - 1, 0)
    np.testing.assert_allclose(layer(x)[0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(layer.fixed.sum(), 1)


def test_s_cells_begin_small_different_and_without_chance() -> None:
    one, two = (SCells(6, 5) for _ in range(2))
    for layer in (one, two):
        layer(Input((7, 7, 3)))
    a, b = one.get_weights()
    np.testing.assert_array_equal(a, two.get_weights()[0])
    assert (a >= 0).all()
    assert 0 < a.max() < 0.02
    assert not b.any()
    flat = a.reshape(-1, 6).T
    similar = np.corrcoef(flat)[np.triu_indices(6, 1)]
    assert similar.max() < 0.95


def test_s_cells_are_silent_in_the_dark_and_still_have_a_gradient() -> None:
    model = Sequential([Input((5, 5, 1)), SCells(2, 3), Flatten(), Dense(1)])
    model.compile("sgd", "mse")
    dark = np.zeros((2, 5, 5, 1), np.float32)
    np.testing.assert_array_equal(model.layers[0](dark), np.zeros((2, 3, 3, 2)))
    model.train_on_batch(dark, np.ones((2, 1), np.float32))
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_c_cells_are_the_papers_fourth_equation() -> None:
    layer = CCells(2, gain=2.0, decay=0.5, saturation=0.5)
    x = np.abs(drawn(1, 2, 2, 3))
    sums = 2 * 0.5 ** (0.5**0.5) * x[0].sum((0, 1))
    z = np.maximum((1 + sums) / (1 + sums.mean()) - 1, 0)
    np.testing.assert_allclose(layer(x)[0, 0, 0], z / (0.5 + z), rtol=1e-5)
    assert (z == 0).any()
