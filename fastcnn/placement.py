# SPDX-License-Identifier: Apache-2.0
"""Where a plan's tensors lie: the order of its nodes, a buffer for each tensor, and the calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from fastcnn.arena import Interval, lay_out
from fastcnn.backends import Call, Slot
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Constant, Node, Parameter, Placeholder, State, Tensor, topological
from fastcnn.ops.elementwise import CheckFinite, Identity
from fastcnn.views import channel_views, without_views

ARENA = 0

Updates = Sequence[tuple[Parameter, Tensor]]


def own_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs, with a copy wherever two would share memory with each other or with a leaf."""
    taken: set[Tensor] = set()
    owned = []
    for tensor in outputs:
        root = _view_root(tensor)
        if not root.node.inputs or root in taken:
            tensor = _copy(tensor)
            root = tensor
        taken.add(root)
        owned.append(tensor)
    return owned


def _view_root(tensor: Tensor) -> Tensor:
    while tensor.node.op.is_view:
        tensor = tensor.node.inputs[0]
    return tensor


def _copy(tensor: Tensor) -> Tensor:
    return Node(Identity(), (tensor,), (tensor.spec,), tensor.node.layer).outputs[0]


class Schedule:
    """Nodes in running order, in three parts, so that a run stopped by the guard changed no state.

        early   all that outputs, guard and the late nodes read; then the guard itself
        late    nodes that make new state and that nothing else reads
        copies  new state that could not be made in its place

    `targets` maps the tensors that are written straight into a parameter to that parameter.
    """

    def __init__(self, outputs: Sequence[Tensor], updates: Updates, guard: Tensor | None) -> None:
        updates = [(p, _computed(t)) for p, t in _checked_updates(updates)]
        writers = [t.node for _, t in updates if not t.node.op.is_view]
        before = [*outputs, *(t for node in writers for t in node.inputs)]
        before += [t for _, t in updates if t.node.op.is_view]
        before += [guard] if guard is not None else []
        early = [node for node in topological(before) if node.inputs]
        done = {id(node) for node in early}
        late = list({id(node): node for node in writers if id(node) not in done}.values())
        if guard is not None:
            early.append(Node(CheckFinite(), (guard,), (), guard.node.layer))
        place = {id(node): i for i, node in enumerate(late)}
        last_read = {_view_root(t): i for i, node in enumerate(late) for t in node.inputs}
        self.targets: dict[Tensor, Parameter] = {}
        for parameter, tensor in updates:
            made, read = place.get(id(tensor.node), -1), last_read.get(parameter.tensor, -1)
            # Nobody may read the parameter's old value once the new one is made in its place.
            straight = made > read or (made == read >= 0 and _overwrites(parameter, tensor))
            straight = straight and tensor not in self.targets
            self.targets[tensor if straight else _copy(tensor)] = parameter
        copies = [t.node for t in self.targets if id(t.node) not in place]
        self.nodes = [*early, *late, *copies]


def _checked_updates(updates: Updates) -> Updates:
    """The updates, if each parameter is named once and takes a tensor of its own spec."""
    seen: set[int] = set()
    for parameter, tensor in updates:
        label = parameter.path or parameter.name
        if id(parameter) in seen:
            raise ArgumentError(f"found two updates of weight '{label}', expected one; join them")
        seen.add(id(parameter))
        if tensor.spec != parameter.spec:
            raise ShapeError(
                f"weight '{label}' is {parameter.spec} but its update is {tensor.spec}, expected "
                "the same shape and dtype; reshape the update"
            )
    return updates


def _computed(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where it is the memory of a leaf, which may be state itself."""
    return tensor if _view_root(tensor).node.inputs else _copy(tensor)


def _overwrites(parameter: Parameter, tensor: Tensor) -> bool:
    """Whether the node of `tensor` reads the parameter only as the input it may overwrite."""
    node = tensor.node
    reads = [i for i, t in enumerate(node.inputs) if _view_root(t) == parameter.tensor]
    return reads == [node.op.inplace.get(tensor.index)]


class Placement:
    """A slot for every tensor of a schedule, and the calls over them."""

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        schedule: Schedule,
        views: bool = False,
    ) -> None:
        fixed = {*inputs, *(_view_root(t) for t in outputs), *schedule.targets}
        self._views = (
            channel_views(schedule.nodes, fixed) if views else without_views(schedule.nodes)
        )
        self.nodes = [n for n in self._views.nodes if not n.op.is_view]
        self._numbers = count(ARENA + 1)
        self._root: dict[Tensor, Tensor] = {}
        self._buffer: dict[Tensor, int] = {}
        self._offset: dict[Tensor, int] = {}
        self.fixed: dict[int, Array] = {}
        for node in schedule.nodes:
            for tensor in node.outputs:
                self._root[tensor] = self.root(node.inputs[0]) if node.op.is_view else tensor
        for tensor, (parent, _) in self._views.parents.items():
            self._root[tensor] = parent
        self.inputs = [self._new_buffer(t) for t in inputs]
        self.outputs = [self._new_buffer(self.root(t)) for t in outputs]
        for tensor, parameter in schedule.targets.items():
            parameter.own()
            self._buffer[tensor] = self._state_buffer(parameter)
        for node in self.nodes:
            for tensor in node.inputs:
                self._place_leaf(self.root(tensor))
        self._share_in_place()
        self.arena_bytes = self._lay_out_arena()
        self.calls = [self._call(node) for node in self.nodes]

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory `tensor` is."""
        found = self._root.get(tensor, tensor)
        while found != tensor:
            tensor, found = found, self._root.get(found, found)
        return found

    def slot(self, tensor: Tensor) -> Slot:
        """Where `tensor` lies."""
        root = self.root(tensor)
        buffer = self._buffer.get(root, ARENA)
        offset = self._offset[root] if buffer == ARENA else 0
        around, channel = self._views.outermost(tensor)
        if around == tensor:
            return Slot(buffer, offset, tensor.spec.sizes, tensor.dtype)
        offset += channel * np.dtype(tensor.dtype).itemsize
        return Slot(buffer, offset, tensor.spec.sizes, tensor.dtype, around.spec.sizes[-1])

    def _new_buffer(self, tensor: Tensor) -> int:
        self._buffer[tensor] = next(self._numbers)
        return self._buffer[tensor]

    def _state_buffer(self, parameter: Parameter) -> int:
        leaf = parameter.tensor
        plain = parameter.value.flags.carray and parameter.value.dtype.isnative
        if not (plain or parameter.adopted):
            raise ArgumentError(
                f"the array of weight '{parameter.path or parameter.name}' is not a writable, "
                "aligned and C-contiguous one in this machine's byte order; make the parameter of "
                "numpy.array(value, 'float32', order='C')"
            )
        if leaf not in self._buffer:
            self.fixed[self._new_buffer(leaf)] = parameter.value
        return self._buffer[leaf]

    def _place_leaf(self, tensor: Tensor) -> None:
        op = tensor.node.op
        if tensor in self._buffer or tensor.node.inputs:
            return
        if isinstance(op, State):
            self._state_buffer(op.parameter)
        elif isinstance(op, Constant):
            self.fixed[self._new_buffer(tensor)] = op.value
        elif isinstance(op, Placeholder):
            raise ArgumentError(
                f"the graph reads {tensor}, which is not among the plan's inputs; add it to them"
            )

    def _last_uses(self) -> dict[Tensor, int]:
        last: dict[Tensor, int] = {}
        for position, node in enumerate(self.nodes):
            for tensor in (*node.inputs, *node.outputs):
                last[self.root(tensor)] = position
        return last

    def _share_in_place(self) -> None:
        """Let an output overwrite an input that nobody needs afterwards."""
        last = self._last_uses()
        for position, node in enumerate(self.nodes):
            for out_index, in_index in node.op.inplace.items():
                out, source = node.outputs[out_index], self.root(node.inputs[in_index])
                others = [self.root(t) for i, t in enumerate(node.inputs) if i != in_index]
                if (
                    out not in self._buffer
                    and out not in self._views.parents
                    and source not in self._buffer
                    and last[source] == position
                    and source not in others
                    and out.spec.nbytes == source.spec.nbytes
                ):
                    self._root[out] = source
                    last[source] = last[out]

    def _lay_out_arena(self) -> int:
        begin: dict[Tensor, int] = {}
        end: dict[Tensor, int] = {}
        for position, node in enumerate(self.nodes):
            for tensor in (*node.inputs, *node.outputs):
                root = self.root(tensor)
                if root not in self._buffer:
                    begin.setdefault(root, position)
                    end[root] = position
        roots = list(begin)
        intervals = [Interval(begin[r], end[r], r.spec.nbytes) for r in roots]
        offsets, total = lay_out(intervals)
        self._offset = dict(zip(roots, offsets, strict=True))
        return total

    def _call(self, node: Node) -> Call:
        return Call(
            node.op.name,
            node.op.attributes(*(t.spec for t in node.inputs)),
            tuple(self.slot(t) for t in node.inputs),
            tuple(self.slot(t) for t in node.outputs),
            node.op.reference,
            node.name,
            node.op.macs(*(t.spec for t in node.inputs)),
        )
