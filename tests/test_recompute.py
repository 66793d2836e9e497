# SPDX-License-Identifier: Apache-2.0
"""Steps that make again what they do not keep: the same bits, a smaller arena."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, applications, layers, losses, ops, optimizers
from fastcnn.errors import ArgumentError
from fastcnn.graph import placeholder
from fastcnn.passes import recompute
from fastcnn.plan import Plan

Array = np.ndarray[Any, Any]


def every_kind() -> Model:
    """Norms with and without what is fused to them, sums, joins, products, pooling, dropout."""
    image = Input((20, 20, 3))
    y = layers.Conv2D(32, 3, padding="same", use_bias=False)(image)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    first = layers.MaxPooling2D(3, 2, padding="same")(y)
    y = layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same", use_bias=False)(first))
    y = layers.ReLU()(layers.Add()([y, first]))
    y = layers.SpatialDropout2D(0.2)(y)
    a = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y)))
    b = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(y))
    y = layers.Concatenate()([a, layers.Activation("silu")(b)])
    weight = layers.Dense(32, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    y = layers.Multiply()([y, weight])
    y = layers.GroupNormalization(4)(layers.Conv2D(16, 3)(y))
    y = layers.AveragePooling2D(2)(layers.Activation("gelu")(y))
    y = layers.Conv2D(8, 1, activation="tanh")(layers.Dropout(0.3)(y))
    return Model(image, layers.Dense(10)(layers.Flatten()(y)))


def resnet() -> Model:
    return applications.ResNet18(
        input_shape=(20, 20, 3), stem="cifar", classes=10, classifier_activation=None
    )


def densenet() -> Model:
    return applications.DenseNet121(
        input_shape=(64, 64, 3), classes=10, classifier_activation=None, weights=None
    )


def mobilenet() -> Model:
    return applications.MobileNetV2(input_shape=(64, 64, 3), classes=10, classifier_activation=None)


def trained(build: Callable[[], Model], how: str | None, steps: int = 3) -> tuple[Model, list[Any]]:
    fastcnn.set_random_seed(3)
    model = build()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.SGD(0.01, momentum=0.9), loss, recompute=how)
    rng = np.random.default_rng(8)
    shape = model.input_shape[1:]
    found = []
    for _ in range(steps):
        x = rng.standard_normal((4, *shape)).astype(np.float32)
        found.append(model.train_on_batch(x, rng.integers(0, 10, 4)))
    return model, found


def plan_of(model: Model) -> Plan:
    (step,) = model.trainer._plans._plans.values()
    found: Plan = step.plan
    return found


@pytest.mark.parametrize(
    ("build", "share"),
    [(every_kind, 0.9), (resnet, 0.9), (densenet, 0.8), (mobilenet, 0.8)],
)
def test_losses_and_weights_have_the_same_bits(build: Callable[[], Model], share: float) -> None:
    kept, expected = trained(build, None)
    less, found = trained(build, "auto")
    assert found == expected
    for a, b in zip(less.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert plan_of(less).arena_bytes < share * plan_of(kept).arena_bytes


def test_nothing_but_what_is_cheap_runs_twice() -> None:
    kept, less = (plan_of(trained(resnet, how, steps=1)[0]) for how in (None, "auto"))
    before, after = ([call.op for call in plan.calls] for plan in (kept, less))
    again = "fused_batch_norm_again"
    assert after.count(again) == 20  # every normalization once
    renamed = ["fused_batch_norm_train" if op == "batch_norm_train" else op for op in before]
    assert sorted(op for op in after if op != again) == sorted(renamed)


def test_a_chain_without_norms_keeps_what_it_needs() -> None:
    """Behind a convolution with its ReLU nothing can be made again, and nothing changes."""

    def build() -> Model:
        rows = [layers.Conv2D(8, 3, activation="relu") for _ in range(3)]
        return Sequential([Input((20, 20, 3)), *rows, layers.Flatten(), layers.Dense(10)])

    kept, less = (plan_of(trained(build, how, steps=1)[0]) for how in (None, "auto"))
    assert [c.op for c in less.calls] == [c.op for c in kept.calls]
    assert less.arena_bytes == kept.arena_bytes


def test_what_would_ask_for_more_is_kept() -> None:
    """The sum of two products, neither of which a gradient reads, is kept in their place."""
    x, w = placeholder((4, 8)), placeholder((8, 8))
    total = ops.add(ops.matmul(x, w), ops.matmul(ops.square(x), w))
    y = ops.relu(total)
    _, (from_total, from_y) = recompute(
        [ops.sum(y)], [ops.multiply(total, 2.0), ops.multiply(y, 3.0)]
    )
    assert from_total.node.inputs[0] is total
    again = from_y.node.inputs[0]
    assert again is not y
    assert again.node.inputs == (total,)


def test_a_long_chain_is_followed() -> None:
    x = placeholder((2, 2))
    y = x
    for _ in range(3000):
        y = ops.relu(y)
    _, (made,) = recompute([ops.sum(y)], [ops.multiply(y, 2.0)])
    assert made.node.inputs[0].node is not y.node


def test_it_is_saved_with_the_model(tmp_path: Any) -> None:
    model, _ = trained(resnet, "auto", steps=1)
    model.save(tmp_path / "m.fastcnn")
    again = fastcnn.models.load_model(tmp_path / "m.fastcnn")
    assert again.trainer.recompute == "auto"
    with pytest.raises(ArgumentError, match="recompute='all'"):
        model.compile("sgd", "mse", recompute="all")
