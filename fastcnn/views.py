# SPDX-License-Identifier: Apache-2.0
"""Tensors that are some channels of another: joins that copy nothing, and cuts that copy nothing.

A tensor is a *view* when its pixels lie inside those of a wider tensor, its parent: the op that
makes it writes there at once, and those that read it find it there. Which ops can is theirs to say
(`Op.strided_inputs`, `Op.strided_output`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fastcnn.graph import Node, Tensor
from fastcnn.ops.shape_copy import CopyPixels
from fastcnn.ops.shape_join import Concat, Slice

Readers = dict[Tensor, list[tuple[Node, int]]]


@dataclass
class Views:
    """Where views lie.

    Attributes:
        nodes: in running order, without the joins and cuts that became views.
        parents: view -> (the wider tensor, the view's first channel in it).
        gone: ids of the joins that became views.
    """

    nodes: list[Node]
    parents: dict[Tensor, tuple[Tensor, int]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def outermost(self, tensor: Tensor) -> tuple[Tensor, int]:
        """The widest tensor around `tensor`, itself if there is none, and its channel there."""
        channel = 0
        while tensor in self.parents:
            tensor, begin = self.parents[tensor]
            channel += begin
        return tensor, channel


def without_views(nodes: Sequence[Node]) -> Views:
    """Every tensor on its own."""
    return Views(list(nodes))


def channel_views(nodes: Sequence[Node], fixed: Collection[Tensor]) -> Views:
    """Joins and cuts of channels as views, as far as the ops around them can.

    Args:
        nodes: in running order.
        fixed: tensors with memory of their own, such as a plan's outputs.
    """
    readers: Readers = {}
    for node in nodes:
        for index, tensor in enumerate(node.inputs):
            readers.setdefault(tensor, []).append((node, index))
    views = Views([])
    for node in nodes:
        if isinstance(node.op, Slice) and _can_cut(node, readers, fixed):
            views.parents[node.outputs[0]] = (node.inputs[0], node.op.begin[-1])
        elif isinstance(node.op, Concat) and _joins_channels(node):
            views.nodes += _join(node, views, readers, fixed)
        else:
            views.nodes.append(node)
    return views


def _can_cut(node: Node, readers: Readers, fixed: Collection[Tensor]) -> bool:
    x, y = node.inputs[0].spec, node.specs[0]
    whole = x.rank >= 2 and x.shape[:-1] == y.shape[:-1]
    return whole and node.outputs[0] not in fixed and _all_strided(node.outputs[0], readers)


def _joins_channels(node: Node) -> bool:
    rank = node.specs[0].rank
    return rank >= 2 and node.op.attributes(*(t.spec for t in node.inputs))["axis"] == rank - 1


def _join(node: Node, views: Views, readers: Readers, fixed: Collection[Tensor]) -> list[Node]:
    """Let inputs be written where they go; what remains of the join: itself, or copies."""
    joined, begin = node.outputs[0], 0
    copies: list[Node] = []
    found: dict[Tensor, tuple[Tensor, int]] = {}
    for tensor in node.inputs:
        place = (joined, begin)
        begin += tensor.spec.sizes[-1]
        if tensor not in found and _can_move(tensor, node, views, readers, fixed):
            found[tensor] = place
        else:
            copy = Node(CopyPixels(), (tensor,), (tensor.spec,), node.layer, node.source)
            copies.append(copy)
            found[copy.outputs[0]] = place
    if len(copies) == len(node.inputs):
        return [node]
    views.parents.update(found)
    views.gone.add(id(node))
    return copies


def _can_move(
    tensor: Tensor, join: Node, views: Views, readers: Readers, fixed: Collection[Tensor]
) -> bool:
    """Whether the op behind `tensor` can write it into the join, and all can read it there."""
    made_by = tensor.node
    writes = id(made_by) in views.gone or made_by.op.strided_output(
        tensor.index, *(t.spec for t in made_by.inputs)
    )
    free = tensor not in views.parents and tensor not in fixed and bool(made_by.inputs)
    return free and writes and _all_strided(tensor, readers, join)


def _all_strided(tensor: Tensor, readers: Readers, join: Node | None = None) -> bool:
    return all(
        node is join or index in node.op.strided_inputs for node, index in readers.get(tensor, [])
    )
