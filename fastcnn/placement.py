# SPDX-License-Identifier: Apache-2.0
"""Where a plan's tensors lie: a buffer for each tensor, and the calls over them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from fastcnn.arena import Interval, lay_out
from fastcnn.backends.calls import Call, Slot
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, Constant, Node, Parameter, Placeholder, State, Tensor, view_root
from fastcnn.schedule import Schedule
from fastcnn.views import views_of, without_views

ARENA = 0

# What a core's own cache may still hold of a tensor when the next call begins.
_NEAR_BYTES = 1 << 20


class Placement:
    """A slot for every tensor of a schedule, and the calls over them."""

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        schedule: Schedule,
        views: bool = False,
    ) -> None:
        fixed = {*inputs, *(view_root(t) for t in outputs), *schedule.targets}
        nodes = schedule.nodes
        self._views = views_of(nodes, fixed, schedule.targets) if views else without_views(nodes)
        self.nodes = [n for n in self._views.nodes if not n.op.is_view]
        self._trains = bool(schedule.targets)
        self._numbers = count(ARENA + 1)
        self._root: dict[Tensor, Tensor] = {}
        self._buffer: dict[Tensor, int] = {}
        self._offset: dict[Tensor, int] = {}
        self.fixed: dict[int, Array] = {}
        for node in schedule.nodes:
            for tensor in node.outputs:
                self._root[tensor] = self.root(node.inputs[0]) if node.op.is_view else tensor
        for tensor, place in self._views.parents.items():
            self._root[tensor] = place.parent
        self.inputs = [self._new_buffer(t) for t in inputs]
        self.outputs = [self._new_buffer(self.root(t)) for t in outputs]
        for tensor, parameter in schedule.targets.items():
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
        around, pixel, channel = self._views.outermost(tensor)
        if around == tensor:
            return Slot(buffer, offset, tensor.spec.sizes, tensor.dtype)
        width = around.spec.sizes[-1]
        offset += (pixel * width + channel) * np.dtype(tensor.dtype).itemsize
        ld = width if width != tensor.spec.sizes[-1] else 0
        return Slot(buffer, offset, tensor.spec.sizes, tensor.dtype, ld)

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
                if in_index >= len(node.inputs):
                    continue
                out, source = node.outputs[out_index], self.root(node.inputs[in_index])
                if (
                    out not in self._buffer
                    and out not in self._views.parents
                    and source not in self._buffer
                    and last[source] == position
                    and out.spec.nbytes == source.spec.nbytes
                    and all(
                        self.root(t) != source for i, t in enumerate(node.inputs) if i != in_index
                    )
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
        intervals = [
            Interval(begin[r], end[r] + self._linger(r.spec.nbytes), r.spec.nbytes) for r in roots
        ]
        offsets, total = lay_out(intervals)
        self._offset = dict(zip(roots, offsets, strict=True))
        return total

    def _linger(self, nbytes: int) -> int:
        """Calls for which memory is left alone that several cores have just read.

        Their caches hold it: who writes there waits until the others have given it up. The plan of
        a training step is large anyway, and has better use for memory.
        """
        return int(nbytes <= _NEAR_BYTES and not self._trains)

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
