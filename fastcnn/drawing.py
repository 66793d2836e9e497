# SPDX-License-Identifier: Apache-2.0
"""Where in a model we are while nodes are being added, and what its layers want beside outputs.

scope    the path of the layers being called, noted on every node
Trace    a model being lowered: state to store, random state, added losses
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from fastcnn.errors import ShapeError
from fastcnn.graph import Node, Op, Parameter, Tensor, infer, placeholder

_scope: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("scope", default=())
_call: contextvars.ContextVar[Any] = contextvars.ContextVar("call", default=None)


@contextlib.contextmanager
def scope(name: str, call: Any = None) -> Iterator[None]:
    """Nodes added inside belong to layer `name`; the outermost `call` is noted on them."""
    token = _scope.set((*_scope.get(), name))
    outermost = _call.get()
    token_call = _call.set(call if outermost is None else outermost)
    try:
        yield
    finally:
        _scope.reset(token)
        _call.reset(token_call)


@contextlib.contextmanager
def scope_path(path: str) -> Iterator[None]:
    """Nodes added inside belong to the layer path given, whatever the scope around it."""
    token = _scope.set((path,) if path else ())
    try:
        yield
    finally:
        _scope.reset(token)


@contextlib.contextmanager
def drawing_apart() -> Iterator[None]:
    """What is drawn inside is a graph of its own, no part of the layer or model being drawn."""
    scope, call, trace = _scope.set(()), _call.set(None), _trace.set(None)
    try:
        yield
    finally:
        _scope.reset(scope)
        _call.reset(call)
        _trace.reset(trace)


def current_scope() -> str:
    """Slash-joined names of the layers being called."""
    return "/".join(_scope.get())


def current_call() -> Any:
    """The outermost layer call being drawn."""
    return _call.get()


class Trace:
    """A model being lowered: what its layers read, store, draw at random and add to the loss.

    Attributes:
        rng: placeholder uint32 (4,) of (seed low, seed high, step low, step high).
        losses: scalars that layers add to the training loss.
        outputs: layer path -> the flat outputs of its last call.
    """

    def __init__(self) -> None:
        self._updates: dict[int, tuple[Parameter, Tensor]] = {}
        self._salt = 0
        self.rng = placeholder((4,), "uint32", "rng")
        self.losses: list[Tensor] = []
        self.outputs: dict[str, list[Tensor]] = {}

    def next_salt(self) -> int:
        """A number that tells apart the places of the graph that draw at random."""
        self._salt += 1
        return self._salt

    @property
    def updates(self) -> list[tuple[Parameter, Tensor]]:
        """Parameters and their new values, in the order of first assignment."""
        return list(self._updates.values())

    def latest(self, parameter: Parameter) -> Tensor:
        """The value a reader sees now: the last assigned, else the stored one."""
        found = self._updates.get(id(parameter))
        return found[1] if found else parameter.tensor

    def assign(self, parameter: Parameter, value: Tensor) -> None:
        """Store `value` into `parameter` at the end of the run."""
        if value.shape != parameter.shape:
            raise ShapeError(
                f"weight '{parameter.name}' of shape {parameter.shape} cannot take a value of "
                f"shape {value.shape}; assign a tensor of the same shape"
            )
        self._updates[id(parameter)] = (parameter, value)


_trace: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("trace", default=None)


@contextlib.contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Reads and assignments of parameters inside go through `trace`."""
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def current_trace() -> Trace | None:
    """The trace of the model being lowered; None while a model is only drawn."""
    return _trace.get()


def random_state() -> tuple[Tensor, int]:
    """The random state to draw from here, and the salt of this place."""
    trace = _trace.get() or Trace()
    return trace.rng, trace.next_salt()


def read(parameter: Parameter) -> Tensor:
    """Symbolic value of a parameter at this point of the trace."""
    trace = _trace.get()
    return parameter.tensor if trace is None else trace.latest(parameter)


def assign(parameter: Parameter, value: Tensor) -> None:
    """Have the run store `value`; without a trace (while a model is drawn) it is only checked."""
    (_trace.get() or Trace()).assign(parameter, value)


def _user_line() -> str:
    """File and line of the first caller outside fastcnn: errors and plans point there."""
    package = __file__.rpartition("/")[0]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def add_node(op: Op, inputs: Sequence[Tensor]) -> Node:
    """Infer and append a node; shape errors name the layer (or the op) and its inputs."""
    layer = current_scope()
    specs = infer(op, [t.spec for t in inputs], layer)
    return Node(op, tuple(inputs), specs, layer, _user_line(), _call.get())
