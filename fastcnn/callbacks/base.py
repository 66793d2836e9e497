# SPDX-License-Identifier: Apache-2.0
"""The hooks of training, evaluation and prediction, and the list that calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, final

from fastcnn.errors import ArgumentError

Logs = dict[str, Any]


class Callback:
    """Base of callbacks: override the hooks that matter.

    `epoch` and `batch` count from 0. `logs` holds the running means; what a hook adds to those of
    `on_epoch_end` is seen by the callbacks after it and by `History`.

    Attributes:
        model: the model being run; set `model.stop_training = True` to end `fit`.
        params: "epochs", "steps" and "verbose" of the call.
        handles_nonfinite: whether a NaN loss reaches `on_train_batch_end` of all callbacks as
            logs["loss"], instead of being raised by `fit`. The weights are those before the batch.
    """

    handles_nonfinite: bool = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model being run."""
        return self._model

    def set_model(self, model: Any) -> None:
        """Called before any hook."""
        self._model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called before any hook."""
        self.params = dict(params)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch of `fit`."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation, whose values begin with "val_"."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before an update."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After an update."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation, also that of `fit`'s validation data."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class History(Callback):
    """Keeps the values of every epoch; `fit` returns it.

    Attributes:
        epoch: numbers of the epochs run.
        history: name -> list with one value per epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the epochs of an earlier `fit`."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the values of the epoch."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        if self.model is not None:
            self.model.history = self


@final
class LambdaCallback(Callback):
    """A callback made of functions, one per hook: `LambdaCallback(on_epoch_end=print)`.

    Raises:
        ArgumentError: there is no such hook, or it is not given a function.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any] | None,
    ) -> None:
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in given.items():
            if name not in HOOKS:
                raise ArgumentError(
                    f"LambdaCallback: there is no hook '{name}'; there are {', '.join(HOOKS)}"
                )
            if function is not None and not callable(function):
                raise ArgumentError(
                    f"LambdaCallback: found {name}={function!r}, expected a function"
                )
            if function is not None:
                setattr(self, name, function)


class CallbackList:
    """Calls every hook of its callbacks in order.

    Args:
        callbacks: a callback, several, or another such list.
        add_history: append a `History` unless there is one.
        model: handed to every callback.
        params: handed to every callback as `params`.

    Raises:
        ArgumentError: something in the list is not a callback.
    """

    def __init__(
        self, callbacks: Any = None, add_history: bool = False, model: Any = None, **params: Any
    ) -> None:
        self.callbacks: list[Callback] = list(_flat(callbacks))
        if add_history and self._find_history() is None:
            self.callbacks.append(History())
        self.params: dict[str, Any] = {}
        self.model = None
        if model is not None:
            self.set_model(model)
        if params:
            self.set_params(params)

    def _find_history(self) -> History | None:
        return next((c for c in self.callbacks if isinstance(c, History)), None)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks.extend(_flat(callback))

    @property
    def history(self) -> History:
        """The history that `fit` returns.

        Raises:
            ArgumentError: there is none in the list.
        """
        found = self._find_history()
        if found is None:
            raise ArgumentError("this CallbackList has no History; make it with add_history=True")
        return found

    @property
    def handles_nonfinite(self) -> bool:
        """Whether a callback deals with a NaN loss, so that it must not be raised."""
        return any(c.handles_nonfinite for c in self.callbacks)

    def set_model(self, model: Any) -> None:
        """Hand the model to every callback."""
        self.model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hand the parameters of the call to every callback."""
        self.params = dict(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def _call(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(*args)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_train_begin", logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_train_end", logs or {})

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_epoch_begin", epoch, logs if logs is not None else {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback; what they add to `logs` stays there."""
        self._call("on_epoch_end", epoch, logs if logs is not None else {})

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_train_batch_begin", batch, logs or {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_train_batch_end", batch, logs or {})

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_test_begin", logs or {})

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_test_end", logs or {})

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_test_batch_begin", batch, logs or {})

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_test_batch_end", batch, logs or {})

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_predict_begin", logs or {})

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_predict_end", logs or {})

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_predict_batch_begin", batch, logs or {})

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call the hook of every callback."""
        self._call("on_predict_batch_end", batch, logs or {})


def _flat(callbacks: Any) -> Iterator[Callback]:
    if callbacks is None:
        return
    if isinstance(callbacks, Callback):
        yield callbacks
    elif isinstance(callbacks, Iterable) and not isinstance(callbacks, (str, bytes)):
        for callback in callbacks:
            yield from _flat(callback)
    else:
        hint = "; make an instance of it" if isinstance(callbacks, type) else ""
        raise ArgumentError(f"found {callbacks!r} among the callbacks, expected a Callback{hint}")
