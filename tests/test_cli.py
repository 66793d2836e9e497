# SPDX-License-Identifier: Apache-2.0
"""The command line: what it writes, what it prints, and how it says no."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from fastcnn import applications, datasets
from fastcnn.backends import threads
from fastcnn.cli import experiment, main
from fastcnn.cli.images import load_images
from fastcnn.cli.schedules import SCHEDULES, make_schedule
from fastcnn.errors import ArgumentError
from fastcnn.models import load_model

FILES = {"model.fastcnn", "history.csv", "history.json", "predictions.csv"}
PICTURES = {"training_curves.png", "confusion_matrix.png", "wrong_predictions.png"}


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.fixture
def few_digits(monkeypatch):
    """The digits, cut down so that an epoch takes no time."""
    load = datasets.digits.load_data

    def load_few(*args, **kwargs):
        (x, y), (x_test, y_test) = load(*args, **kwargs)
        return (x[:96], y[:96]), (x_test[:40], y_test[:40])

    monkeypatch.setattr(datasets.digits, "load_data", load_few)


def run(*words):
    return main([str(word) for word in words])


def failure(capsys, *words):
    """The one sentence on stderr."""
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("fastcnn: ")
    assert printed.err.count("\n") == 1
    return printed.err


# --- demo ----------------------------------------------------------------------------------------


def test_demo_writes_everything(few_digits, tmp_path, capsys):
    out = tmp_path / "a" / "demo"
    assert run("demo", "--epochs", 2, "--out", out, "--threads", 2) == 0
    assert {file.name for file in out.iterdir()} == FILES | PICTURES
    for name in PICTURES:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "61,706 parameters" in printed
    assert "Epoch 2/2" in printed
    assert "Test accuracy" in printed
    assert "bit-identical" in printed
    for file in out.iterdir():
        assert str(file) in printed


def test_demo_learns_the_digits(tmp_path):
    # One thread: the bits are the same, and other tests may be using the rest.
    assert run("demo", "--no-plots", "--threads", 1, "--out", tmp_path) == 0
    result = json.loads((tmp_path / "history.json").read_text())["test"]
    assert result["accuracy"] >= 0.985


def test_files_of_a_run_agree(few_digits, tmp_path):
    assert run("demo", "--epochs", 3, "--out", tmp_path, "--no-plots", "--seed", 5) == 0
    images = load_images("digits", 32)
    probabilities = load_model(tmp_path / "model.fastcnn").predict(images.x_test, verbose=0)
    with open(tmp_path / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["predicted"]) for row in rows] == probabilities.argmax(axis=1).tolist()
    assert [int(row["true"]) for row in rows] == images.y_test.tolist()
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], probabilities.max(axis=1), atol=1e-6
    )
    kept = json.loads((tmp_path / "history.json").read_text())
    assert kept["recipe"]["epochs"] == 3
    assert kept["recipe"]["seed"] == 5
    assert len(kept["history"]["loss"]) == 3
    wrong = int((probabilities.argmax(axis=1) != images.y_test).sum())
    assert kept["test"]["wrong"] == wrong
    assert kept["test"]["accuracy"] == pytest.approx(1 - wrong / 40)
    with open(tmp_path / "history.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(losses, kept["history"]["loss"])
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_same_seed_same_bits_for_any_threads(few_digits, tmp_path):
    files = []
    for name, seed, count in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        out = tmp_path / name
        words = ("--epochs", 1, "--no-plots", "--seed", seed, "--threads", count, "--out", out)
        assert run("demo", *words) == 0
        files.append((out / "predictions.csv").read_bytes())
        weights = load_model(out / "model.fastcnn").get_weights()
        files.append(b"".join(w.tobytes() for w in weights))
    assert files[0:2] == files[2:4]
    assert files[1] != files[5]


def test_missing_matplotlib_is_said_before_training(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(experiment, "run", lambda *_: pytest.fail("the work began"))
    said = failure(capsys, "demo", "--out", tmp_path / "demo")
    assert 'pip install "fastcnn[plot]"' in said
    assert "--no-plots" in said
    assert not (tmp_path / "demo").exists()


def test_a_loaded_model_that_differs_is_an_error(few_digits, monkeypatch, tmp_path, capsys):
    def load_another(path):
        model = load_model(path)
        model.set_weights([w + 1e-3 for w in model.get_weights()])
        return model

    monkeypatch.setattr(experiment, "load_model", load_another)
    said = failure(capsys, "demo", "--epochs", 1, "--no-plots", "--out", tmp_path)
    assert "differently" in said


# --- train ---------------------------------------------------------------------------------------


def test_train(few_digits, tmp_path, capsys):
    words = ("--epochs", 1, "--image-size", 8, "--optimizer", "sgd", "--learning-rate", 0.1)
    assert run("train", "resnet20", *words, "--schedule", "step", "--out", tmp_path) == 0
    assert {file.name for file in tmp_path.iterdir()} == FILES | PICTURES
    model = load_model(tmp_path / "model.fastcnn")
    assert model.inputs[0].shape == (None, 8, 8, 1)
    assert type(model.optimizer).__name__ == "SGD"
    history = json.loads((tmp_path / "history.json").read_text())["history"]
    assert set(history) >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert "resnet20" in capsys.readouterr().out


def test_train_goes_on_from_weights(few_digits, tmp_path):
    common = ("train", "LeNet5", "--no-plots", "--epochs", 1, "--out")
    assert run(*common, tmp_path / "a") == 0
    first = tmp_path / "a" / "model.fastcnn"
    # A rate of almost nothing, so that the weights are still those of the file.
    rest = ("--weights", first, "--learning-rate", 1e-12, "--optimizer", "sgd")
    assert run(*common, tmp_path / "b", *rest) == 0
    again = load_model(tmp_path / "b" / "model.fastcnn")
    for found, given in zip(again.get_weights(), load_model(first).get_weights(), strict=True):
        np.testing.assert_allclose(found, given, atol=1e-6)


def test_train_takes_cifar10(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (32, 32, 32, 3), np.uint8), rng.integers(0, 10, (32, 1), np.uint8)
    monkeypatch.setattr(datasets.cifar10, "load_data", lambda path: ((x, y), (x[:8], y[:8])))
    words = ("--dataset", "cifar10", "--epochs", 1, "--no-plots", "--out", tmp_path)
    assert run("train", "LeNet5", *words) == 0
    assert load_model(tmp_path / "model.fastcnn").inputs[0].shape == (None, 32, 32, 3)
    assert "airplane" in (tmp_path / "predictions.csv").read_text()


# --- summary and config --------------------------------------------------------------------------


def test_summary(capsys):
    assert run("summary", "LeNet5") == 0
    printed = capsys.readouterr().out
    for text in ("c1 (Conv2D)", "(None, 28, 28, 6)", "48,120", "61,706", "416,520"):
        assert text in printed


def test_summary_of_other_sizes(capsys):
    assert run("summary", "resnet20", "--input-shape", "64x48x1", "--classes", 3) == 0
    printed = capsys.readouterr().out
    assert "(None, 64, 48, 16)" in printed
    assert "(None, 3)" in printed


def test_summary_of_columns(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
    assert run("summary", "LeNet5", "--columns", "receptive_field,stride,flops") == 0
    printed = capsys.readouterr().out
    assert "Params" not in printed.splitlines()[1]
    assert re.search(r"c3 \(Conv2D\) +14 +2 +483,200", printed)
    assert run("summary", "LeNet5", "--columns", "all", "--expand-nested") == 0
    assert "Predicted time of one sample" in capsys.readouterr().out


def test_summary_counts_statistics(capsys):
    for name in ("LectureC", "ResNet20", "ResNet18"):
        network = applications.get(name)
        assert run("summary", name) == 0
        assert f"{network().count_params(buffers=True):,}" in capsys.readouterr().out


def test_config(capsys):
    assert run("config") == 0
    assert "isa" in capsys.readouterr().out


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "fastcnn", "summary", "lenet6"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "lenet6" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_prints_help(capsys):
    assert run() == 0
    printed = capsys.readouterr().out
    for name in ("demo", "train", "summary", "config"):
        assert name in printed


# --- saying no -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found", "remedy"),
    [
        ("dance", "dance", "demo"),
        ("summary", "NETWORK", "--help"),
        ("summary LeNet7", "LeNet7", "LeNet5"),
        ("summary LeNet5 --input-shape 32,32", "32,32", "H,W,C"),
        ("summary LeNet5 --input-shape 8,8,1", "c3", "larger input"),
        ("summary LeNet5 --classes many", "many", "--classes"),
        ("summary LeNet5 --columns macs,flop", "flop", "flops"),
        ("demo --no-such-option", "--no-such-option", "--help"),
        ("demo --seed -1 --out OUT", "-1", "seed"),
        ("demo --threads 0 --out OUT", "0", "1 to 1024"),
        ("demo --epochs 0 --out OUT", "0", "epochs"),
        ("train VGG99", "VGG99", "ResNet20"),
        ("train LeNet5 --dataset imagenet", "imagenet", "fashion_mnist"),
        ("train LeNet5 --data-path OUT", "digits", "--data-path"),
        ("train LeNet5 --dataset mnist --data-path OUT", "mnist", "OUT"),
        ("train LeNet5 --image-size 4", "4", "8"),
        ("train LeNet5 --weights OUT/none --out OUT", "none", "file"),
        ("train LeNet5 --schedule moon --no-plots --out OUT", "moon", "cosine"),
        ("train LeNet5 --optimizer moon --no-plots --out OUT", "moon", "adam"),
        ("train LeNet5 --validation-split 1 --no-plots --out OUT", "1", "[0, 1)"),
        ("train LeNet5 --batch-size 0 --no-plots --out OUT", "0", "batch_size"),
        ("train LeNet5 --shift -1 --no-plots --out OUT", "-1", "shift"),
        ("train LeNet5 --learning-rate 0 --no-plots --out OUT", "0", "above 0"),
        ("train LeNet5 --label-smoothing 2 --no-plots --out OUT", "2", "label_smoothing"),
    ],
)
def test_mistakes_are_one_sentence(words, found, remedy, few_digits, tmp_path, capsys):
    out = str(tmp_path / "out")
    said = failure(capsys, *(word.replace("OUT", out) for word in words.split()))
    assert found in said
    assert remedy.replace("OUT", out) in said


def test_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    said = failure(capsys, "demo", "--no-plots", "--out", tmp_path / "file" / "demo")
    assert "--out" in said


def test_debug_shows_the_traceback():
    with pytest.raises(ArgumentError, match="LeNet7"):
        run("--debug", "summary", "LeNet7")


def test_interruption(monkeypatch, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run", interrupt)
    assert run("demo", "--no-plots", "--out", tmp_path) == 130
    assert "interrupted" in capsys.readouterr().err


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_get_a_border(name, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    labels = np.array([1, 2, 9], np.uint8)
    given = (pixels, labels), (pixels[:2], labels[:2])
    monkeypatch.setattr(getattr(datasets, name), "load_data", lambda path: given)
    images = load_images(name, 32)
    assert images.x_train.shape == (3, 32, 32, 1)
    np.testing.assert_array_equal(images.x_train[:, 2:30, 2:30, 0] * 255, pixels)
    border = images.x_train.copy()
    border[:, 2:30, 2:30] = 0
    assert not border.any()
    assert images.y_train.tolist() == [1, 2, 9]
    with pytest.raises(ArgumentError, match="28x28"):
        load_images(name, 20)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_end_low(name):
    schedule = make_schedule(name, 0.1, 100)
    rates = [schedule(step) for step in range(100)] if callable(schedule) else [schedule] * 100
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert name == "constant" or rates[-1] < 0.01
