# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies that give their gradients: where, where not, and the same bits either way."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, applications, layers, losses, ops, optimizers
from fastcnn.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy

Array = np.ndarray[Any, Any]
TRAINING = import_module("fastcnn.passes.training")


def classifier(activation: str | None = None) -> Model:
    image = Input((6,))
    y = layers.Dense(8, activation="tanh")(image)
    return Model(image, layers.Dense(5, activation=activation)(y))


def trained(model: Model, loss: Any, y: Any, **fit: Any) -> tuple[list[Array], list[str]]:
    """Weights after two steps, and the cross-entropy calls of a step."""
    model.compile(optimizers.SGD(0.1), loss)
    x = np.random.default_rng(1).standard_normal((8, 6), dtype=np.float32)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, **fit)
    (step,) = model.trainer._plans._plans.values()
    return model.get_weights(), [c.op for c in step.plan.calls if "cross_entropy" in c.op]


def both_ways(monkeypatch: Any, build: Any, loss: Any, y: Any, **fit: Any) -> list[str]:
    """The cross-entropy calls of a step, whose weights have the bits of the pair's."""
    fastcnn.set_random_seed(5)
    found, calls = trained(build(), loss, y, **fit)
    with monkeypatch.context() as patch:
        patch.setattr(TRAINING, "fuse_losses", list)
        fastcnn.set_random_seed(5)
        expected, pair = trained(build(), loss, y, **fit)
    assert not any(op.endswith("with_grad") for op in pair)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    return calls


LABELS = np.array([0, 3, 1, 4, 2, 2, 0, 1], np.int32)
ROWS = np.eye(5, dtype=np.float32)[LABELS]
WEIGHTS = np.linspace(0, 2, 8, dtype=np.float32)
SPARSE, DENSE = "sparse_softmax_cross_entropy", "softmax_cross_entropy"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize(
    "fit", [{}, {"sample_weight": WEIGHTS}, {"class_weight": {0: 2.0, 1: 0.5}}], ids=str
)
@pytest.mark.parametrize("sparse", [True, False])
def test_one_call_where_upstream_is_known(
    sparse: bool, fit: Any, reduction: str, smoothing: float, monkeypatch: Any
) -> None:
    if fit.get("class_weight"):
        fit = {"class_weight": {**dict.fromkeys(range(5), 1.0), **fit["class_weight"]}}
    kind = SparseCategoricalCrossentropy if sparse else CategoricalCrossentropy
    loss = kind(from_logits=True, reduction=reduction, label_smoothing=smoothing)
    calls = both_ways(monkeypatch, classifier, loss, LABELS if sparse else ROWS, **fit)
    assert calls == [f"{SPARSE if sparse else DENSE}_with_grad"]


def test_probabilities_of_a_softmax(monkeypatch: Any) -> None:
    loss = SparseCategoricalCrossentropy()
    calls = both_ways(monkeypatch, lambda: classifier("softmax"), loss, LABELS)
    assert calls == [f"{SPARSE}_with_grad"]


def test_labels_to_ignore(monkeypatch: Any) -> None:
    loss = SparseCategoricalCrossentropy(from_logits=True, ignore_class=3, label_smoothing=0.1)
    assert both_ways(monkeypatch, classifier, loss, LABELS) == [f"{DENSE}_with_grad"]


class Squared(Loss):
    """What reaches the cross-entropy depends on it."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.square(ops.sparse_categorical_crossentropy(y_true, y_pred))

    def target_spec(self, prediction: Any, target_shape: Any) -> Any:
        return SparseCategoricalCrossentropy().target_spec(prediction, target_shape)

    def check_target(self, *args: Any, **kwargs: Any) -> Array:
        return SparseCategoricalCrossentropy().check_target(*args, **kwargs)


class Product(Squared):
    """What reaches either cross-entropy is the other."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        one = ops.sparse_categorical_crossentropy(y_true, y_pred)
        return ops.multiply(one, ops.sparse_categorical_crossentropy(y_true, y_pred, 0.1))


def test_two_calls_where_upstream_comes_after_forward(monkeypatch: Any) -> None:
    assert both_ways(monkeypatch, classifier, Squared(), LABELS) == [SPARSE, f"{SPARSE}_grad"]
    calls = both_ways(monkeypatch, classifier, Product(), LABELS)
    assert sorted(calls) == [SPARSE, SPARSE, f"{SPARSE}_grad", f"{SPARSE}_grad"]


def test_losses_of_two_outputs_are_summed(monkeypatch: Any) -> None:
    def build() -> Model:
        image = Input((6,))
        y = layers.Dense(8, activation="tanh")(image)
        return Model(image, [layers.Dense(5)(y), layers.Dense(5)(y)])

    loss = [
        SparseCategoricalCrossentropy(from_logits=True),
        CategoricalCrossentropy(from_logits=True),
    ]
    calls = both_ways(monkeypatch, build, loss, [LABELS, ROWS])
    assert sorted(calls) == sorted([f"{SPARSE}_with_grad", f"{DENSE}_with_grad"])


@pytest.mark.parametrize("recompute", [None, "auto"])
@pytest.mark.parametrize("name", ["LeNet5", "ResNet20"])
def test_networks_have_the_one_call(name: str, recompute: str | None) -> None:
    model = applications.get(name)(weights=None)
    model.compile("sgd", losses.SparseCategoricalCrossentropy(), recompute=recompute)
    x = np.zeros((2, *model.inputs[0].shape[1:]), np.float32)
    model.train_on_batch(x, np.zeros(2, np.int64))
    (step,) = model.trainer._plans._plans.values()
    found = [c.op for c in step.plan.calls if "cross_entropy" in c.op]
    assert found == [f"{SPARSE}_with_grad"]
    model.test_on_batch(x, np.zeros(2, np.int64))
    tested = list(model.trainer._plans._plans.values())[-1]
    assert [c.op for c in tested.plan.calls if "cross_entropy" in c.op] == [SPARSE]
