# SPDX-License-Identifier: Apache-2.0
"""Layers and training give the numbers of Keras 3.15 (JAX) for the same weights and data.

`keras_values.json` holds them: for a layer the shape of its output and the product of the output
with a fixed vector, for a run of `fit` the loss of every epoch and that of `evaluate` afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, layers, losses, optimizers
from fastcnn.configurable import snake_case
from fastcnn.layers.base import tuples

KERAS = json.loads(Path(__file__).with_name("keras_values.json").read_text())


def wave(shape: Any, phase: float = 0.0) -> Any:
    i = np.arange(np.prod(shape), dtype=np.float64)
    return np.sin(1.3 * i + 0.01 * i * i + phase).reshape(shape).astype("float32")


def label(row: dict[str, Any]) -> str:
    words = [snake_case(row.get("layer") or row["optimizer"])]
    return " ".join([*words, *(f"{k}={v}" for k, v in row["arguments"].items())])


@pytest.mark.parametrize("row", KERAS["layers"], ids=label)
def test_layer(row: dict[str, Any]) -> None:
    arguments = {name: tuples(value) for name, value in row["arguments"].items()}
    layer = getattr(layers, row["layer"])(**arguments)
    inputs = [Input(row["sample"]) for _ in range(row["inputs"])]
    model = Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    shift = {1: 1.5}
    weights = layer.get_weights()
    layer.set_weights([wave(w.shape, p) + shift.get(w.ndim, 0) for p, w in enumerate(weights)])
    y = model.predict([wave([2, *row["sample"]], p) for p in range(len(inputs))], verbose=0)
    assert list(y.shape[1:]) == row["shape"]
    assert y.ravel() @ np.cos(np.arange(y.size)) == pytest.approx(row["value"], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("row", KERAS["runs"], ids=label)
def test_run(row: dict[str, Any]) -> None:
    x = Input((6, 6, 2))
    y = layers.Conv2D(4, 3, activation="tanh", kernel_regularizer="l2")(x)
    y = layers.Flatten()(layers.BatchNormalization(momentum=0.8)(y))
    model = Model(x, layers.Dense(3, activation="softmax")(y))
    weights = model.get_weights()
    gamma_and_variance = (2, 5)
    model.set_weights(
        [0.3 * wave(w.shape, p) + (p in gamma_and_variance) for p, w in enumerate(weights)]
    )
    optimizer = getattr(optimizers, row["optimizer"])(**row["arguments"])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    images, labels = wave([24, 6, 6, 2]), np.arange(24) % 3
    history = model.fit(
        images,
        labels,
        sample_weight=np.linspace(0, 2, 24),
        batch_size=7,
        epochs=3,
        shuffle=False,
        verbose=0,
    )
    assert history.history["loss"] == pytest.approx(row["losses"], rel=1e-4)
    assert model.evaluate(images, labels, verbose=0) == pytest.approx(row["evaluated"], rel=1e-4)


def test_ignored_labels_leave_the_weighted_mean() -> None:
    y_pred = wave((4, 5))
    rows = losses.sparse_categorical_crossentropy([0, 3, 2, 2], y_pred, from_logits=True)
    loss = losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=2, reduction="mean_with_sample_weight"
    )
    weights = np.array([1.0, 3.0, 2.5, 0.3], np.float32)
    expected = (rows[0] + 3 * rows[1]) / 4
    assert loss([0, 3, 2, 2], y_pred, weights) == pytest.approx(expected, rel=1e-5)
    assert loss([0, 3, 2, 2], y_pred) == pytest.approx((rows[0] + rows[1]) / 2, rel=1e-5)


def test_weights_spread_over_positions() -> None:
    y_pred, labels = wave((2, 3, 3, 5)), np.arange(18).reshape(2, 3, 3) % 5
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = np.array([1.0, 3.0], np.float32)
    assert loss(labels, y_pred, weights.reshape(2, 1, 1)) == loss(labels, y_pred, weights)


def test_metrics_of_one_name_are_all_logged() -> None:
    x = Input((2,))
    model = Model(x, layers.Dense(3, activation="softmax")(x))
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["accuracy", "accuracy"],
        weighted_metrics=["accuracy"],
    )
    data = wave((4, 2)), np.array([0, 1, 2, 0])
    logs = model.evaluate(*data, sample_weight=np.array([1, 0, 0, 0]), verbose=0, return_dict=True)
    assert list(logs) == ["loss", "accuracy", "accuracy_1", "weighted_accuracy"]
