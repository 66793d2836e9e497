# SPDX-License-Identifier: Apache-2.0
"""Whatever is handed to layers, models and settings, the error is fastcnn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, callbacks, layers, losses, metrics, optimizers
from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, ShapeError

ODD: list[Any] = ["3", {}, (2, "a"), float("nan"), [], b"1"]

TAKES_INTEGERS: dict[str, Callable[[Any], Any]] = {
    "filters": lambda v: layers.Conv2D(v, 3),
    "kernel_size": lambda v: layers.Conv2D(2, v),
    "strides": lambda v: layers.MaxPooling2D(2, v),
    "dilation_rate": lambda v: layers.Conv2D(2, 2, dilation_rate=v),
    "groups": lambda v: layers.Conv2D(2, 2, groups=v),
    "output_padding": lambda v: layers.Conv2DTranspose(2, 2, 2, output_padding=v)(image()),
    "units": lambda v: layers.Dense(v),
    "target_shape": lambda v: layers.Reshape(v)(image()),
    "dims": lambda v: layers.Permute(v)(image()),
    "noise_shape": lambda v: layers.Dropout(0.5, v)(image(), training=True),
    "seed": lambda v: layers.Dropout(0.5, seed=v),
    "shared_axes": lambda v: layers.PReLU(shared_axes=v),
    "normalised axis": lambda v: layers.LayerNormalization(v)(image()),
    "joined axis": lambda v: layers.Concatenate(v)([image(), image()]),
    "softmax axis": lambda v: layers.Softmax(v)(image()),
    "cropping": lambda v: layers.Cropping1D(v),
    "padding": lambda v: layers.ZeroPadding1D(v),
    "one-dimensional padding": lambda v: layers.Conv1D(2, 2, padding=v)(Input((8, 2))),
    "input_shape": lambda v: layers.Dense(2, input_shape=v)(Input((8, 2))) if v != [] else fail(),
    "batch_size": lambda v: Input((8,), batch_size=v),
    "class_id": lambda v: metrics.Precision(class_id=v),
    "ignore_class": lambda v: losses.SparseCategoricalCrossentropy(ignore_class=v),
    "threads": lambda v: check_threads(v),
    "patience": lambda v: callbacks.EarlyStopping(patience=v),
}
TAKES_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "rate": lambda v: layers.Dropout(v),
    "momentum": lambda v: layers.BatchNormalization(momentum=v),
    "epsilon": lambda v: layers.BatchNormalization(epsilon=v),
    "negative_slope": lambda v: layers.LeakyReLU(v),
    "max_value": lambda v: layers.ReLU(v),
    "alpha": lambda v: layers.ELU(v),
    "response alpha": lambda v: layers.LocalResponseNormalization(alpha=v),
    "learning_rate": lambda v: optimizers.SGD(v),
    "boundaries": lambda v: optimizers.schedules.PiecewiseConstantDecay(v, v),
    "baseline": lambda v: callbacks.EarlyStopping(baseline=v),
    "thresholds": lambda v: metrics.Precision(v) if v != [] else fail(),
    "minval": lambda v: fastcnn.initializers.RandomUniform(v, 1.0),
    "loss_weights": lambda v: weighted(v) if v not in ([], {}) else fail(),
}


def fail() -> None:
    raise ArgumentError("stands for a value that is allowed")


def image() -> Any:
    return Input((8, 8, 4))


def check_threads(value: Any) -> None:
    if value not in ("3", b"1"):  # text, as the environment has it, is fine
        fastcnn.set_num_threads(value)
    else:
        fail()


def weighted(value: Any) -> None:
    model = Sequential([Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse", loss_weights=value)
    model.train_on_batch(np.zeros((2, 3)), np.zeros((2, 2)))


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("name", [*TAKES_INTEGERS, *TAKES_NUMBERS])
def test_odd_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(FastcnnError):
        {**TAKES_INTEGERS, **TAKES_NUMBERS}[name](value)


@pytest.mark.parametrize("name", TAKES_INTEGERS)
def test_fractions_are_no_integers(name: str) -> None:
    with pytest.raises(FastcnnError):
        TAKES_INTEGERS[name](1.5 if name != "threads" else 0.5)


@pytest.mark.parametrize("dtype", ["3", "int8", 0, [], "float16"], ids=repr)
def test_only_types_that_run_are_taken(dtype: Any) -> None:
    with pytest.raises(ArgumentError, match="dtype"):
        layers.Dense(2, dtype=dtype)
    with pytest.raises(ArgumentError, match="dtype"):
        Input((3,), dtype=dtype)


@pytest.mark.parametrize(
    ("layer", "sample"),
    [
        (layers.GlobalAveragePooling2D, (8, 3)),
        (layers.GlobalMaxPooling2D, (8,)),
        (layers.GlobalAveragePooling1D, (8, 8, 3)),
        (layers.GlobalMaxPooling1D, (3,)),
        (lambda: layers.Cropping2D(1), (8,)),
        (lambda: layers.SpatialDropout2D(0.5), (8,)),
    ],
)
def test_layers_take_only_their_number_of_dimensions(layer: Any, sample: Any) -> None:
    with pytest.raises(ShapeError, match="expected"):
        layer()(Input(sample), training=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(),
        lambda: Model(image()),
        lambda: Model(image(), []),
        lambda: Model([x := image(), x], layers.Dense(2)(x)),
        lambda: Sequential(3),
        lambda: Sequential("ab"),
        lambda: Sequential([image(), layers.Dense(2)(image())]),
        lambda: Sequential().predict(np.zeros((2, 3)), verbose=0),
    ],
)
def test_models_need_inputs_outputs_and_layers(make: Callable[[], Any]) -> None:
    with pytest.raises(ArgumentError):
        make()


def test_layers_are_found_by_name_or_integer() -> None:
    model = Sequential([Input((3,)), layers.Dense(2, name="d")])
    assert model.get_layer("d") is model.get_layer(index=-1)
    for wanted in ({"index": 1.5}, {"index": "d"}, {"name": "d", "index": 0}, {"index": 9}, {}):
        with pytest.raises(ArgumentError, match="layer"):
            model.get_layer(**wanted)


@pytest.mark.parametrize("value", [None, 3, "abc", [1j], ["a"], [[1, [2]]]], ids=repr)
def test_weights_are_arrays_of_numbers(value: Any) -> None:
    model = Sequential([Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    with pytest.raises(DtypeError):
        model.set_weights(value)
    with pytest.raises(DtypeError):
        model.load_state_dict({"dense.kernel": value[0]} if isinstance(value, list) else value)
    assert model.get_weights()[0].tolist() == [[1.0]]


def test_a_single_input_is_not_a_list() -> None:
    model = Sequential([Input((3,)), layers.Dense(2)])
    with pytest.raises(FastcnnError):
        model([np.zeros((2, 3), np.float32)] * 2)


def test_learning_rates_may_be_functions_of_nothing() -> None:
    assert optimizers.SGD(lambda: 0.25).current_learning_rate() == 0.25
    assert optimizers.SGD(lambda step: 0.5 + step).current_learning_rate() == 0.5


def test_relu_has_a_threshold() -> None:
    x = np.array([-1.0, 0.25, 0.75, 3.0], np.float32)
    layer = layers.ReLU(max_value=2.0, negative_slope=0.5, threshold=0.5)
    np.testing.assert_allclose(layer(x[None])[0], [-0.75, -0.125, 0.75, 2.0])


def test_gradients_are_of_functions_that_return_a_tensor() -> None:
    for function in (3, lambda x: 3, lambda x: None):
        with pytest.raises(ArgumentError, match=r"ops\.gradient"):
            fastcnn.ops.gradient(function, np.ones(3))
    with pytest.raises(ArgumentError, match="list"):
        fastcnn.ops.concatenate(3)
