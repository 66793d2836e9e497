# SPDX-License-Identifier: Apache-2.0
"""Callbacks that steer or record training epoch by epoch."""

from __future__ import annotations

import csv
import inspect
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.callbacks.base import Callback, Logs
from fastcnn.callbacks.monitor import settable_rate
from fastcnn.errors import ArgumentError, FileError
from fastcnn.utils.atomic import write_atomically


@final
class LearningRateScheduler(Callback):
    """Sets the learning rate of every epoch to `schedule(epoch, current rate)`.

    Args:
        schedule: a function of (epoch, learning_rate) or of (epoch) that returns a number.
        verbose: 1 prints the rates.

    Raises:
        ArgumentError: `schedule` returns something else, or the optimizer follows a schedule of
            its own.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise ArgumentError(
                f"LearningRateScheduler: found schedule={schedule!r}, expected a function"
            )
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        current = settable_rate(self.model.optimizer, "LearningRateScheduler")
        rate: Any = self.schedule(epoch, current) if self._takes_rate else self.schedule(epoch)
        if not isinstance(rate, (int, float, np.number)) or not 0 <= rate < math.inf:
            raise ArgumentError(
                f"LearningRateScheduler: the schedule returned {rate!r} for epoch {epoch}, "
                "expected a number of at least 0"
            )
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: LearningRateScheduler sets the learning rate to {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Log the rate."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


@final
class TerminateOnNaN(Callback):
    """Ends `fit` in peace when the loss becomes NaN or infinite, with the weights before it.

    Args:
        raise_error: have `fit` raise its NonFiniteError, as it does without this callback.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self.handles_nonfinite = not raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Stop on a loss that is not finite."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            print(f"Batch {batch}: the loss is {loss}, terminating training")
            self.model.stop_training = True


@final
class CSVLogger(Callback):
    """Writes the values of every epoch to a CSV file; each row replaces the file atomically.

    Args:
        filename: the file.
        separator: between the columns.
        append: keep the rows of an existing file.

    Raises:
        FileError: the file cannot be written, or cannot be continued.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename = Path(arguments.path("CSVLogger", "filename", filename))
        self.separator = separator
        given: Any = separator
        if not isinstance(given, str) or len(given) != 1:
            raise ArgumentError(
                f"CSVLogger: found separator={separator!r}, expected a single character"
            )
        self.append = append
        self._rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin a file, or take up an old one."""
        self._rows = self._read() if self.append and self.filename.exists() else []

    def _read(self) -> list[dict[str, Any]]:
        try:
            with open(self.filename, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, delimiter=self.separator)
                rows: list[dict[str, Any]] = list(reader)
                columns = reader.fieldnames
        except (OSError, ValueError, csv.Error) as error:
            raise FileError(
                f"CSVLogger: '{self.filename}' cannot be continued ({error}); pass another file "
                "name or append=False"
            ) from error
        if columns is not None and "epoch" not in columns:
            raise FileError(
                f"CSVLogger: '{self.filename}' has the columns {list(columns)} and no 'epoch', so "
                "it cannot be continued; pass another file name or append=False"
            )
        return rows

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add a row."""
        values = logs or {}
        self._rows.append({"epoch": epoch, **{name: values[name] for name in sorted(values)}})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="NA", delimiter=self.separator)
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.filename, text.getvalue().encode())


@final
class SwapEMAWeights(Callback):
    """Evaluates and predicts with the moving averages of the weights.

    The optimizer must have been made with `use_ema=True`.

    Args:
        swap_on_epoch: also let the callbacks at the end of an epoch see the averages, so that a
            `ModelCheckpoint` after this one saves them.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._averages_in_model = False

    def _show(self, averages: bool) -> None:
        if averages != self._averages_in_model:
            optimizer = self.model.optimizer
            if not optimizer.use_ema:
                raise ArgumentError(
                    "SwapEMAWeights: the optimizer keeps no averages; make it with use_ema=True"
                )
            optimizer.swap_ema()
            self._averages_in_model = averages

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Train the weights themselves."""
        self._show(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the averages to the callbacks that follow."""
        if self.swap_on_epoch:
            self._show(True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave the averages in the model if they were shown after the last epoch."""
        if self._averages_in_model:
            self._show(False)
            self.model.optimizer.finalize_variable_values()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Evaluate the averages."""
        self._show(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._show(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Predict with the averages."""
        self._show(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._show(False)
