# SPDX-License-Identifier: Apache-2.0
"""The battery that every layer passes: drawing, shapes, counts, config, saving, training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, Sequential, layers, models
from fastcnn.errors import ArgumentError, FastcnnError, ShapeError
from fastcnn.models.serialization import deserialize, serialize


@dataclass(frozen=True)
class Row:
    """A layer, the shape of one sample, the output's, and what count_params says."""

    make: Callable[[], Any]
    sample: tuple[int, ...]
    output: tuple[int, ...]
    params: int = 0
    buffers: int = 0


L = layers
ROWS: dict[str, Row] = {
    "conv2d": Row(lambda: L.Conv2D(16, 3, padding="same"), (9, 8, 3), (9, 8, 16), 448),
    "conv2d-all": Row(
        lambda: L.Conv2D(
            6, (3, 2), (2, 1), ((1, 0), (2, 1)), dilation_rate=2, groups=2, use_bias=False
        ),
        (11, 9, 4),
        (4, 10, 6),
        3 * 2 * 2 * 6,
    ),
    "conv2d-activation": Row(
        lambda: L.Conv2D(4, 1, activation="tanh", kernel_regularizer="l2"), (5, 5, 2), (5, 5, 4), 12
    ),
    "conv2d-connections": Row(
        lambda: L.Conv2D(4, 3, connections=[[1, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 1]]),
        (6, 5, 3),
        (4, 3, 4),
        3 * 3 * 7 + 4,
    ),
    "conv1d": Row(lambda: L.Conv1D(5, 3, strides=2, padding="same"), (9, 4), (5, 5), 65),
    "conv1d-causal": Row(
        lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2), (9, 4), (9, 5), 65
    ),
    "depthwise": Row(
        lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), (7, 7, 3), (4, 4, 6), 60
    ),
    "separable": Row(lambda: L.SeparableConv2D(8, 3), (7, 7, 3), (5, 5, 8), 27 + 24 + 8),
    "transpose": Row(
        lambda: L.Conv2DTranspose(4, 3, 2, "same"), (5, 6, 3), (10, 12, 4), 3 * 3 * 4 * 3 + 4
    ),
    "dense": Row(lambda: L.Dense(7, activation="relu"), (5,), (7,), 42),
    "dense-3d": Row(lambda: L.Dense(7), (4, 5), (4, 7), 42),
    "bias": Row(lambda: L.Bias(activation="scaled_tanh"), (3, 4, 2), (3, 4, 2), 24),
    "bias-shared": Row(lambda: L.Bias(shared_axes=[1, 2]), (3, 4, 2), (3, 4, 2), 2),
    "rbf": Row(lambda: L.RBF(4), (5,), (4,), 20),
    "flatten": Row(lambda: L.Flatten(), (3, 4, 2), (24,)),
    "reshape": Row(lambda: L.Reshape((2, -1)), (3, 4), (2, 6)),
    "permute": Row(lambda: L.Permute((2, 1)), (3, 4), (4, 3)),
    "rescaling": Row(lambda: L.Rescaling(1 / 255, 0.5), (3, 4), (3, 4)),
    "rescaling-channels": Row(lambda: L.Rescaling((2.0, 3.0), (0.0, 0.5)), (3, 2), (3, 2)),
    "activation": Row(lambda: L.Activation("gelu"), (6,), (6,)),
    "identity": Row(lambda: L.Identity(), (6,), (6,)),
    "dropout": Row(lambda: L.Dropout(0.3), (6, 4), (6, 4)),
    "spatial-dropout-2d": Row(lambda: L.SpatialDropout2D(0.3), (3, 3, 4), (3, 3, 4)),
    "spatial-dropout-1d": Row(lambda: L.SpatialDropout1D(0.3), (3, 4), (3, 4)),
    "relu": Row(lambda: L.ReLU(6.0, 0.1), (6,), (6,)),
    "leaky-relu": Row(lambda: L.LeakyReLU(), (6,), (6,)),
    "prelu": Row(lambda: L.PReLU(shared_axes=[1, 2]), (3, 4, 5), (3, 4, 5), 5),
    "elu": Row(lambda: L.ELU(), (6,), (6,)),
    "softmax": Row(lambda: L.Softmax(), (6,), (6,)),
    "max-pool": Row(lambda: L.MaxPooling2D(3, 2, "same"), (7, 7, 2), (4, 4, 2)),
    "max-pool-ceil": Row(lambda: L.MaxPooling2D(2, ceil_mode=True), (7, 7, 2), (4, 4, 2)),
    "avg-pool": Row(lambda: L.AveragePooling2D(2), (7, 6, 2), (3, 3, 2)),
    "subsampling": Row(
        lambda: L.Subsampling2D(2, activation="scaled_tanh"), (7, 6, 3), (3, 3, 3), 6
    ),
    "subsampling-padded": Row(lambda: L.Subsampling2D(3, 2, "same"), (7, 6, 2), (4, 3, 2), 4),
    "s-cells": Row(lambda: L.SCells(4, 3, padding=1), (5, 6, 2), (5, 6, 4), 3 * 3 * 2 * 4 + 4),
    "c-cells": Row(
        lambda: L.CCells(5, 2, ((4, 3), (4, 3))),
        (16, 8, 3),
        (10, 6, 3),
    ),
    "max-pool-1d": Row(lambda: L.MaxPooling1D(2), (7, 2), (3, 2)),
    "avg-pool-1d": Row(lambda: L.AveragePooling1D(3, 1, "same"), (7, 2), (7, 2)),
    "global-avg": Row(lambda: L.GlobalAveragePooling2D(), (3, 4, 5), (5,)),
    "global-max": Row(lambda: L.GlobalMaxPooling2D(keepdims=True), (3, 4, 5), (1, 1, 5)),
    "global-avg-1d": Row(lambda: L.GlobalAveragePooling1D(), (4, 5), (5,)),
    "global-max-1d": Row(lambda: L.GlobalMaxPooling1D(), (4, 5), (5,)),
    "adaptive-avg": Row(lambda: L.AdaptiveAveragePooling2D((2, 3)), (5, 7, 2), (2, 3, 2)),
    "adaptive-max": Row(lambda: L.AdaptiveMaxPooling2D((2, 3)), (5, 7, 2), (2, 3, 2)),
    "batch-norm": Row(lambda: L.BatchNormalization(), (4, 4, 3), (4, 4, 3), 6, 6),
    "batch-norm-plain": Row(
        lambda: L.BatchNormalization(center=False, scale=False), (4, 4, 3), (4, 4, 3), 0, 6
    ),
    "layer-norm": Row(lambda: L.LayerNormalization(), (4, 3), (4, 3), 6),
    "layer-norm-axes": Row(lambda: L.LayerNormalization(axis=(1, 2)), (4, 3), (4, 3), 24),
    "group-norm": Row(lambda: L.GroupNormalization(2), (4, 4, 6), (4, 4, 6), 12),
    "instance-norm": Row(lambda: L.GroupNormalization(-1), (4, 4, 6), (4, 4, 6), 12),
    "lrn": Row(lambda: L.LocalResponseNormalization(), (4, 4, 6), (4, 4, 6)),
    "zero-padding": Row(lambda: L.ZeroPadding2D(((1, 0), (2, 3))), (4, 5, 2), (5, 10, 2)),
    "zero-padding-1d": Row(lambda: L.ZeroPadding1D(2), (4, 2), (8, 2)),
    "cropping": Row(lambda: L.Cropping2D(((1, 0), (2, 1))), (4, 5, 2), (3, 2, 2)),
    "cropping-1d": Row(lambda: L.Cropping1D((1, 2)), (6, 2), (3, 2)),
    "up-sampling": Row(lambda: L.UpSampling2D(2), (3, 4, 2), (6, 8, 2)),
    "up-sampling-bilinear": Row(
        lambda: L.UpSampling2D(2, interpolation="bilinear"), (3, 4, 2), (6, 8, 2)
    ),
    "up-sampling-1d": Row(lambda: L.UpSampling1D(3), (3, 2), (9, 2)),
    "resizing": Row(lambda: L.Resizing(5, 7), (3, 4, 2), (5, 7, 2)),
    "channel-shuffle": Row(lambda: L.ChannelShuffle(2), (3, 3, 6), (3, 3, 6)),
}


def rows(function: Any) -> Any:
    return pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())(function)


def batch_of(row: Row, size: int = 3) -> Any:
    return np.random.default_rng(0).standard_normal((size, *row.sample)).astype(np.float32)


@rows
def test_drawing_infers_shapes_with_an_unknown_batch(row: Row) -> None:
    layer = row.make()
    assert layer(Input(row.sample)).shape == (None, *row.output)
    assert layer.output_shape == (None, *row.output)


@rows
def test_output_shape_is_known_without_drawing(row: Row) -> None:
    layer = row.make()
    assert layer.compute_output_shape((None, *row.sample)) == (None, *row.output)


@rows
def test_counts(row: Row) -> None:
    layer = row.make()
    layer(Input(row.sample))
    assert layer.count_params() == row.params
    assert layer.count_params(buffers=True) == row.params + row.buffers


@rows
def test_runs_at_once_on_arrays(row: Row) -> None:
    y = row.make()(batch_of(row))
    assert y.shape == (3, *row.output)
    assert y.dtype == np.float32
    assert np.isfinite(y).all()


@rows
def test_config_makes_the_same_layer(row: Row) -> None:
    layer = row.make()
    layer(Input(row.sample))
    data = serialize(layer)
    again = deserialize(data)
    again(Input(row.sample))
    assert serialize(again) == data
    again.set_weights(layer.get_weights())
    x = batch_of(row)
    np.testing.assert_array_equal(again(x), layer(x))


@rows
def test_trains_saves_and_loads(row: Row, tmp_path: Any) -> None:
    x = batch_of(row, 6)
    model = Sequential([Input(row.sample), row.make(), L.Flatten(), L.Dense(2)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    loss = model.train_on_batch(x, np.ones((6, 2), np.float32))
    assert np.isfinite(loss)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed), f"weights that did not change: {changed}"
    model.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn")
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))


def test_every_layer_of_the_package_is_in_the_battery_or_tested_apart() -> None:
    apart = {"Layer", "InputLayer", "MaxUnpooling2D"}
    apart |= {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"}
    everything = {
        value.__name__
        for value in vars(layers).values()
        if isinstance(value, type) and issubclass(value, layers.Layer)
    }
    assert {type(row.make()).__name__ for row in ROWS.values()} == everything - apart


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.Add, 6.0),
        (L.Multiply, 8.0),
        (L.Average, 3.0),
        (L.Maximum, 4.0),
        (L.Minimum, 2.0),
        (L.Subtract, -2.0),
    ],
)
def test_merges(layer: Any, expected: float) -> None:
    a, b = Input((2, 3)), Input((2, 3))
    model = Model([a, b], layer()([a, b]))
    two, four = np.full((1, 2, 3), 2, np.float32), np.full((1, 2, 3), 4, np.float32)
    np.testing.assert_array_equal(model.predict_on_batch([two, four]), np.full((1, 2, 3), expected))
    again = deserialize(serialize(model))
    np.testing.assert_array_equal(
        again.predict_on_batch([two, four]), model.predict_on_batch([two, four])
    )


def test_concatenate_joins_channels() -> None:
    a, b = Input((2, 2, 3)), Input((2, 2, 1))
    model = Model([a, b], L.concatenate([a, b]))
    x = np.random.default_rng(0).random((1, 2, 2, 4), np.float32)
    np.testing.assert_array_equal(model.predict_on_batch([x[..., :3], x[..., 3:]]), x)


def test_rescaling_takes_a_number_for_each_channel() -> None:
    layer = L.Rescaling((2.0, 3.0), (0.0, 0.5))
    np.testing.assert_array_equal(layer(np.array([[10.0, 20.0]], np.float32)), [[20.0, 60.5]])


def test_unpooling_puts_maxima_back() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    a = Input((4, 4, 1))
    y, indices = L.MaxPooling2D(2, return_indices=True)(a)
    model = Model(a, [L.MaxUnpooling2D((4, 4))([y, indices]), indices])
    restored, positions = model.predict_on_batch(x)
    np.testing.assert_array_equal(positions[0, :, :, 0], [[5, 7], [13, 15]])
    expected = np.zeros(16)
    expected[[5, 7, 13, 15]] = [5, 7, 13, 15]
    np.testing.assert_array_equal(restored[0, :, :, 0].ravel(), expected)


def test_1d_layers_are_the_2d_ones_with_one_row() -> None:
    x = np.random.default_rng(1).standard_normal((2, 9, 4)).astype(np.float32)
    one, two = L.Conv1D(5, 3, strides=2), L.Conv2D(5, (1, 3), strides=(1, 2))
    y = one(x)
    two.build((None, 1, 9, 4))
    two.built = True
    two.set_weights([one.kernel.numpy()[None], one.bias.numpy()])
    np.testing.assert_array_equal(two(x[:, None])[:, 0], y)


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: L.Conv2D(8, 3), (5, 5), ["conv2d", "(N, H, W, C)", "reshape"]),
        (lambda: L.Conv2D(8, 3, groups=4), (5, 5, 6), ["groups (=4)", "(=6)", "try one of"]),
        (lambda: L.Conv2D(8, 7), (5, 5, 3), ["7", "5", "padding"]),
        (lambda: L.Dense(3), (None,), ["Dense", "known"]),
        (lambda: L.MaxPooling2D(6), (5, 5, 3), ["6", "5"]),
        (lambda: L.Reshape((4,)), (5,), ["reshape"]),
        (lambda: L.GroupNormalization(4), (5, 5, 6), ["4", "6"]),
        (lambda: L.Cropping2D(3), (5, 5, 6), ["crop", "larger"]),
        (lambda: L.Conv2D(2, 3, connections=[[1, 0], [1, 1]]), (5, 5, 3), ["3 channels", "2 rows"]),
        (lambda: L.Bias(), (None, 3), ["Bias", "shared_axes"]),
        (lambda: L.RBF(3), (4, 4), ["RBF", "(N, C)", "Flatten"]),
        (lambda: L.Subsampling2D(6), (5, 5, 3), ["6", "5"]),
        (lambda: L.SCells(3, 7), (5, 5, 3), ["7", "5"]),
        (lambda: L.CCells(), (5, 5, None), ["CCells", "C known"]),
        (lambda: L.Rescaling((1, 2, 3)), (5, 5, 1), ["(None, 5, 5, 1)", "3", "one number"]),
    ],
)
def test_shape_errors_name_the_layer_and_say_what_to_do(
    make: Any, shape: tuple[int | None, ...], words: list[str]
) -> None:
    with pytest.raises(FastcnnError) as caught:
        make()(Input(shape))
    for word in words:
        assert word in str(caught.value)
    assert "layer '" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.Conv2D(0, 3),
        lambda: L.Conv2D(4, 0),
        lambda: L.Conv2D(4, 3, strides=-1),
        lambda: L.Conv2D(4, 3, padding="full"),
        lambda: L.Conv2D(4, 3, groups=3),
        lambda: L.Conv2D(4, 3, data_format="channels_first"),
        lambda: L.Conv2D(4, 3, activation="swoosh"),
        lambda: L.Conv2D(4, 3, kernel_initializer="magic"),
        lambda: L.Conv2D(4, 3, filter=3),
        lambda: L.Conv2D(2, 3, connections=[[1, 1, 1]]),
        lambda: L.Conv2D(2, 3, connections=[[1, 2]]),
        lambda: L.Conv2D(2, 3, connections=[[1, 1], [1]]),
        lambda: L.Conv2D(2, 3, connections="all"),
        lambda: L.Conv2D(2, 3, connections=[[1, 0], [1, 0]]),
        lambda: L.Conv2D(2, 3, groups=2, connections=[[1, 1], [1, 1]]),
        lambda: L.RBF(0),
        lambda: L.Bias(shared_axes=[0]),
        lambda: L.Subsampling2D(2, padding="full"),
        lambda: L.SCells(3, selectivity=0),
        lambda: L.CCells(decay=-1),
        lambda: L.Dense(-1),
        lambda: L.Dropout(1.0),
        lambda: L.Rescaling("1"),
        lambda: L.Permute((1, 3)),
        lambda: L.BatchNormalization(epsilon=0),
        lambda: L.Dense(3, name="a/b"),
    ],
)
def test_impossible_arguments_are_refused_at_once(make: Any) -> None:
    with pytest.raises(ArgumentError):
        make()


def test_set_weights_is_all_or_nothing() -> None:
    layer = L.Dense(3)
    layer(Input((2,)))
    before = layer.get_weights()
    with pytest.raises(ShapeError, match=r"nothing|expected"):
        layer.set_weights([np.ones((2, 3)), np.ones(4)])
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_custom_layer_composes_ops() -> None:
    from fastcnn import ops

    class Scaled(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")
            self.inner = L.Dense(2)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.inner(ops.tanh(x * self.factor) + (1.0 if training else 0.0))

    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    layer = Scaled()
    y = layer(x)
    w, b = layer.inner.get_weights()
    np.testing.assert_allclose(y, np.tanh(x) @ w + b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer(x, training=True), (np.tanh(x) + 1) @ w + b, rtol=1e-5, atol=1e-6
    )
    assert list(layer.named_weights()) == ["factor", "dense.kernel", "dense.bias"]
