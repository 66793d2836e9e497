# SPDX-License-Identifier: Apache-2.0
"""The loops over batches: fit, evaluate, predict. Signatures as in Keras 3."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments
from fastcnn.callbacks import CallbackList, History
from fastcnn.data import Batch, DataAdapter, make_adapter, train_validation_split
from fastcnn.data.arrays import as_array
from fastcnn.errors import ArgumentError, DataError, FastcnnError, NonFiniteError, located
from fastcnn.structure import pack_as
from fastcnn.utils.progress import Progress, progress

if TYPE_CHECKING:
    from fastcnn.models.model import Model


def fit(
    self: Model,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | str = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool | str = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: Any = 1,
) -> History:
    """Train for `epochs - initial_epoch` passes over the data.

    Args:
        x: arrays, a `PyDataset`-like object, or a generator of (x, y[, sample_weight]) batches.
            Batches that take long to make are made one ahead by a thread, while the step before
            runs; a source that asks a model waits for that step's end. A source with `workers` 0
            (an attribute, which a function that returns a generator can have) makes each batch in
            the loop. No batch is taken beyond the last one of an epoch, but training that stops
            within one may have taken one more than it used.
        y: targets, only beside arrays.
        batch_size: samples per update for arrays; 32 when None.
        epochs: number of the epoch to stop before.
        verbose: 0 silent, 1 a progress bar, 2 a line per epoch, "auto" 1 on a terminal.
        callbacks: `callbacks.Callback`s.
        validation_split: last fraction of the arrays to keep for validation.
        validation_data: (x, y[, sample_weight]) or a source of batches.
        shuffle: order anew in every epoch, by (seed, epoch) alone.
        class_weight: class number -> weight.
        sample_weight: (N,) weights of the samples in the loss.
        initial_epoch: epoch to begin with, when resuming.
        steps_per_epoch: batches per epoch; all when None.
        validation_steps: batches per validation; all when None.
        validation_batch_size: as `batch_size`.
        validation_freq: validate every so many epochs, or a list of epochs (counted from 1).

    Returns:
        The `History` callback: `.history[name]` is a list with one value per epoch.

    Raises:
        DataError, ShapeError, DtypeError: before any update where it can be known.
        NonFiniteError: the loss became NaN or infinite; the weights are those before that batch.
    """
    trainer = self.trainer
    where = f"model '{self.name}': fit"
    arguments.integer(where, "epochs", epochs, at_least=1)
    arguments.integer(where, "initial_epoch", initial_epoch)
    _check_frequency(where, validation_freq)
    if validation_split:
        (x, y, sample_weight), validation_data = train_validation_split(
            x, y, sample_weight, validation_split=validation_split
        )
    data = make_adapter(
        x,
        y,
        sample_weight,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        shuffle=shuffle,
        class_weight=class_weight,
        seed=trainer.seed,
        float_dtype=self.dtype,
    )
    validation = _validation_adapter(
        self,
        validation_data,
        batch_size if validation_batch_size is None else validation_batch_size,
        validation_steps,
    )
    for source, name in ((data, "the training data"), (validation, "validation_data")):
        if source is not None:
            _check_before(self, source, f"{where}: {name}")
    hooks = CallbackList(callbacks, add_history=True, model=self)
    hooks.set_params(
        {
            "epochs": epochs,
            "steps": data.num_batches,
            "verbose": verbose,
            "validation_freq": validation_freq,
        }
    )
    self.history = hooks.history
    self.stop_training = False
    self.resume_at = (initial_epoch, 0)
    hooks.on_train_begin()
    first, skip = self.resume_at
    data.reseed(trainer.seed)  # a callback may have restored the seed of an interrupted run
    logs: dict[str, float] = {}
    for epoch in range(first, epochs):
        hooks.on_epoch_begin(epoch)
        with progress(data.num_batches, f"Epoch {epoch + 1}/{epochs}", verbose) as bar:
            logs = _train_epoch(self, data, hooks, epoch, skip if epoch == first else 0, bar)
            if validation is not None and _is_due(epoch + 1, validation_freq):
                logs.update({f"val_{k}": v for k, v in _test(self, validation, hooks).items()})
                bar.update(0, logs)
        hooks.on_epoch_end(epoch, logs)
        if self.stop_training:
            break
    self.optimizer.finalize_variable_values()
    hooks.on_train_end(logs)
    return hooks.history


def _train_epoch(
    model: Model,
    data: DataAdapter,
    hooks: CallbackList,
    epoch: int,
    skip: int,
    bar: Progress,
) -> dict[str, float]:
    trainer = model.trainer
    trainer.reset_metrics()
    logs: dict[str, float] = {}
    for step, batch in enumerate(_batches(model, data, epoch)):
        if step < skip:
            continue
        hooks.on_train_batch_begin(step)
        try:
            logs = trainer.train(batch)
        except NonFiniteError:
            if not hooks.handles_nonfinite:
                raise
            logs = {**logs, "loss": float("nan")}
        hooks.on_train_batch_end(step, logs)
        bar.update(1, logs)
        if model.stop_training:
            break
    return dict(logs)


def evaluate(
    self: Model,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    sample_weight: Any = None,
    steps: int | None = None,
    callbacks: Any = None,
    return_dict: bool = False,
) -> Any:
    """Loss and metrics over the data: a float, a list in `metrics_names`' order, or a dict."""
    data = make_adapter(
        x,
        y,
        sample_weight,
        batch_size=batch_size,
        steps_per_epoch=steps,
        repeat=False,
        float_dtype=self.dtype,
    )
    hooks = CallbackList(callbacks, model=self)
    with progress(data.num_batches, "Evaluate", verbose) as bar:
        logs = _test(self, data, hooks, bar)
    return self.trainer.results(logs, return_dict)


def predict(
    self: Model,
    x: Any,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Any = None,
) -> Any:
    """Outputs for all samples: arrays in the nesting of the model's outputs.

    Args:
        x: arrays or a source of batches.
        batch_size: samples per run; 32 when None.
        verbose: as in `fit`.
        steps: batches to run; all when None.
        callbacks: their predict hooks are called.
    """
    data = make_adapter(
        x, batch_size=batch_size, steps_per_epoch=steps, repeat=False, float_dtype=self.dtype
    )
    hooks = CallbackList(callbacks, model=self)
    hooks.on_predict_begin()
    parts: list[list[Any]] = []
    structure: Any = None
    with progress(data.num_batches, "Predict", verbose) as bar:
        for step, batch in enumerate(_batches(self, data, 0)):
            hooks.on_predict_batch_begin(step)
            plan = self.inference_plan(self.check_inputs(batch.x))
            structure = plan.structure
            parts.append(plan.run(batch.x))
            hooks.on_predict_batch_end(step, {"outputs": parts[-1]})
            bar.update()
    hooks.on_predict_end()
    if not parts:
        raise DataError("predict got no batch; give at least one sample")
    return pack_as(structure, [np.concatenate(column) for column in zip(*parts, strict=True)])


def one_batch(model: Model, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> Batch:
    """One checked batch from arrays."""
    leaves = [as_array(a, "x") for a in model.order_inputs(x)]
    size = max((len(a) for a in leaves), default=1)
    data = make_adapter(
        x,
        y,
        sample_weight,
        batch_size=max(size, 1),
        class_weight=class_weight,
        float_dtype=model.dtype,
    )
    return next(iter(_batches(model, data, 0)))


def _batches(model: Model, data: DataAdapter, epoch: int) -> Iterator[Batch]:
    """Batches with inputs and targets in the model's order, where they were given by name."""
    for batch in data.epoch(epoch):
        yield _in_order(model, data, batch)


def _in_order(model: Model, data: DataAdapter, batch: Batch) -> Batch:
    x_keys, y_keys = data.x_structure.keys, data.y_structure.keys
    x, y, w = batch
    if x_keys:
        x = model.order_inputs(dict(zip(x_keys, x, strict=True)))
    if y_keys:
        names = [n for n in model.output_names if n in y_keys]
        w = [batch.w[y_keys.index(n)] for n in names] if len(w) == len(y_keys) else w
        y = model.trainer.order_targets(y, y_keys)
    return Batch(x, y, w)


def _validation_adapter(
    model: Model, given: Any, batch_size: int | None, steps: int | None
) -> DataAdapter | None:
    if given is None:
        return None
    if isinstance(given, (tuple, list)):
        if not 2 <= len(given) <= 3:
            raise ArgumentError("validation_data is (x, y) or (x, y, sample_weight)")
        x, y, weight = (*given, None)[:3]
        return make_adapter(
            x,
            y,
            weight,
            batch_size=batch_size,
            steps_per_epoch=steps,
            repeat=False,
            float_dtype=model.dtype,
        )
    return make_adapter(given, steps_per_epoch=steps, float_dtype=model.dtype)


def _test(
    model: Model, data: DataAdapter, hooks: CallbackList, bar: Any = None
) -> dict[str, float]:
    trainer = model.trainer
    trainer.reset_metrics()
    logs: dict[str, float] = {}
    hooks.on_test_begin()
    for step, batch in enumerate(_batches(model, data, 0)):
        hooks.on_test_batch_begin(step)
        logs = trainer.test(batch)
        hooks.on_test_batch_end(step, logs)
        if bar is not None:
            bar.update(1, logs)
    hooks.on_test_end(logs)
    return dict(logs)


def _check_before(model: Model, data: DataAdapter, where: str) -> None:
    """Refuse bad data before the first update, as far as it is at hand."""
    if any(t.shape[0] is not None for t in model.inputs):
        return  # one sample alone is no batch for this model
    batch = _in_order(model, data, data.first)
    labels = _in_order(model, data, data.first._replace(y=data.labels)).y
    try:
        model.trainer.check_before(batch, labels)
    except FastcnnError as error:
        raise located(error, where) from None


def _check_frequency(where: str, frequency: Any) -> None:
    if isinstance(frequency, Collection) and not isinstance(frequency, (str, bytes)):
        for epoch in frequency:
            arguments.integer(where, "validation_freq", epoch, at_least=1)
    else:
        arguments.integer(where, "validation_freq", frequency, at_least=1)


def _is_due(epoch: int, frequency: Any) -> bool:
    if not isinstance(frequency, Collection):
        return bool(epoch % frequency == 0)
    return epoch in frequency
