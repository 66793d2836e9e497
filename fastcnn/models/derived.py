# SPDX-License-Identifier: Apache-2.0
"""Weights in the form that inference wants them: scaled, packed, transformed.

They follow from the model's own weights and are computed again when these have changed. Plans for
different input shapes share them.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Any, final

from fastcnn.backends.cpu import BigPages
from fastcnn.graph import Constant, Parameter, State, Tensor, topological
from fastcnn.plan import Arena, Plan

Update = tuple[Parameter, Tensor]


@final
class Prologue:
    """What computes some derived weights, and the state of the weights when it last ran.

    The weights are those that its graph reads, not those that the model lists: ops may read the
    weights of other layers. Most run once, so the plan of the first run is not kept with its arena.
    """

    def __init__(self, updates: Sequence[Update], backend: str) -> None:
        nodes = topological(tensor for _, tensor in updates)
        self._sources = [node.op.parameter for node in nodes if isinstance(node.op, State)]
        self._updates, self._backend = updates, backend
        self._plan: Plan | None = None
        self._versions: list[int] | None = None

    def refresh(self, arena: Arena) -> None:
        """Run if a weight has changed since; a plan that is made now has its memory in `arena`."""
        versions = [p.version for p in self._sources]
        if versions == self._versions:
            return
        plan = self._plan or Plan([], [], self._updates, backend=self._backend, arena=arena)
        plan.run()
        if self._versions is not None:
            self._plan = plan
        self._versions = versions
        for parameter in self._sources:
            parameter.release()


@final
class DerivedWeights:
    """Tensors computed from the weights of one model on one backend, kept as parameters."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._memory = BigPages()
        self._parameters: dict[Hashable, Parameter] = {}
        self._pending: list[Update] = []
        self._prologues: list[Prologue] = []
        self._lock = threading.Lock()
        self._seen: object = None  # the last write of any weight before `refresh` began

    def stand_in(self, tensor: Tensor) -> Tensor:
        """The leaf that holds the value of `tensor`; one for equal expressions of equal weights."""
        key = _expression(tensor, {})
        # A thread that runs another plan may be refreshing.
        with self._lock:
            parameter = self._parameters.get(key)  # a key is large, and hashed anew at every look
            if parameter is None:
                nbytes, sizes = tensor.spec.nbytes, tensor.spec.sizes
                value = self._memory.empty(nbytes).view(tensor.dtype).reshape(sizes)
                parameter = Parameter(tensor.node.op.name, value, path=tensor.node.layer)
                self._pending.append((parameter, tensor))
                self._parameters[key] = parameter
                self._seen = None
            return parameter.tensor

    def refresh(self) -> None:
        """Compute what is new or follows from a weight that has changed."""
        if self._seen is Parameter.last_write:
            return
        with self._lock:
            latest = Parameter.last_write
            if self._pending:
                groups = _groups(self._pending)
                self._prologues += [Prologue(group, self._backend) for group in groups]
                self._pending = []
            arena = Arena()  # they take turns, and fresh pages cost as much as what is computed
            for prologue in self._prologues:
                prologue.refresh(arena)
            self._seen = latest


# Bytes of derived weights that are computed together: what lies between takes about as much.
_GROUP_BYTES = 1 << 24


def _groups(pending: Sequence[Update]) -> list[list[Update]]:
    """The updates in groups of about `_GROUP_BYTES`, the largest first.

    The memory that a group takes while it is computed is then small when most results are there.
    """
    groups: list[list[Update]] = []
    nbytes = _GROUP_BYTES
    for parameter, tensor in sorted(pending, key=lambda update: -update[1].spec.nbytes):
        if nbytes >= _GROUP_BYTES:
            groups.append([])
            nbytes = 0
        groups[-1].append((parameter, tensor))
        nbytes += tensor.spec.nbytes
    return groups


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
