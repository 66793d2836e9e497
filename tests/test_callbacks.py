# SPDX-License-Identifier: Apache-2.0
"""Callbacks on a small fake model whose losses are given, and on what they write."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import callbacks, random
from fastcnn.errors import ArgumentError, FileError
from fastcnn.optimizers.schedules import StepDecay
from fastcnn.utils.atomic import write_atomically


class FakeOptimizer:
    def __init__(self, learning_rate=0.1, use_ema=True):
        self.learning_rate = learning_rate
        self.use_ema = use_ema
        self.swaps = 0
        self.finalized = False

    def swap_ema(self):
        self.swaps += 1

    def finalize_variable_values(self):
        self.finalized = True


class FakeModel:
    """`weights` is the number of updates; losses per epoch are given to `fit`."""

    def __init__(self, **optimizer):
        self.optimizer = FakeOptimizer(**optimizer)
        self.weights = 0
        self.stop_training = False
        self.resume_at = None
        self.seen = []

    def get_weights(self):
        return [np.array(self.weights)]

    def set_weights(self, weights):
        self.weights = int(weights[0])

    def save(self, path):
        Path(path).write_text(f"model {self.weights}")

    def save_weights(self, path):
        Path(path).write_text(f"weights {self.weights}")

    def save_state(self, path, extra):
        write_atomically(path, json.dumps({"weights": self.weights, "extra": extra}).encode())

    def load_state(self, path):
        try:
            state = json.loads(Path(path).read_text())
        except ValueError as error:
            raise FileError(f"'{path}' is damaged") from error
        self.weights = state["weights"]
        return state["extra"]

    def fit(self, hooks, logs_of, epochs, steps=4, crash_at=None, **params):
        hooks = callbacks.CallbackList(hooks, add_history=True, model=self)
        hooks.set_params({"epochs": epochs, "steps": steps, "verbose": 0, **params})
        self.stop_training, self.resume_at = False, None
        hooks.on_train_begin()
        first, skip = self.resume_at or (0, 0)
        for epoch in range(first, epochs):
            hooks.on_epoch_begin(epoch)
            for batch in range(skip if epoch == first else 0, steps):
                if crash_at == (epoch, batch):
                    raise KeyboardInterrupt
                hooks.on_train_batch_begin(batch)
                self.weights += 1
                self.seen.append((epoch, batch))
                hooks.on_train_batch_end(batch, {"loss": 1.0})
                if self.stop_training:
                    break
            hooks.on_epoch_end(epoch, dict(logs_of(epoch)))
            if self.stop_training:
                break
        hooks.on_train_end()
        return hooks.history


def losses(*values):
    return lambda epoch: {"loss": 1.0, "val_loss": values[epoch]}


def test_hooks_are_called_in_order():
    calls = []

    class Recorder(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            calls.append(("begin", epoch))

        def on_batch_end(self, batch, logs=None):
            calls.append(("batch", batch))

        def on_epoch_end(self, epoch, logs=None):
            calls.append(("end", epoch))
            assert self.params["epochs"] == 2
            assert self.model.weights > 0

    FakeModel().fit([Recorder()], losses(1, 2), epochs=2, steps=2)
    assert calls == [
        *[("begin", 0), ("batch", 0), ("batch", 1), ("end", 0)],
        *[("begin", 1), ("batch", 0), ("batch", 1), ("end", 1)],
    ]


def test_every_hook_of_the_list_reaches_the_callbacks():
    from fastcnn.callbacks.base import HOOKS

    for hook in set(HOOKS) - {"on_batch_begin", "on_batch_end"}:
        calls = []
        own = callbacks.LambdaCallback(**{hook: lambda *args, calls=calls: calls.append(args)})
        arguments = (3, {"a": 1}) if "batch" in hook or "epoch" in hook else ({"a": 1},)
        getattr(callbacks.CallbackList([own]), hook)(*arguments)
        assert calls == [arguments]


def test_history():
    history = FakeModel().fit(None, losses(3, 2, 1), epochs=3)
    assert history.epoch == [0, 1, 2]
    assert history.history == {"loss": [1.0, 1.0, 1.0], "val_loss": [3, 2, 1]}
    own = callbacks.History()
    assert FakeModel().fit([own], losses(3), epochs=1) is own


def test_callback_list_flattens_and_refuses():
    inner = callbacks.CallbackList([callbacks.History()])
    assert len(list(callbacks.CallbackList([inner, callbacks.TerminateOnNaN()]))) == 2
    with pytest.raises(ArgumentError, match="make an instance"):
        callbacks.CallbackList([callbacks.History])
    with pytest.raises(ArgumentError, match="3"):
        callbacks.CallbackList([3])
    with pytest.raises(ArgumentError, match="add_history"):
        _ = callbacks.CallbackList().history


def test_lambda_callback_names_its_hooks():
    with pytest.raises(ArgumentError, match="on_predict_begin"):
        callbacks.LambdaCallback(on_epoch=print)
    with pytest.raises(ArgumentError, match="function"):
        callbacks.LambdaCallback(on_epoch_end=3)


# --- EarlyStopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "values", "stopped"),
    [
        ({"patience": 0}, (3, 2, 2, 1), 2),
        ({"patience": 2}, (3, 2, 2, 2, 1, 1), 3),
        ({"patience": 2}, (3, 2, 2, 1, 1, 1), 5),
        ({"patience": 1, "min_delta": 0.5}, (3, 2.6, 2.5, 2), 1),
        ({"patience": 1, "min_delta": -0.5}, (3, 2.4, 2.0, 2), 2),
        ({"patience": 1, "start_from_epoch": 2}, (1, 2, 3, 4, 5), 3),
        ({"patience": 2, "baseline": 1.5}, (3, 2, 2, 1, 1), 2),
        ({"patience": 2, "baseline": 2.5}, (3, 2, 2, 1, 1), 0),
        ({"patience": 1}, (3, math.nan, 2, 1), 1),
        ({"patience": 1, "mode": "max"}, (1, 2, 2, 3), 2),
    ],
)
def test_early_stopping(arguments, values, stopped):
    callback = callbacks.EarlyStopping(**arguments)
    history = FakeModel().fit([callback], losses(*values), epochs=len(values))
    assert callback.stopped_epoch == stopped
    assert history.epoch[-1] == (stopped or len(values) - 1)


def test_early_stopping_restores_the_best(capsys):
    model = FakeModel()
    callback = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    model.fit([callback], losses(3, 1, 2, 2, 0), epochs=5)
    assert model.weights == 8
    assert callback.best_epoch == 1
    assert "Epoch 4: early stopping" in capsys.readouterr().out
    model = FakeModel()
    callback = callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    model.fit([callback], losses(3, 1, 2, 2), epochs=4)
    assert model.weights == 8
    assert callback.stopped_epoch == 0


def test_early_stopping_can_be_used_again():
    callback = callbacks.EarlyStopping(patience=1)
    for _ in range(2):
        history = FakeModel().fit([callback], losses(3, 2, 2, 1), epochs=4)
        assert history.epoch == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "up"),
    [
        *[("val_loss", False), ("val_accuracy", True), ("accuracy", True), ("out_loss", False)],
        *[("val_mean_squared_error", False), ("val_recall", True), ("val_top_k_acc", True)],
    ],
)
def test_direction_is_told_by_the_name(name, up):
    callback = callbacks.EarlyStopping(name, patience=9)
    FakeModel().fit([callback], lambda epoch: {name: [1, 3, 2][epoch]}, epochs=3)
    assert callback.best == (3 if up else 1)


def test_direction_is_told_by_the_metric():
    class Metric:
        name = "fit"
        direction = "up"

    model = FakeModel()
    model.metrics = [Metric()]
    callback = callbacks.EarlyStopping("val_fit", patience=9)
    model.fit([callback], lambda epoch: {"val_fit": [1, 3, 2][epoch]}, epochs=3)
    assert callback.best == 3
    with pytest.raises(ArgumentError, match="mode='max' or mode='min'"):
        FakeModel().fit([callbacks.EarlyStopping("fit")], lambda e: {"fit": e}, epochs=3)


@pytest.mark.parametrize(
    "make",
    [
        callbacks.EarlyStopping,
        callbacks.ReduceLROnPlateau,
        lambda: callbacks.ModelCheckpoint("x", save_best_only=True),
    ],
)
def test_missing_value_is_an_error_that_lists_the_logs(make):
    with pytest.raises(ArgumentError, match=r"'val_loss'.*accuracy, loss.*validation_data"):
        FakeModel().fit([make()], lambda e: {"loss": 1, "accuracy": 1}, epochs=1)


def test_epochs_without_validation_are_passed_over():
    callback = callbacks.EarlyStopping(patience=1)
    logs = [{"loss": 1}, {"loss": 1, "val_loss": 2}, {"loss": 1}, {"loss": 1, "val_loss": 1}]
    history = FakeModel().fit([callback], lambda e: logs[e], epochs=4, validation_freq=2)
    assert history.epoch == [0, 1, 2, 3]
    assert callback.best == 1


# --- learning rates -----------------------------------------------------------------------------


def test_reduce_on_plateau():
    model = FakeModel()
    callback = callbacks.ReduceLROnPlateau(
        factor=0.5, patience=2, cooldown=1, min_lr=0.02, min_delta=0.1
    )
    history = model.fit([callback], losses(3, 3, 2.95, 3, 3, 3, 3, 3, 3, 3, 3), epochs=11)
    expected = [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.02, 0.02, 0.02, 0.02]
    assert history.history["learning_rate"] == pytest.approx(expected)


def test_reduce_on_plateau_refuses():
    with pytest.raises(ArgumentError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    model = FakeModel(learning_rate=StepDecay(0.1, 10))
    with pytest.raises(ArgumentError, match="StepDecay"):
        model.fit([callbacks.ReduceLROnPlateau()], losses(1), epochs=1)
    assert model.weights == 0


def test_learning_rate_scheduler(capsys):
    model = FakeModel()
    scheduler = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
    history = model.fit([scheduler], losses(1, 1), epochs=2)
    assert history.history["learning_rate"] == [0.05, 0.025]
    assert "Epoch 2" in capsys.readouterr().out
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 1.0 / (epoch + 1))
    model.fit([scheduler], losses(1, 1), epochs=2)
    assert model.optimizer.learning_rate == 0.5
    model.fit([callbacks.LearningRateScheduler(StepDecay(0.2, 1))], losses(1, 1), epochs=2)
    assert model.optimizer.learning_rate == pytest.approx(0.02)


@pytest.mark.parametrize("rate", [None, -1.0, math.nan, "0.1"])
def test_learning_rate_scheduler_refuses(rate):
    model = FakeModel()
    with pytest.raises(ArgumentError, match="epoch 0"):
        model.fit([callbacks.LearningRateScheduler(lambda epoch: rate)], losses(1), epochs=1)
    assert model.optimizer.learning_rate == 0.1
    with pytest.raises(ArgumentError, match="function"):
        callbacks.LearningRateScheduler(0.1)


def test_a_type_error_inside_a_schedule_is_not_hidden():
    def schedule(epoch, rate):
        return rate + "1"

    with pytest.raises(TypeError, match="unsupported operand"):
        FakeModel().fit([callbacks.LearningRateScheduler(schedule)], losses(1), epochs=1)


# --- TerminateOnNaN, EMA ------------------------------------------------------------------------


def test_terminate_on_nan():
    assert callbacks.CallbackList([callbacks.TerminateOnNaN()]).handles_nonfinite
    assert not callbacks.CallbackList([callbacks.History()]).handles_nonfinite
    model = FakeModel()
    callback = callbacks.TerminateOnNaN()
    callback.set_model(model)
    callback.on_train_batch_end(0, {"loss": 1.0})
    assert not model.stop_training
    callback.on_train_batch_end(1, {"loss": math.nan})
    assert model.stop_training


def test_swap_ema_weights():
    model = FakeModel()
    hooks = callbacks.CallbackList([callbacks.SwapEMAWeights()], model=model)
    hooks.on_epoch_begin(0)
    assert model.optimizer.swaps == 0
    hooks.on_test_begin()
    assert model.optimizer.swaps == 1
    hooks.on_test_end()
    assert model.optimizer.swaps == 2
    hooks.on_predict_begin()
    hooks.on_predict_end()
    assert model.optimizer.swaps == 4
    hooks.on_train_end()
    assert not model.optimizer.finalized
    model.fit([callbacks.SwapEMAWeights(swap_on_epoch=True)], losses(1, 1), epochs=2)
    assert model.optimizer.swaps == 8
    assert model.optimizer.finalized
    with pytest.raises(ArgumentError, match="use_ema=True"):
        FakeModel(use_ema=False).fit(
            [callbacks.SwapEMAWeights(swap_on_epoch=True)], losses(1), epochs=1
        )


# --- files --------------------------------------------------------------------------------------


def test_model_checkpoint_names(tmp_path):
    pattern = tmp_path / "deep" / "m-{epoch:02d}-{val_loss:.2f}.fastcnn"
    FakeModel().fit([callbacks.ModelCheckpoint(pattern)], losses(0.5, 0.25), epochs=2)
    names = sorted(p.name for p in (tmp_path / "deep").iterdir())
    assert names == ["m-01-0.50.fastcnn", "m-02-0.25.fastcnn"]
    with pytest.raises(ArgumentError, match="epoch, loss, val_loss"):
        FakeModel().fit([callbacks.ModelCheckpoint("{acc}")], losses(1), epochs=1)


def test_model_checkpoint_keeps_the_best(tmp_path, capsys):
    path = tmp_path / "best"
    callback = callbacks.ModelCheckpoint(
        path, save_best_only=True, save_weights_only=True, verbose=1
    )
    FakeModel().fit([callback], losses(3, 1, 2), epochs=3)
    assert path.read_text() == "weights 8"
    assert capsys.readouterr().out.count("saved") == 2
    callback = callbacks.ModelCheckpoint(path, save_best_only=True, initial_value_threshold=0.5)
    FakeModel().fit([callback], losses(3, 1, 2), epochs=3)
    assert path.read_text() == "weights 8"


def test_model_checkpoint_by_batches(tmp_path):
    callback = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=3)
    FakeModel().fit([callback], losses(1, 1), epochs=2, steps=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-3", "2-2"]
    for wrong in ("batch", 0, 1.5):
        with pytest.raises(ArgumentError, match="save_freq"):
            callbacks.ModelCheckpoint("x", save_freq=wrong)


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    logs = [{"loss": 1.0}, {"loss": 0.5, "val_loss": 2.0}]
    FakeModel().fit([callbacks.CSVLogger(path, separator=";")], lambda e: logs[e], epochs=2)
    assert path.read_text().splitlines() == ["epoch;loss;val_loss", "0;1.0;NA", "1;0.5;2.0"]
    FakeModel().fit([callbacks.CSVLogger(path, ";", append=True)], lambda e: logs[e], epochs=1)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    FakeModel().fit([callbacks.CSVLogger(path)], lambda e: logs[e], epochs=1)
    assert path.read_text().splitlines() == ["epoch,loss", "0,1.0"]
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


def test_csv_logger_refuses(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="no 'epoch'"):
        FakeModel().fit([callbacks.CSVLogger(path, append=True)], losses(1), epochs=1)
    assert path.read_text() == "a,b\n1,2\n"
    with pytest.raises(FileError, match="folder"):
        FakeModel().fit([callbacks.CSVLogger(tmp_path / "no" / "log.csv")], losses(1), epochs=1)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(FileError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# --- BackupAndRestore ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save_freq", "resumes"), [("epoch", (1, 0)), (3, (1, 0)), (2, (1, 2)), (1, (1, 2))]
)
def test_backup_continues_an_interrupted_run(tmp_path, save_freq, resumes):
    random.set_random_seed(4)
    backup = tmp_path / "backup"
    model = FakeModel()
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            [callbacks.BackupAndRestore(backup, save_freq)], losses(1, 1, 1), 3, crash_at=(1, 2)
        )
    next_seed = random.next_seed()
    random.set_random_seed(99)
    resumed = FakeModel()
    resumed.fit([callbacks.BackupAndRestore(backup, save_freq)], losses(1, 1, 1), 3)
    assert resumed.seen[0] == resumes
    assert resumed.seen[-1] == (2, 3)
    assert resumed.weights == 12
    assert random.next_seed() == next_seed
    assert not backup.exists()


def test_backup_may_be_kept(tmp_path):
    callback = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    FakeModel().fit([callback], losses(1, 1), 2)
    again = FakeModel()
    again.fit([callback], losses(1, 1), 2)
    assert again.seen == []
    assert again.weights == 8


def test_double_backup_survives_damage(tmp_path):
    def callback(**arguments):
        return callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False, **arguments)

    FakeModel().fit([callback(double_checkpoint=True)], losses(1, 1), 2)
    (tmp_path / "latest.fastcnn").write_text("{")
    model = FakeModel()
    model.fit([callback(double_checkpoint=True)], losses(1, 1), 2)
    assert model.seen[0] == (1, 0)
    assert model.weights == 8
    for path in tmp_path.iterdir():
        path.write_text("{")
    with pytest.raises(FileError, match="damaged"):
        FakeModel().fit([callback()], losses(1, 1), 2)


def test_backup_refuses():
    with pytest.raises(ArgumentError, match="backup_dir"):
        callbacks.BackupAndRestore("")
    with pytest.raises(ArgumentError, match="save_freq"):
        callbacks.BackupAndRestore("x", save_freq=-1)


def test_folders_and_files_that_cannot_be_used_are_fastcnn_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    inside = tmp_path / "file" / "x"  # below a file there can be no folder
    logger = callbacks.CSVLogger(tmp_path / "file", append=True)
    for callback in (
        callbacks.ModelCheckpoint(inside / "m"),
        callbacks.BackupAndRestore(inside),
        callbacks.CSVLogger(inside),
        logger,
    ):
        model = fastcnn.Sequential([fastcnn.Input((2,)), fastcnn.layers.Dense(1)])
        model.compile("sgd", "mse")
        with pytest.raises(FileError):
            model.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=[callback])
    with pytest.raises(ArgumentError, match="separator"):
        callbacks.CSVLogger(tmp_path / "a.csv", separator=";;")
