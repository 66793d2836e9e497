# SPDX-License-Identifier: Apache-2.0
"""Small weights updated together: the same bits, fewer calls, and as little memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, applications, layers, ops, optimizers
from fastcnn.errors import NonFiniteError
from fastcnn.graph import Parameter, Tensor, placeholder
from fastcnn.ops.update import Update
from fastcnn.passes import fuse_updates
from fastcnn.passes.fuse_updates import LARGEST
from fastcnn.plan import Plan

TRAINING = import_module("fastcnn.passes.training")

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optimizers.SGD(0.01),
    "nesterov": lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True, global_clipnorm=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True, clipvalue=0.01),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=0.1),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "adagrad": lambda: optimizers.Adagrad(0.01),
    "averages": lambda: optimizers.SGD(0.01, use_ema=True),
    "sums": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


def network() -> Model:
    """Small and large weights, norms, one of them frozen."""
    image = Input((12, 12, 3))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(24, 3)(image)))
    y = layers.Conv2D(160, 3, strides=2)(y)
    frozen = layers.BatchNormalization()
    frozen.trainable = False
    y = layers.BatchNormalization()(layers.ReLU()(frozen(y)))
    return Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(y)))


def compiled(optimizer: Any, recompute: str | None = None) -> Model:
    fastcnn.set_random_seed(3)
    model = network()
    model.compile(
        optimizer,
        fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True),
        recompute=recompute,
    )
    if "adamw" in type(optimizer).__name__.lower():
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return model


def train(model: Model, steps: int = 4) -> None:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x = rng.standard_normal((4, 12, 12, 3), dtype=np.float32)
        model.train_on_batch(x, rng.integers(0, 5, 4))


def state_of(model: Model) -> list[bytes]:
    slots = [slot.value for slot in model.optimizer.variables]
    return [np.asarray(a).tobytes() for a in (*model.get_weights(), *slots)]


def plans_of(model: Model) -> list[Plan]:
    return [step.plan for step in model.trainer._plans._plans.values()]


def updates_of(plan: Plan) -> dict[str, list[int]]:
    """Numbers of weights in each call, by op."""
    found: dict[str, list[int]] = {}
    for node in plan.nodes:
        if isinstance(node.op, Update):
            found.setdefault(node.op.name, []).append(node.op.weights)
    return found


@pytest.mark.parametrize("recompute", [None, "auto"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_has_the_bits_of_one_update_a_weight(
    name: str, recompute: str | None, monkeypatch: Any
) -> None:
    before = fastcnn.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            fastcnn.set_num_threads(threads)
            model = compiled(OPTIMIZERS[name](), recompute)
            train(model)
            found.append(state_of(model))
            assert max(w for ws in updates_of(plans_of(model)[-1]).values() for w in ws) > 2
        monkeypatch.setattr(TRAINING, "fuse_updates", lambda outputs, made: list(made))
        plain = compiled(OPTIMIZERS[name](), recompute)
        train(plain)
        assert {w for p in plans_of(plain) for ws in updates_of(p).values() for w in ws} == {1}
        assert found == [state_of(plain)] * 3
    finally:
        fastcnn.set_num_threads(before)


def test_what_is_updated_together() -> None:
    model = compiled(optimizers.SGD(0.01, momentum=0.9))
    train(model, 1)
    (plan,) = plans_of(model)
    large = sum(w.value.size > LARGEST for w in model.trainable_weights)
    assert large == 1
    small = len(model.trainable_weights) - large
    assert updates_of(plan) == {"ema_update": [4], "momentum_update": [1, small]}
    order = [call.op for call in plan.calls]
    assert order.index("check_finite") < order.index("momentum_update")


def test_weights_that_decay_and_those_that_do_not_are_two_lists() -> None:
    model = compiled(OPTIMIZERS["adamw"]())
    train(model, 1)
    (plan,) = plans_of(model)
    lists = [n.op for n in plan.nodes if isinstance(n.op, Update) and n.op.name == "adam_update"]
    # Kernels of the first and the last layer; biases, scales and offsets; the large kernel alone.
    assert sorted((op.weights, op.attributes()["decay"]) for op in lists) == [
        (1, True),
        (2, True),
        (7, False),
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loss_that_is_not_finite_touches_nothing(name: str) -> None:
    model = compiled(OPTIMIZERS[name]())
    train(model, 2)
    before = state_of(model)
    x = np.full((4, 12, 12, 3), np.nan, np.float32)
    for _ in range(2):
        with pytest.raises(NonFiniteError):
            model.train_on_batch(x, np.zeros(4, np.int64))
    assert state_of(model) == before


def test_gradients_of_large_weights_are_dropped_as_before(monkeypatch: Any) -> None:
    """Lists cost no more memory than the gradients that wait in them."""

    def plan_of(network: str) -> tuple[Plan, int]:
        model = applications.get(network)(classifier_activation=None, weights=None)
        model.compile(optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")
        shape = (2, *model.inputs[0].shape[1:])
        model.train_on_batch(np.zeros(shape, np.float32), np.zeros(2, np.int64))
        waiting = sum(w.value.nbytes for w in model.trainable_weights if w.value.size <= LARGEST)
        return plans_of(model)[0], waiting

    joint = {name: plan_of(name) for name in ("LeNet5", "ResNet20")}
    monkeypatch.setattr(TRAINING, "fuse_updates", lambda outputs, made: list(made))
    for name, (plan, waiting) in joint.items():
        plain, _ = plan_of(name)
        assert plan.arena_bytes <= plain.arena_bytes + 1.1 * waiting
        assert len(plan.calls) <= len(plain.calls) - 8


def chain() -> tuple[list[Parameter], list[Tensor], Tensor]:
    """Averages of averages, and one that forward reads."""
    x = placeholder((3,), name="x")
    weights = [Parameter(f"w{i}", np.arange(3, dtype=np.float32) + i) for i in range(5)]
    first, second = (ops.ema_update(w.tensor, x, 0.5) for w in weights[:2])
    made = [
        first,
        second,
        ops.ema_update(weights[2].tensor, first, 0.5),
        ops.ema_update(weights[3].tensor, second, 0.5),
        ops.ema_update(weights[4].tensor, x, 0.5),
    ]
    return weights, made, x


def test_averages_of_averages_are_lists_of_their_own() -> None:
    weights, made, x = chain()
    joint = fuse_updates([], made)
    assert [t.node.op.weights for t in joint] == [2, 2, 3, 3, 3]  # type: ignore[attr-defined]
    plan = Plan([x], [], list(zip(weights, joint, strict=True)))
    assert len(plan.calls) == 2
    plan.run(np.float32([8, 4, 0]))
    expected = [[4, 2.5, 1], [4.5, 3, 1.5], [3, 2.75, 2.5], [3.75, 3.5, 3.25], [6, 4.5, 3]]
    np.testing.assert_array_equal([w.value for w in weights], expected)


def test_what_forward_or_others_read_stays_alone() -> None:
    _, made, _ = chain()
    seen = fuse_updates([made[2]], made)
    assert seen[0] is made[0]
    assert seen[2] is made[2]
    assert [t.node.op.weights for t in seen[1::2]] == [1, 2]  # type: ignore[attr-defined]
    read = fuse_updates([], [*made, ops.relu(made[0])])
    assert read[0] is made[0]
