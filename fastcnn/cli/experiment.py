# SPDX-License-Identifier: Apache-2.0
"""One whole experiment: train, test, save, load again, predict, draw."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fastcnn import arguments, callbacks, losses, optimizers, plots
from fastcnn.backends import isas, threads
from fastcnn.cli.images import Images, ImageSet, Labels
from fastcnn.cli.schedules import SCHEDULES, make_schedule
from fastcnn.data import ShiftedImages, train_validation_split
from fastcnn.errors import BackendError, FileError, MissingDependencyError
from fastcnn.models import Model, load_model
from fastcnn.random import set_random_seed
from fastcnn.utils.atomic import write_atomically
from fastcnn.utils.progress import is_interactive

Array = npt.NDArray[Any]

MODEL, LOG, HISTORY = "model.fastcnn", "history.csv", "history.json"
PREDICTIONS = "predictions.csv"
CURVES, MATRIX, WRONG = "training_curves.png", "confusion_matrix.png", "wrong_predictions.png"


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per update.
        optimizer: name of an optimizer.
        learning_rate: the highest one.
        schedule: one of `schedules.SCHEDULES`: how the rate falls from there.
        label_smoothing: share of each target spread over all classes.
        shift: pixels by which training images are moved at random, at most.
        validation_split: last fraction of the training images to validate on instead; with 0 the
            test images are watched, by which nothing is chosen.
        seed: of the first weights, the order of the images and their moves.

    Raises:
        ArgumentError: a value outside its range.
    """

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    label_smoothing: float
    shift: int
    validation_split: float
    seed: int

    def __post_init__(self) -> None:
        who = "the recipe"
        arguments.integer(who, "epochs", self.epochs, 1)
        arguments.integer(who, "batch_size", self.batch_size, 1)
        arguments.positive(who, "learning_rate", self.learning_rate)
        arguments.one_of(who, "schedule", self.schedule, tuple(SCHEDULES))
        arguments.fraction(who, "label_smoothing", self.label_smoothing)
        arguments.integer(who, "shift", self.shift)
        arguments.fraction(who, "validation_split", self.validation_split, below_one=True)


def prepare(seed: int, num_threads: int | None, out: Path, pictures: bool) -> None:
    """All that can fail before the work begins, fails here.

    Raises:
        MissingDependencyError: pictures are wanted and matplotlib is not installed.
        FileError: the folder cannot be made.
        ArgumentError, BackendError: an impossible seed or number of threads.
    """
    if pictures:
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "the pictures need matplotlib, which is not installed; run: "
                'pip install "fastcnn[plot]", or pass --no-plots'
            ) from error
    isas.default_isa()
    threads.get_num_threads()
    set_random_seed(seed)
    if num_threads is not None:
        threads.set_num_threads(num_threads)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder {out} ({error.strerror}); choose another with --out"
        ) from error


def run(model: Model, images: ImageSet, recipe: Recipe, out: Path, pictures: bool) -> None:
    """Train `model` on `images` and leave everything worth keeping in `out`.

    Raises:
        BackendError: the model read back predicts other numbers than the one that was saved.
        FastcnnError: see `Model.fit`.
    """
    _introduce(model, images, recipe)
    history, seconds = _train(model, images, recipe, out)
    rate = recipe.epochs * len(images.x_train) / seconds
    print(f"Trained in {seconds:.1f} s ({rate:,.0f} images a second).")
    loss, accuracy = model.evaluate(images.x_test, images.y_test, verbose=0)
    probabilities = model.predict(images.x_test, verbose=0)
    predicted = probabilities.argmax(axis=1)
    wrong = int((predicted != images.y_test).sum())
    print(
        f"Test accuracy {accuracy:.2%}: {wrong} of {len(images.x_test):,} images wrong, "
        f"loss {loss:.4f}{_smoothed(recipe)}."
    )
    _save_and_compare(model, images.x_test, probabilities, out / MODEL)
    results = {"accuracy": accuracy, "loss": loss, "wrong": wrong, "seconds": seconds}
    _write_json(out / HISTORY, {"recipe": asdict(recipe), "test": results, "history": history})
    _write_predictions(out / PREDICTIONS, images, probabilities)
    if pictures:
        held_out = "validation" if recipe.validation_split else "test"
        _draw(images, history, probabilities, out, held_out)
    _list_files(out, pictures)


def _introduce(model: Model, images: ImageSet, recipe: Recipe) -> None:
    height, width, channels = images.x_train.shape[1:]
    count = threads.get_num_threads()
    print(
        f"{model.name} ({model.count_params():,} parameters) on {images.name}: "
        f"{len(images.x_train):,} training and {len(images.x_test):,} test images of "
        f"{height}x{width}x{channels}, {count} thread{'s' if count > 1 else ''}."
    )
    if not recipe.validation_split:
        print("val_ values are those of the test images; nothing is chosen by them.")
    sys.stdout.flush()


def _smoothed(recipe: Recipe) -> str:
    """A word on losses that cannot reach 0."""
    return f" (label smoothing {recipe.label_smoothing})" if recipe.label_smoothing else ""


def _train(
    model: Model, images: ImageSet, recipe: Recipe, out: Path
) -> tuple[dict[str, list[float]], float]:
    """Values of every epoch, and the seconds that `fit` took, validation included."""
    x, y, validation = _validation(images, recipe)
    batches = ShiftedImages(x, y, recipe.batch_size, recipe.shift, recipe.seed)
    steps = recipe.epochs * len(batches)
    rate = make_schedule(recipe.schedule, recipe.learning_rate, steps)
    model.compile(
        optimizer=optimizers.get(
            {"class_name": recipe.optimizer, "config": {"learning_rate": rate}}
        ),
        loss=losses.SparseCategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    begin = time.perf_counter()
    history = model.fit(
        batches,
        epochs=recipe.epochs,
        validation_data=validation,
        validation_batch_size=256,
        shuffle=False,
        # A bar on a terminal, a line per epoch in a file.
        verbose=1 if is_interactive(sys.stdout) else 2,
        callbacks=[callbacks.CSVLogger(out / LOG)],
    )
    return history.history, time.perf_counter() - begin


def _validation(images: ImageSet, recipe: Recipe) -> tuple[Images, Labels, tuple[Array, Array]]:
    if not recipe.validation_split:
        return images.x_train, images.y_train, (images.x_test, images.y_test)
    (x, y, _), (x_validation, y_validation, _) = train_validation_split(
        images.x_train, images.y_train, validation_split=recipe.validation_split
    )
    return x, y, (x_validation, y_validation)


def _save_and_compare(model: Model, x: Images, probabilities: Array, path: Path) -> None:
    model.save(path)
    again = load_model(path).predict(x, verbose=0)
    if again.dtype != probabilities.dtype or again.tobytes() != probabilities.tobytes():
        different = int((again != probabilities).any(axis=1).sum())
        raise BackendError(
            f"the model read back from {path} predicts {different} of {len(x)} images differently "
            "from the one that was saved, expected equal bits; please report this"
        )
    print("Saved, loaded again: the loaded model's predictions are bit-identical.")


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def _write_predictions(path: Path, images: ImageSet, probabilities: Array) -> None:
    """One row per test image: number, true and predicted class, probability of the latter."""
    rows = ["image,true,predicted,probability"]
    names = [f'"{name}"' if "," in name else name for name in images.class_names]
    for number, (true, row) in enumerate(zip(images.y_test, probabilities, strict=True)):
        best = int(row.argmax())
        rows.append(f"{number},{names[true]},{names[best]},{row[best]:.6f}")
    write_atomically(path, ("\n".join(rows) + "\n").encode())


def _draw(
    images: ImageSet,
    history: dict[str, list[float]],
    probabilities: Array,
    out: Path,
    held_out: str,
) -> None:
    true, predicted, names = images.y_test, probabilities.argmax(axis=1), images.class_names
    plots.training_curves(history, out / CURVES, held_out)
    plots.confusion_matrix(true, predicted, names, out / MATRIX)
    plots.wrong_predictions(
        images.x_test, true, predicted, probabilities, out / WRONG, labels=names
    )


def _list_files(out: Path, pictures: bool) -> None:
    written = {
        MODEL: "the trained model: fastcnn.models.load_model(...)",
        LOG: "loss and accuracy of every epoch",
        HISTORY: "the same with recipe and test result",
        PREDICTIONS: "the predicted class of every test image",
    }
    if pictures:
        written[CURVES] = "loss and accuracy over the epochs"
        written[MATRIX] = "which class was taken for which"
        written[WRONG] = "the test images it got wrong"
    width = max(len(str(out / name)) for name in written)
    for name, text in written.items():
        print(f"  {out / name!s:{width}}  {text}")
