# SPDX-License-Identifier: Apache-2.0
"""Weights in the form that inference wants them: scaled, packed, transformed.

They follow from the model's own weights and are computed again when these have changed. Plans for
different input shapes share them.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Any, final

from fastcnn.backends.cpu import aligned_empty
from fastcnn.graph import Constant, Parameter, State, Tensor
from fastcnn.plan import Plan


@final
class DerivedWeights:
    """Tensors computed from the weights of one model on one backend, kept as parameters."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._weights: list[Parameter] = []
        self._parameters: dict[Hashable, Parameter] = {}
        self._pending: list[tuple[Parameter, Tensor]] = []
        self._plans: list[Plan] = []
        self._versions: list[int] | None = None
        self._lock = threading.Lock()

    def watch(self, weights: list[Parameter]) -> None:
        """All weights of the model, now that it is built."""
        self._weights = weights

    def stand_in(self, tensor: Tensor) -> Tensor:
        """The leaf that holds the value of `tensor`; one for equal expressions of equal weights."""
        key = _expression(tensor, {})
        if key not in self._parameters:
            value = aligned_empty(tensor.spec.nbytes).view(tensor.dtype).reshape(tensor.spec.sizes)
            parameter = Parameter(tensor.node.op.name, value, path=tensor.node.layer)
            self._parameters[key] = parameter
            self._pending.append((parameter, tensor))
        return self._parameters[key].tensor

    def refresh(self) -> None:
        """Compute what is new, and all of it when a weight has changed."""
        with self._lock:
            versions = [p.version for p in self._weights]
            stale = self._plans if versions != self._versions else []
            if self._pending:
                self._plans.append(Plan([], [], self._pending, backend=self._backend))
                self._pending = []
                stale = stale or self._plans[-1:]
            for plan in stale:
                plan.run()
            self._versions = versions


def _expression(tensor: Tensor, known: dict[int, Hashable]) -> Hashable:
    """What a tensor is computed from, such that equal expressions have equal values."""
    node = tensor.node
    if id(node) not in known:
        leaf: Any = node.op
        if isinstance(leaf, State):
            known[id(node)] = ("state", id(leaf.parameter))
        elif isinstance(leaf, Constant):
            known[id(node)] = (
                "constant",
                leaf.value.dtype.str,
                leaf.value.shape,
                leaf.value.tobytes(),
            )
        else:
            inputs: Sequence[Hashable] = [_expression(t, known) for t in node.inputs]
            known[id(node)] = (leaf, *inputs)
    return (known[id(node)], tensor.index)
