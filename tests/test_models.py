# SPDX-License-Identifier: Apache-2.0
"""Models: drawing, several inputs and outputs, shared layers, nesting, summary, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, Sequential, layers, ops
from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, ShapeError
from fastcnn.models.serialization import deserialize, serialize


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_functional_model_with_two_inputs_and_outputs() -> None:
    a, b = Input((4,), name="a"), Input((3,), name="b")
    hidden = layers.Concatenate()([layers.Dense(5, name="da")(a), b])
    outputs = [layers.Dense(2, name="first")(hidden), layers.Dense(1, name="second")(hidden)]
    model = Model(inputs=[a, b], outputs=outputs)
    x = [normal(6, 4), normal(6, 3)]
    first, second = model.predict(x, batch_size=4)
    assert first.shape == (6, 2)
    assert second.shape == (6, 1)
    by_name = model.predict({"b": x[1], "a": x[0]})
    np.testing.assert_array_equal(by_name[0], first)
    model.compile(
        "adam",
        {"first": "mse", "second": "mae"},
        loss_weights=[1.0, 0.5],
        metrics=[["mae"], ["mae"]],
    )
    history = model.fit(x, {"second": normal(6, 1), "first": normal(6, 2)}, epochs=2, verbose=0)
    assert set(history.history) >= {"loss", "first_loss", "second_loss", "first_mae", "second_mae"}
    logs = model.evaluate(x, [normal(6, 2), normal(6, 1)], return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(logs["first_loss"] + 0.5 * logs["second_loss"], rel=1e-5)


def test_shared_layer_has_one_set_of_weights() -> None:
    shared = layers.Dense(3)
    a, b = Input((4,)), Input((4,))
    model = Model([a, b], layers.Subtract()([shared(a), shared(b)]))
    assert model.count_params() == 15
    x = normal(2, 4)
    np.testing.assert_array_equal(model.predict_on_batch([x, x]), np.zeros((2, 3)))
    model.compile("sgd", "mse")
    model.train_on_batch([x, normal(2, 4, seed=1)], np.ones((2, 3), np.float32))


def test_nested_models_train_and_serialise() -> None:
    inner = Sequential(
        [Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)], name="inner"
    )
    x = Input((4,))
    outer = Model(x, layers.Dense(1)(inner(x)))
    assert [w.shape for w in outer.weights] == [(4, 3), (3,), (3, 2), (2,), (2, 1), (1,)]
    assert "inner.dense" in next(iter(outer.state_dict()))
    again = deserialize(serialize(outer))
    again.set_weights(outer.get_weights())
    data = normal(5, 4)
    np.testing.assert_array_equal(again.predict_on_batch(data), outer.predict_on_batch(data))
    outer.compile("sgd", "mse")
    before = inner.get_weights()
    outer.train_on_batch(data, np.ones((5, 1), np.float32))
    assert any((a != b).any() for a, b in zip(before, inner.get_weights(), strict=True))


def test_ops_between_layers_are_part_of_the_model() -> None:
    x = Input((4, 4, 3))
    y = ops.relu(layers.Conv2D(2, 3, padding="same")(x) * 2.0 + 1.0)
    model = Model(x, ops.mean(y, axis=(1, 2)))
    again = deserialize(serialize(model))
    again.set_weights(model.get_weights())
    data = normal(3, 4, 4, 3)
    np.testing.assert_array_equal(again.predict_on_batch(data), model.predict_on_batch(data))
    assert model.predict_on_batch(data).shape == (3, 2)


def test_intermediate_outputs_by_layer() -> None:
    model = Sequential([Input((5,)), layers.Dense(4, name="hidden"), layers.Dense(2)])
    features = Model(model.inputs, model.get_layer("hidden").output)
    x = normal(3, 5)
    kernel, bias = model.get_layer("hidden").get_weights()
    np.testing.assert_allclose(
        features.predict_on_batch(x), x @ kernel + bias, rtol=1e-5, atol=1e-6
    )


def test_explicit_training_argument_is_kept() -> None:
    x = Input((6,))
    model = Model(x, layers.Dropout(0.5)(x, training=True))
    y = model.predict_on_batch(np.ones((50, 6), np.float32))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (model.predict_on_batch(np.ones((50, 6), np.float32)) != y).any()


def test_subclassed_model() -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Dense(8, activation="relu")
            self.blocks = [layers.Dense(8), layers.Dropout(0.2)]
            self.head = layers.Dense(2)

        def call(self, x: Any, training: bool = False) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x, training=training)
            return self.head(x)

    model = Net()
    model.compile("adam", "mse")
    x, y = normal(20, 3), normal(20, 2)
    model.fit(x, y, epochs=2, batch_size=7, verbose=0)
    assert model.predict(x, verbose=0).shape == (20, 2)
    assert len(model.trainable_weights) == 6


def test_a_subclassed_call_may_leave_training_to_the_layers() -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = layers.Dropout(0.5)
            self.head = layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.head(self.hidden(x))

    model = Net()
    model.compile("sgd", "mse")
    x = normal(20, 3)
    y = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), y)
    assert model.evaluate(x, y, verbose=0) == 0
    assert model.train_on_batch(x, y) > 0  # dropout is at work


def test_sequential_without_input_builds_from_data() -> None:
    model = Sequential([layers.Flatten(), layers.Dense(3)])
    assert model.predict(normal(4, 2, 5), verbose=0).shape == (4, 3)
    assert model.count_params() == 33
    model.build((None, 2, 5))
    assert model.inputs[0].shape == (None, 2, 5)


def test_a_sequential_built_within_another_is_a_model_of_its_own() -> None:
    inner = Sequential([layers.BatchNormalization(), layers.Dense(3)])
    outer = Sequential([Input((4,)), layers.ReLU(), inner])
    assert inner.inputs[0].shape == (None, 4)
    x = normal(5, 4)
    np.testing.assert_array_equal(outer.predict(x, verbose=0), inner.predict(abs(x) * (x > 0)))


def test_a_first_step_builds_what_a_model_holds() -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.body = Sequential([layers.BatchNormalization(momentum=0.5), layers.Dense(2)])

        def call(self, x: Any) -> Any:
            return self.body(x)

    model = Net()
    model.compile("sgd", "mse")
    x = normal(6, 3)
    model.train_on_batch(x, normal(6, 2))
    found = model.body.layers[0].moving_mean.numpy()
    np.testing.assert_allclose(found, 0.5 * x.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_sequential_add_and_pop() -> None:
    model = Sequential()
    model.add(Input((4,)))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    assert model.predict_on_batch(normal(2, 4)).shape == (2, 2)
    model.pop()
    assert model.outputs[0].shape == (None, 3)
    assert model.predict_on_batch(normal(2, 4)).shape == (2, 3)
    with pytest.raises(ArgumentError, match="another name"):
        model.add(model.layers[0])


def test_fully_convolutional_models_take_any_size() -> None:
    x = Input((None, None, 3))
    model = Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(x)))
    for size in ((8, 8), (5, 11)):
        assert model.predict_on_batch(normal(2, *size, 3)).shape == (2, 4)


def test_summary_shows_shapes_params_and_macs() -> None:
    model = Sequential(
        [
            Input((32, 32, 3)),
            layers.Conv2D(16, 3, padding="same"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    macs = 32 * 32 * 16 * 27 + 16384 * 4
    for word in ("(None, 32, 32, 16)", "448", "65,540", f"{macs:,}", "Total params: 65,988"):
        assert word in text
    assert model.count_macs() == macs


def test_model_errors() -> None:
    model = Sequential([Input((4, 4, 3), name="image"), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ShapeError, match=r"input 'image'.*\(2, 4, 4\).*\(None, 4, 4, 3\)"):
        model.predict_on_batch(normal(2, 4, 4))
    with pytest.raises(DtypeError, match=r"uint8.*float32.*astype"):
        model.predict_on_batch(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(FastcnnError, match=r"object|numbers"):
        model.predict_on_batch(np.array([[object()]]))
    with pytest.raises(ArgumentError, match="compile"):
        model.fit(normal(2, 4, 4, 3), np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match="no layer 'x'"):
        model.get_layer("x")
    a, b = Input((2,), name="a"), Input((2,), name="b")
    with pytest.raises(ArgumentError, match="'b'"):
        Model(a, layers.Add()([a, b]))
    with pytest.raises(ArgumentError, match="symbolic"):
        Model(a, np.zeros(3))


def test_float64_models_run_on_the_reference() -> None:
    from fastcnn import config

    config.set_floatx("float64")
    try:
        x = Input((6, 6, 2))
        y = layers.BatchNormalization()(layers.Conv2D(3, 3, activation="tanh")(x))
        model = Model(x, layers.Dense(2)(layers.Flatten()(y)))
        model.compile("adam", "mse")
        data = np.random.default_rng(0).standard_normal((4, 6, 6, 2))
        loss = model.train_on_batch(data, np.ones((4, 2)))
        assert np.isfinite(loss)
        assert model.predict_on_batch(data).dtype == np.float64
    finally:
        config.set_floatx("float32")


def test_summary_can_show_what_trains() -> None:
    model = Sequential([Input((4,)), layers.Dense(2, trainable=False), layers.Dense(2)])
    lines: list[str] = []
    model.summary(print_fn=lines.append, show_trainable=True)
    rows = [line.split()[-1] for line in lines if "(Dense)" in line]
    assert rows == ["no", "yes"]


def test_weights_without_names_get_some() -> None:
    class Affine(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")
            self.shift = self.add_weight(shape=(input_shape[-1],), initializer="zeros")

        def call(self, x: Any) -> Any:
            return x * self.scale + self.shift

    layer = Affine()
    assert layer(np.ones((1, 2), np.float32)).tolist() == [[1.0, 1.0]]
    assert list(layer.named_weights()) == ["weight", "weight_1"]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_used_model_predicts(again: Any) -> None:
    model = Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()])
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3), dtype=np.float32)
    wanted = model.predict(x, verbose=0)
    other = again(model)
    model.set_weights([w * 2 for w in model.get_weights()])
    np.testing.assert_array_equal(other.predict(x, verbose=0), wanted)


def test_models_know_their_inputs_and_outputs() -> None:
    chain = Sequential([Input((4,)), layers.Dense(3), layers.Dense(2)])
    assert (chain.input_shape, chain.output_shape) == ((None, 4), (None, 2))
    inner = Model(chain.input, [layer.output for layer in chain.layers])
    assert inner.output_shape == [(None, 3), (None, 2)]
    outer = Model(x := Input((4,)), {"y": chain(x)})
    assert outer.output_shape == {"y": (None, 2)}
    assert chain.output_shape == (None, 2)  # its own, wherever it is used
    with pytest.raises(ArgumentError, match="called 0 times"):
        _ = Sequential([layers.Dense(2)]).input


def test_layers_of_a_sequential_are_those_with_work_to_do() -> None:
    model = Sequential([Input((4,)), layers.Dense(3, name="first")])
    assert [layer.name for layer in model.layers] == ["first"]
