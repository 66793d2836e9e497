# SPDX-License-Identifier: Apache-2.0
"""Callbacks that watch one value and act when it stops getting better."""

from __future__ import annotations

import math
from typing import Any, final

from fastcnn import arguments
from fastcnn.callbacks.base import Callback, Logs
from fastcnn.errors import ArgumentError

# Last words of names of which more is better, and of which less is.
_UP = ("acc", "accuracy", "auc", "precision", "recall", "score", "iou")
_DOWN = ("loss", "error", "crossentropy", "divergence", "mse", "mae", "rmse", "ce")


class MonitorCallback(Callback):
    """Base of callbacks that compare a value of the logs with the best so far.

    Args:
        monitor: name of the value.
        mode: "min", "max", or "auto": told by the metric's direction, else by the name.
        baseline: what counts as best before anything was seen.
        min_delta: a change must be larger than this to be an improvement.

    Raises:
        ArgumentError: an unknown mode; later, a value that is not in the logs, or whose direction
            cannot be told.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.mode = arguments.one_of(type(self).__name__, "mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(arguments.number(type(self).__name__, "min_delta", min_delta))
        if baseline is not None:
            baseline = arguments.number(type(self).__name__, "the first best value", baseline)
        self._initial = baseline
        self.best = baseline

    def _forget(self) -> None:
        self.best = self._initial

    def _monitored(self, logs: Logs | None) -> float | None:
        """The value; None in an epoch without validation; ArgumentError if it is not logged."""
        logs = logs or {}
        if self.monitor in logs:
            return float(logs[self.monitor])
        sparse = self.params.get("validation_freq", 1) != 1
        if sparse and self.monitor.startswith("val_"):
            return None
        hint = ""
        if self.monitor.startswith("val_") and not any(n.startswith("val_") for n in logs):
            hint = "; give fit validation_data or validation_split"
        raise ArgumentError(
            f"{type(self).__name__}: there is no value '{self.monitor}' to monitor; there are "
            f"{', '.join(sorted(logs)) or 'none'}{hint}"
        )

    @property
    def _more_is_better(self) -> bool:
        if self.mode != "auto":
            return bool(self.mode == "max")
        name = self.monitor.removeprefix("val_")
        for metric in getattr(self.model, "metrics", None) or ():
            if getattr(metric, "name", None) == name and getattr(metric, "direction", None):
                return bool(metric.direction == "up")
        word = name.rpartition("_")[2]
        if word in _UP or word in _DOWN:
            return word in _UP
        raise ArgumentError(
            f"{type(self).__name__}: cannot tell whether more or less of '{self.monitor}' is "
            "better; pass mode='max' or mode='min'"
        )

    def _is_better(self, value: float, reference: float | None) -> bool:
        """Whether `value` improves on `reference` by more than min_delta; NaN never does."""
        if math.isnan(value):
            return False
        if reference is None:
            return True
        if self._more_is_better:
            return value - self.min_delta > reference
        return value + self.min_delta < reference


@final
class EarlyStopping(MonitorCallback):
    """Stops `fit` once the monitored value has not improved for `patience` epochs.

    Args:
        monitor, min_delta, mode: see `MonitorCallback`.
        patience: epochs without improvement that are borne.
        verbose: 1 prints what is done.
        baseline: an epoch only counts as improved if it is also better than this.
        restore_best_weights: at the end, give the model the weights of its best epoch.
        start_from_epoch: epochs before this one are not looked at.

    Attributes:
        stopped_epoch: the epoch after which training was stopped; 0 if it was not.
        best_epoch: the epoch of the best value.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        self.patience = arguments.integer("EarlyStopping", "patience", patience)
        self.verbose = verbose
        self.baseline = baseline
        if baseline is not None:
            self.baseline = arguments.number("EarlyStopping", "baseline", baseline)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = arguments.integer(
            "EarlyStopping", "start_from_epoch", start_from_epoch
        )
        self._reset()

    def _reset(self) -> None:
        self._forget()
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and stop when patience is over."""
        value = self._monitored(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self._is_better(value, self.best):
            self.best = value
            self._keep(epoch)
            if self.baseline is None or self._is_better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Say what happened and restore."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of epoch {self.best_epoch + 1}, the best")
            self.model.set_weights(self.best_weights)


@final
class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when the monitored value stops improving.

    Args:
        monitor, mode, min_delta: see `MonitorCallback`.
        factor: new rate over old, below 1.
        patience: epochs without improvement that are borne.
        verbose: 1 prints what is done.
        cooldown: epochs after a reduction that are not counted.
        min_lr: the rate is not reduced below this.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        self.factor = arguments.fraction("ReduceLROnPlateau", "factor", factor, below_one=True)
        self.patience = arguments.integer("ReduceLROnPlateau", "patience", patience)
        self.verbose = verbose
        self.cooldown = arguments.integer("ReduceLROnPlateau", "cooldown", cooldown)
        self.min_lr = arguments.non_negative("ReduceLROnPlateau", "min_lr", min_lr)
        self._reset()

    def _reset(self) -> None:
        self._forget()
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self._reset()
        settable_rate(self.model.optimizer, "ReduceLROnPlateau")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and reduce when patience is over."""
        logs = {} if logs is None else logs
        value = self._monitored(logs)
        rate = settable_rate(self.model.optimizer, "ReduceLROnPlateau")
        logs["learning_rate"] = rate
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_better(value, self.best):
            self.best = value
            self.wait = 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self._reduce(epoch, rate)

    def _reduce(self, epoch: int, rate: float) -> None:
        reduced = max(rate * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = reduced
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose:
            print(f"Epoch {epoch + 1}: ReduceLROnPlateau reduces the learning rate to {reduced:g}")


def settable_rate(optimizer: Any, who: str) -> float:
    """The optimizer's learning rate; ArgumentError where a schedule decides it."""
    rate = optimizer.learning_rate
    if not isinstance(rate, (int, float)):
        raise ArgumentError(
            f"{who}: the optimizer follows {rate!r}, so its learning rate cannot be set; give the "
            "optimizer a number, or drop the callback"
        )
    return float(rate)
