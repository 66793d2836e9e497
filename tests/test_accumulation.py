# SPDX-License-Identifier: Apache-2.0
"""Gradients of several batches as one update: what it equals, what it counts, how it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, callbacks, layers, optimizers
from fastcnn.errors import ArgumentError, FastcnnError, NonFiniteError

Array = np.ndarray[Any, Any]
K = 4


def network(norm: bool = False, dropout: float = 0.0) -> Model:
    x = Input((10, 10, 3))
    y = layers.Conv2D(16, 3, padding="same")(x)
    if norm:
        y = layers.BatchNormalization()(y)
    y = layers.MaxPooling2D(2)(layers.ReLU()(y))
    y = layers.Conv2D(16, 3, padding="same", activation="relu")(y)
    y = layers.Dropout(dropout)(y)
    return Model(x, layers.Dense(4)(layers.Flatten()(y)))


def compiled(optimizer: Any, seed: int = 3, backend: str = "cpu", **network_is: Any) -> Model:
    fastcnn.set_random_seed(seed)
    model = network(**network_is)
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, backend=backend)
    return model


def data(count: int = 32) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((count, 10, 10, 3)).astype(np.float32)
    return x, rng.integers(0, 4, count).astype(np.int32)


def everything(model: Model) -> list[Array]:
    optimizer = model.optimizer
    counted = np.array([optimizer.iterations, optimizer.accumulated])
    return [*model.get_weights(), *(v.numpy() for v in optimizer.variables), counted]


def same(first: Model, second: Model) -> None:
    for a, b in zip(everything(first), everything(second), strict=True):
        np.testing.assert_array_equal(a, b)


OPTIMIZERS = {
    "momentum": lambda **k: optimizers.SGD(0.05, momentum=0.9, weight_decay=0.1, **k),
    "adam": lambda **k: optimizers.Adam(0.01, epsilon=1e-3, **k),
    "clipped": lambda **k: optimizers.SGD(0.05, global_clipnorm=0.01, **k),
    "averages": lambda **k: optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5, **k),
    "schedule": lambda **k: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 1, 0.5), **k),
}


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_batches_are_one_large_batch(name: str, backend: str) -> None:
    make = OPTIMIZERS[name]
    large = compiled(make(), backend=backend)
    small = compiled(make(gradient_accumulation_steps=K), backend=backend)
    x, y = data()
    for _ in range(3):
        expected = large.train_on_batch(x, y)
        losses = [small.train_on_batch(x[i::K], y[i::K]) for i in range(K)]
        assert np.mean(losses) == pytest.approx(expected, rel=1e-5)
    assert small.optimizer.iterations == large.optimizer.iterations == 3
    for found, wanted in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=3e-6)


def test_weights_rest_until_the_update_and_statistics_do_not() -> None:
    model = compiled(optimizers.SGD(0.1, gradient_accumulation_steps=3), norm=True)
    x, y = data(8)
    before = [w.numpy() for w in model.trainable_weights]
    for step in range(2):
        moving = model.non_trainable_weights[0].numpy()
        model.train_on_batch(x, y)
        assert (model.optimizer.iterations, model.optimizer.accumulated) == (0, step + 1)
        for weight, old in zip(model.trainable_weights, before, strict=True):
            np.testing.assert_array_equal(weight.numpy(), old)
        assert (model.non_trainable_weights[0].numpy() != moving).any()
    model.train_on_batch(x, y)
    assert (model.optimizer.iterations, model.optimizer.accumulated) == (1, 0)
    assert all((w.numpy() != b).any() for w, b in zip(model.trainable_weights, before, strict=True))
    sums = [v for v in model.optimizer.variables if v.name.endswith("/gradient")]
    assert len(sums) == len(before)
    assert not any(s.value.any() for s in sums)


def test_every_batch_has_its_own_dropout() -> None:
    model = compiled(optimizers.SGD(0.1, gradient_accumulation_steps=3), dropout=0.5)
    x, y = data(8)
    first, second, _ = (model.train_on_batch(x, y) for _ in range(3))
    assert first != second


def test_compile_may_say_it_for_an_optimizer_by_name() -> None:
    model = network()
    model.compile("adam", "mse", gradient_accumulation_steps=4)
    assert model.optimizer.gradient_accumulation_steps == 4
    assert model.optimizer.get_config()["gradient_accumulation_steps"] == 4
    for optimizer in (optimizers.Adam(), optimizers.Adam(gradient_accumulation_steps=4)):
        model.compile(optimizer, "mse", gradient_accumulation_steps=4)
        assert model.optimizer is optimizer
    before = model.trainer
    with pytest.raises(ArgumentError, match="one number"):
        model.compile(optimizers.Adam(gradient_accumulation_steps=4), gradient_accumulation_steps=2)
    with pytest.raises(ArgumentError, match="gradient_accumulation_steps"):
        model.compile("adam", gradient_accumulation_steps=1)
    assert model.trainer is before


@pytest.mark.parametrize("crash_at", [1, 3, 6])
def test_an_interrupted_run_goes_on_in_the_middle_of_a_sum(tmp_path: Any, crash_at: int) -> None:
    """Seven batches an epoch and four an update: the sums reach over the end of the epoch."""

    def made(seed: int) -> Model:
        optimizer = optimizers.Adam(0.01, gradient_accumulation_steps=K)
        return compiled(optimizer, seed, norm=True, dropout=0.3)

    def fit(model: Model, *hooks: Any) -> None:
        model.fit(*data(28), batch_size=4, epochs=2, verbose=0, callbacks=list(hooks))

    class Crash(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == crash_at:
                raise KeyboardInterrupt

    def backup() -> Any:
        return callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)

    whole = made(3)
    fit(whole)
    assert (whole.optimizer.iterations, whole.optimizer.accumulated) == (3, 2)
    first = made(3)
    with pytest.raises(KeyboardInterrupt):
        fit(first, backup(), Crash())
    second = made(99)
    fit(second, backup())
    same(second, whole)


def test_a_saved_model_goes_on_in_the_middle_of_a_sum(tmp_path: Any) -> None:
    whole = compiled(optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=K))
    x, y = data()
    whole.train_on_batch(x[:8], y[:8])
    whole.save(tmp_path / "m.fastcnn")
    loaded = fastcnn.models.load_model(tmp_path / "m.fastcnn")
    assert loaded.optimizer.accumulated == 1
    for model in (whole, loaded):
        for i in range(1, 6):
            model.train_on_batch(x[i::K], y[i::K])
    same(loaded, whole)


def test_a_state_with_other_numbers_is_refused_and_changes_nothing(tmp_path: Any) -> None:
    model = compiled(optimizers.SGD(0.1, gradient_accumulation_steps=4))
    for _ in range(3):
        model.train_on_batch(*data(8))
    model.save_state(tmp_path / "state")
    x, y = data(8)
    for steps in (2, None):
        other = compiled(optimizers.SGD(0.1, gradient_accumulation_steps=steps), seed=5)
        other.train_on_batch(x, y)
        before = everything(other)
        with pytest.raises(FastcnnError, match=r"accumulated=3|unexpected '\S*/gradient'"):
            other.load_state(tmp_path / "state")
        for a, b in zip(everything(other), before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_leaves_the_sums_as_they_were() -> None:
    model = compiled(optimizers.SGD(0.1, gradient_accumulation_steps=2))
    x, y = data(8)
    model.train_on_batch(x, y)
    for _ in range(2):  # before a batch that updates, and before one that adds
        before = everything(model)
        with pytest.raises(NonFiniteError):
            model.train_on_batch(np.full_like(x, np.nan), y)
        for a, b in zip(everything(model), before, strict=True):
            np.testing.assert_array_equal(a, b)
        model.train_on_batch(x, y)
    assert (model.optimizer.iterations, model.optimizer.accumulated) == (1, 1)
