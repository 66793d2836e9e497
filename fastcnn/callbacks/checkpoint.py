# SPDX-License-Identifier: Apache-2.0
"""Callbacks that save the model, or what training needs to go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from fastcnn import arguments, random
from fastcnn.callbacks.base import Callback, Logs
from fastcnn.callbacks.monitor import MonitorCallback
from fastcnn.errors import ArgumentError, FileError
from fastcnn.utils.atomic import make_folder


def _frequency(who: str, save_freq: Any) -> int | None:
    """Batches between two saves, or None for the end of every epoch."""
    if save_freq == "epoch":
        return None
    if isinstance(save_freq, str):
        raise ArgumentError(
            f"{who}: found save_freq={save_freq!r}, expected 'epoch' or a number of batches"
        )
    return arguments.integer(who, "save_freq", save_freq, at_least=1)


@final
class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, as training goes on.

    Args:
        filepath: the file; `{epoch}`, `{batch}` (both from 1) and names of the logs are filled in,
            as in "model-{epoch:02d}-{val_loss:.2f}.fastcnn".
        monitor, mode: see `MonitorCallback`.
        verbose: 1 prints what is saved.
        save_best_only: save only when the monitored value is the best so far.
        save_weights_only: `model.save_weights` instead of `model.save`.
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: what counts as best before anything was seen.

    Raises:
        ArgumentError: the file name or `monitor` names a value that is not logged.
        FileError: the file cannot be written; an old one is as it was.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = arguments.path("ModelCheckpoint", "filepath", filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._every = _frequency("ModelCheckpoint", save_freq)
        self._epoch = 0
        self._batches_since_save = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save when `save_freq` batches have passed."""
        if self._every is None:
            return
        self._batches_since_save += 1
        if self._batches_since_save >= self._every:
            self._batches_since_save = 0
            self._save(logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save when `save_freq` is "epoch"."""
        if self._every is None:
            self._save(logs or {}, None)

    def _save(self, logs: Logs, batch: int | None) -> None:
        if self.save_best_only:
            value = self._monitored(logs)
            if value is None or not self._is_better(value, self.best):
                return
            self.best = value
        path = self._path(logs, batch)
        make_folder(Path(path).parent)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            reason = f" ({self.monitor} is {self.best:.5f})" if self.save_best_only else ""
            print(f"Epoch {self._epoch + 1}: saved the model to {path}{reason}")

    def _path(self, logs: Logs, batch: int | None) -> str:
        names: dict[str, Any] = {**logs, "epoch": self._epoch + 1}
        if batch is not None:
            names["batch"] = batch + 1
        try:
            return self.filepath.format(**names)
        except (KeyError, IndexError, ValueError) as error:
            raise ArgumentError(
                f"ModelCheckpoint: cannot fill in '{self.filepath}' ({error!r}); there are "
                f"{', '.join(sorted(names))}"
            ) from None


@final
class BackupAndRestore(Callback):
    """Lets an interrupted `fit` go on where it was: the same call again continues.

    Weights, optimizer state and seeds are written to `backup_dir` atomically and read back when
    `fit` begins. Shuffling and dropout depend on seed, epoch and step alone, so the continued run
    equals one that was never interrupted. Means logged for the epoch that was interrupted cover
    only what ran after the interruption.

    Args:
        backup_dir: a folder of this training's own.
        save_freq: "epoch", or a number of batches (epochs are then saved too).
        double_checkpoint: keep the state before the last one as well, and fall back to it.
        delete_checkpoint: delete the state when `fit` ends.

    Raises:
        FileError: the state there cannot be read or does not fit the model.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        self.backup_dir = Path(arguments.path("BackupAndRestore", "backup_dir", backup_dir))
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._every = _frequency("BackupAndRestore", save_freq)
        self._batches_since_save = 0
        self._epoch = 0

    @property
    def _latest(self) -> Path:
        return self.backup_dir / "latest.fastcnn"

    @property
    def _previous(self) -> Path:
        return self.backup_dir / "previous.fastcnn"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Read the state, if there is one, and have `fit` resume there."""
        self._batches_since_save = 0
        extra = self._load()
        if extra is not None:
            random.set_state(extra["random"])
            self.model.resume_at = (int(extra["epoch"]), int(extra["batch"]))

    def _load(self) -> dict[str, Any] | None:
        found = [path for path in (self._latest, self._previous) if path.exists()]
        for position, path in enumerate(found, 1):
            try:
                extra: dict[str, Any] = self.model.load_state(path)
                return extra
            except FileError:
                if position == len(found):
                    raise
        return None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save when `save_freq` batches have passed; after the last one the epoch's end does."""
        if self._every is None:
            return
        self._batches_since_save += 1
        if self._batches_since_save >= self._every and batch + 1 != self.params.get("steps"):
            self._save(self._epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save the state with which the next epoch begins."""
        self._save(epoch + 1, 0)

    def _save(self, epoch: int, batch: int) -> None:
        self._batches_since_save = 0
        make_folder(self.backup_dir)
        if self.double_checkpoint and self._latest.exists():
            os.replace(self._latest, self._previous)
        extra = {"epoch": epoch, "batch": batch, "random": random.get_state()}
        self.model.save_state(self._latest, extra)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Delete the state: the training is complete."""
        if self.delete_checkpoint:
            for path in (self._latest, self._previous):
                path.unlink(missing_ok=True)
            if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()
