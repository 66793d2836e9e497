# SPDX-License-Identifier: Apache-2.0
"""Training: it learns, repeats bit for bit, resumes, and leaves weights whole on errors."""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, callbacks, layers, metrics, ops, optimizers
from fastcnn.errors import ArgumentError, DataError, FastcnnError, NonFiniteError
from fastcnn.plan import Plan


def readable(value: Any) -> str:
    """Of a case, without addresses, by which processes that share the tests would differ."""
    return re.sub(r" at 0x\w+", "", str(value))


def everything_network() -> Model:
    """Convolution, depthwise, pooling, batch norm and dropout."""
    x = Input((12, 12, 2))
    y = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.MaxPooling2D(3, 2)(y)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    y = layers.BatchNormalization()(y)
    y = layers.SpatialDropout2D(0.2)(layers.ReLU()(y))
    y = layers.Dropout(0.3)(layers.Flatten()(y))
    return Model(x, layers.Dense(4)(y))


def data(count: int = 40) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((count, 12, 12, 2)).astype(np.float32)
    return x, rng.integers(0, 4, count).astype(np.int32)


def compiled(seed: int = 3, optimizer: Any = None) -> Model:
    fastcnn.set_random_seed(seed)
    model = everything_network()
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


def digest(model: Model) -> str:
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()


def fifty_steps(threads: int) -> str:
    before = fastcnn.get_num_threads()
    fastcnn.set_num_threads(threads)
    try:
        model = compiled()
        model.fit(*data(), batch_size=8, epochs=10, verbose=0)
        assert model.optimizer.iterations == 50
        return digest(model)
    finally:
        fastcnn.set_num_threads(before)


def test_fifty_steps_have_the_same_bits_for_any_number_of_threads() -> None:
    assert fifty_steps(1) == fifty_steps(2) == fifty_steps(3)


def test_fifty_steps_have_the_same_bits_in_another_process() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "import test_training as t; print(t.fifty_steps(2))"
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder + "/..",
    )
    assert done.stdout.strip() == fifty_steps(1)


def test_another_seed_gives_other_bits() -> None:
    model, other = compiled(3), compiled(4)
    assert digest(model) != digest(other)


def test_it_learns_what_it_is_shown() -> None:
    model = compiled()
    x, y = data()
    first = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, batch_size=8, epochs=30, verbose=0)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert loss < first / 4
    assert accuracy > 0.95


def test_train_on_batch_returns_the_loss_before_the_update() -> None:
    model = Sequential([Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.1), "mse")
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 1), np.float32)
    expected = model.test_on_batch(x, y)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-6)
    assert model.test_on_batch(x, y) < expected


def test_sample_and_class_weights_scale_the_loss() -> None:
    model = Sequential([Input((3,)), layers.Dense(2)])
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    y = np.array([0, 1, 0, 1, 1, 0], np.int32)
    each = np.array([model.test_on_batch(x[i : i + 1], y[i : i + 1]) for i in range(6)])
    weights = np.array([1, 2, 0, 1, 3, 1], np.float32)
    found = model.test_on_batch(x, y, sample_weight=weights)
    assert found == pytest.approx(float((each * weights).mean()), rel=1e-5)
    history = model.fit(x, y, class_weight={0: 0.0, 1: 0.0}, epochs=1, verbose=0, batch_size=6)
    assert history.history["loss"] == [0.0]


def test_generators_and_sequences_are_data() -> None:
    x, y = data()

    class Batches:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            return x[index * 8 : index * 8 + 8], y[index * 8 : index * 8 + 8]

    model = compiled()
    history = model.fit(Batches(), epochs=2, verbose=0, validation_data=(x, y))
    assert len(history.history["val_loss"]) == 2
    one = compiled()
    one.fit(((x[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)), verbose=0)
    assert one.optimizer.iterations == 5
    other = compiled()
    other.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert digest(one) == digest(other)


class Slow(fastcnn.utils.PyDataset):
    """Batches of eight that take so long that they are made ahead."""

    def __init__(self, model: Any = None, workers: int = 1, fail_at: int = -1) -> None:
        super().__init__(workers)
        self.model, self.fail_at = model, fail_at
        self.seen: list[Any] = []

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        x, y = data()
        x, y = x[index * 8 : index * 8 + 8], y[index * 8 : index * 8 + 8]
        time.sleep(0.004)
        if index == self.fail_at:
            raise OSError("disk on fire")
        if self.model is not None:
            self.seen.append(self.model.predict_on_batch(x))
        return x, y


def forever(source: Any) -> Any:
    while True:
        for index in range(len(source)):
            yield source[index]


def test_batches_made_ahead_train_to_the_same_bits() -> None:
    digests = set()
    for source in (Slow(workers=0), Slow(), Slow(workers=3), forever(Slow())):
        model = compiled()
        model.fit(
            source, steps_per_epoch=5, epochs=3, shuffle=False, verbose=0, validation_data=Slow()
        )
        digests.add(digest(model))
    model = compiled()
    model.fit(*data(), batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert digests == {digest(model)}


@pytest.mark.parametrize("as_generator", [False, True])
def test_a_source_that_asks_the_model_in_training_sees_whole_steps(as_generator: bool) -> None:
    """A step takes longer than a batch here: without turns it would be asked before the step."""
    seen = []
    for workers in (0, 1):
        model = compiled()
        source = Slow(model, workers)
        run = model.trainer.train

        def train(batch: Any, run: Any = run) -> Any:
            time.sleep(0.01)
            logs = run(batch)
            time.sleep(0.01)
            return logs

        model.trainer.train = train  # type: ignore[method-assign]
        given = forever(source) if as_generator and workers else source
        model.fit(given, steps_per_epoch=5, epochs=2, shuffle=False, verbose=0)
        seen.append(source.seen[-10:])
    np.testing.assert_array_equal(seen[0], seen[1])


def test_an_error_of_a_source_comes_after_the_steps_before_it() -> None:
    before = threading.active_count()
    model = compiled()
    with pytest.raises(OSError, match="disk on fire"):
        model.fit(Slow(fail_at=3), shuffle=False, verbose=0)
    assert model.optimizer.iterations == 3
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, None])
def test_a_fit_that_ends_early_leaves_no_thread(error: Any) -> None:
    class Ends(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2 and error is not None:
                raise error
            self.model.stop_training = batch == 2

    before = threading.active_count()
    for source in (Slow(), forever(Slow()), Slow(compiled())):
        model = compiled()
        with contextlib.suppress(KeyboardInterrupt, ValueError):
            model.fit(source, steps_per_epoch=5, verbose=0, callbacks=[Ends()])
        assert model.optimizer.iterations == 3
        assert threading.active_count() == before


def test_a_script_that_fails_in_a_step_ends() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "import test_training as t\nclass Ends(t.callbacks.Callback):\n"
    code += "    def on_train_batch_end(self, batch, logs=None): batch == 2 and 1 / 0\n"
    code += "model = t.compiled()\nmodel.fit(t.forever(t.Slow(model)), steps_per_epoch=9, "
    code += "verbose=0, callbacks=[Ends()])"
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder + "/..",
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_validation_split_takes_the_last_samples() -> None:
    model = compiled()
    history = model.fit(*data(), batch_size=8, validation_split=0.25, verbose=0, epochs=1)
    assert model.optimizer.iterations == 4
    assert {"val_loss", "val_accuracy"} <= set(history.history)


def test_backup_and_restore_goes_on_bit_for_bit(tmp_path: Any) -> None:
    x, y = data()
    whole = compiled()
    whole.fit(x, y, batch_size=8, epochs=4, verbose=0)

    class Crash(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    first = compiled()
    backup = callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        first.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[backup, Crash()])
    second = compiled(seed=99)
    second.fit(
        x,
        y,
        batch_size=8,
        epochs=4,
        verbose=0,
        callbacks=[callbacks.BackupAndRestore(tmp_path / "backup")],
    )
    assert digest(second) == digest(whole)


def test_backup_and_restore_goes_on_within_an_epoch_of_batches_made_ahead(tmp_path: Any) -> None:
    whole = compiled()
    whole.fit(Slow(), epochs=3, verbose=0)

    class Crash(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.optimizer.iterations == 8:
                raise KeyboardInterrupt

    backup = callbacks.BackupAndRestore(tmp_path, save_freq=1)
    first = compiled()
    with pytest.raises(KeyboardInterrupt):
        first.fit(Slow(), epochs=3, verbose=0, callbacks=[backup, Crash()])
    second = compiled(seed=99)
    backup = callbacks.BackupAndRestore(tmp_path, save_freq=1)
    second.fit(Slow(), epochs=3, verbose=0, callbacks=[backup])
    assert digest(second) == digest(whole)


def test_nan_loss_is_an_error_and_changes_nothing() -> None:
    model = compiled()
    x, y = data()
    model.fit(x, y, batch_size=8, verbose=0)
    before = digest(model)
    slots = {k: v.tobytes() for k, v in model.optimizer.state().items()}
    steps = model.optimizer.iterations
    bad = x[:8].copy()
    bad[3, 0, 0, 0] = np.inf
    with pytest.raises(NonFiniteError, match="learning rate"):
        model.train_on_batch(bad, y[:8])
    assert digest(model) == before
    assert {k: v.tobytes() for k, v in model.optimizer.state().items()} == slots
    assert model.optimizer.iterations == steps


def test_terminate_on_nan_stops_training() -> None:
    model = compiled()
    x, y = data()
    x[20:] = np.nan
    model.fit(
        x,
        y,
        batch_size=8,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=[callbacks.TerminateOnNaN()],
    )
    assert model.stop_training
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, y + 1), ["4", "0", "3"]),
        (lambda x, y: (x, y - 1), ["-1"]),
        (lambda x, y: (x[:0], y[:0]), ["empty|no sample|0 samples|at least one"]),
        (lambda x, y: (x, y[:-1]), ["40", "39"]),
        (lambda x, y: (x[..., :1], y), ["(None, 12, 12, 2)"]),
        (lambda x, y: ((x * 9).astype(np.int64), y), ["int"]),
        (lambda x, y: (x, np.full(40, np.nan)), ["NaN|nan|integer"]),
        (lambda x, y: (x.astype(object), y), ["object|numbers"]),
    ],
)
def test_bad_data_is_refused_before_any_update(change: Any, words: list[str]) -> None:
    import re

    model = compiled()
    before = digest(model)
    with pytest.raises(FastcnnError) as caught:
        model.fit(*change(*data()), batch_size=40, verbose=0)
    for word in words:
        pattern = word if "|" in word else re.escape(word)
        assert re.search(pattern, str(caught.value)), str(caught.value)
    assert digest(model) == before
    assert model.optimizer.iterations == 0


def test_batches_of_other_shapes_are_refused() -> None:
    model = compiled()
    x, y = data()

    def batches() -> Any:
        yield x[:8], y[:8]
        yield x[:8, :11], y[:8]

    with pytest.raises(FastcnnError, match=r"11.*12|12.*11"):
        model.fit(batches(), verbose=0)


def test_compile_errors() -> None:
    model = everything_network()
    with pytest.raises(ArgumentError, match="adam"):
        model.compile("adamm", "mse")
    model.compile("adam")
    with pytest.raises(ArgumentError, match="loss"):
        model.train_on_batch(*data(4))
    with pytest.raises(ArgumentError, match="no_such_loss"):
        model.compile("adam", "no_such_loss")


def test_frozen_layers_do_not_move() -> None:
    model = everything_network()
    for layer in model.layers[:6]:
        layer.trainable = False
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    frozen = [w.numpy() for layer in model.layers[:6] for w in layer.weights]
    model.fit(*data(), verbose=0)
    after = [w.numpy() for layer in model.layers[:6] for w in layer.weights]
    for a, b in zip(frozen, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_regularizers_add_to_the_loss() -> None:
    x = np.zeros((2, 3), np.float32)
    y = np.zeros((2, 1), np.float32)
    layer = layers.Dense(1, kernel_regularizer=fastcnn.regularizers.L2(0.5), use_bias=False)
    model = Sequential([Input((3,)), layer])
    model.compile("sgd", "mse")
    expected = 0.5 * float((layer.kernel.numpy() ** 2).sum())
    assert model.test_on_batch(x, y) == pytest.approx(expected, rel=1e-5)


def test_empty_epoch_of_a_generator_is_an_error() -> None:
    with pytest.raises(DataError):
        compiled().fit(iter(()), verbose=0)


def test_activity_regularizers_penalise_outputs_over_the_batch() -> None:
    layer = layers.Dense(2, kernel_initializer="ones", activity_regularizer="l2")
    model = Sequential([Input((3,)), layer, layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizers.SGD(0.1), "mse")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    penalty = 0.01 * 2 * (3.0**2 + 12.0**2) / 2
    assert model.test_on_batch(x, np.zeros((2, 1), np.float32)) == pytest.approx(penalty)
    again = layers.Dense.from_config(layer.get_config())
    assert again.activity_regularizer.l2 == 0.01


def small(**compiled: Any) -> Sequential:
    fastcnn.set_random_seed(1)
    model = Sequential([Input((4,)), layers.Dense(3, activation="softmax", name="d")])
    arguments = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", **compiled}
    model.compile(**arguments)
    return model


X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3
LATE = np.where(np.arange(12) == 11, 3, Y)  # one label out of range, in the last batch


def everything(model: Model) -> list[Any]:
    optimizer = model.optimizer
    return [*model.get_weights(), *(v.numpy() for v in optimizer.variables), optimizer.iterations]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": LATE}, "labels run from 0 to 3"),
        ({"validation_data": (X, LATE)}, "validation_data"),
        ({"validation_data": (X, None)}, "validation_data"),
        ({"validation_data": (X[:, :3], Y)}, "validation_data"),
        ({"validation_data": X}, "validation_data"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"initial_epoch": -1}, "initial_epoch"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"verbose": "loud"}, "verbose"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"validation_split": -0.1}, "validation_split"),
        ({"validation_split": "a"}, "validation_split"),
        ({"validation_freq": 0}, "validation_freq"),
        ({"validation_freq": [0]}, "validation_freq"),
        ({"validation_freq": "a"}, "validation_freq"),
        ({"validation_batch_size": 0, "validation_data": (X, Y)}, "batch_size"),
        ({"sample_weight": {"zz": np.ones(12)}}, "sample_weight"),
        ({"sample_weight": np.ones((12, 2))}, "weights"),
        ({"class_weight": {0: -1.0}}, "class_weight"),
        ({"callbacks": [callbacks.History]}, "callbacks"),
        ({"x": lambda: 3, "y": None}, "iterable"),
    ],
    ids=readable,
)
def test_fit_refuses_what_it_can_know_before_it_changes_anything(
    arguments: dict[str, Any], words: str
) -> None:
    model = small()
    model.fit(X, Y, verbose=0)
    before = everything(model)
    with pytest.raises(FastcnnError, match=words):
        model.fit(**{"x": X, "y": Y, "batch_size": 4, "shuffle": False, "verbose": 0, **arguments})
    for a, b in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metrics": ["nope"]}, "nope"),
        ({"weighted_metrics": {"d": ["nope"]}}, "nope"),
        ({"metrics": [3]}, "metric"),
        ({"loss": "nope"}, "nope"),
        ({"loss": {"d": "nope"}}, "nope"),
        ({"optimizer": "nope"}, "nope"),
        ({"optimizer": 0.1}, "optimizer"),
    ],
    ids=readable,
)
def test_compile_names_what_does_not_exist(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        small(**arguments)


def test_batches_that_form_no_array_are_refused() -> None:
    model = small()
    for call in (model.predict_on_batch, lambda x: model.train_on_batch(x, [0, 1])):
        with pytest.raises(DataError, match="same shape"):
            call([[1.0, 2.0], [3.0]])


def test_an_interruption_leaves_weights_and_optimizer_of_a_whole_step(monkeypatch: Any) -> None:
    model, whole = small(), small()
    for _ in range(2):
        whole.train_on_batch(X, Y)
    model.train_on_batch(X, Y)
    run = Plan.run

    def interrupted(plan: Plan, *arrays: Any) -> Any:
        results = run(plan, *arrays)
        signal.raise_signal(signal.SIGINT)
        return results

    model.predict(X, verbose=0)
    with monkeypatch.context() as patched:
        patched.setattr(Plan, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.train_on_batch(X, Y)
    for a, b in zip(everything(model), everything(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(X, verbose=0), whole.predict(X, verbose=0))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Distance(metrics.Metric):
    """Written as for Keras: variables and no state of its own."""

    def __init__(self, name: str = "distance", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(ops.sum(ops.abs(y_true - y_pred)))
        self.count.assign_add(float(y_pred.size))

    def result(self) -> Any:
        return self.total / self.count


def test_metrics_may_keep_variables() -> None:
    model = small(loss="mse", metrics=[Distance(), "mae"])
    target = np.eye(3, dtype=np.float32)[Y]
    for _ in range(2):  # begins anew every time
        logs = model.evaluate(X, target, batch_size=5, verbose=0, return_dict=True)
        assert logs["distance"] == pytest.approx(logs["mae"], rel=1e-5)
    assert [metric.name for metric in model.metrics] == ["loss", "distance", "mae"]
    model.reset_metrics()
    assert model.metrics[1].variables == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": lambda a, b: 3}, "expected a symbolic tensor"),
        ({"loss": lambda a, b: None}, "expected a symbolic tensor"),
        ({"loss": lambda a, b: np.mean(b**2)}, "use fastcnn.ops"),
        ({"loss_weights": "accuracy"}, "loss_weights"),
        ({"metrics": [lambda a, b: None]}, "expected numbers"),
        ({"metrics": [lambda a, b: "good"]}, "expected numbers"),
    ],
    ids=readable,
)
def test_functions_that_return_something_else(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FastcnnError, match=words):
        small(**arguments).train_on_batch(X, Y)
