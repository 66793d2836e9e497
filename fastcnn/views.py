# SPDX-License-Identifier: Apache-2.0
"""Tensors that are a part of another: joins that copy nothing, and cuts that copy nothing.

A tensor is a *view* when it lies inside another, its parent: the op that makes it writes there at
once, and those that read it find it there. Some images of a batch lie in one piece, so any op can.
Some channels of a wider tensor's pixels lie apart; which ops can is theirs to say
(`Op.strided_inputs`, `Op.strided_output`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastcnn.graph import Node, State, Tensor, view_root
from fastcnn.ops.shape_copy import CopyPixels
from fastcnn.ops.shape_join import Concat, Slice

Readers = dict[Tensor, list[tuple[Node, int]]]


class Place(NamedTuple):
    """Where a view begins in its parent."""

    parent: Tensor
    pixel: int
    channel: int


@dataclass
class Views:
    """Where views lie.

    Attributes:
        nodes: in running order, without the joins and cuts that became views.
        parents: view -> its place in the tensor around it.
        gone: ids of the joins of channels that became views.
    """

    nodes: list[Node]
    parents: dict[Tensor, Place] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def outermost(self, tensor: Tensor) -> Place:
        """The place in the outermost tensor around `tensor`, which is itself if there is none."""
        pixel = channel = 0
        while tensor in self.parents:
            tensor, first, begin = self.parents[tensor]
            pixel, channel = pixel + first, channel + begin
        return Place(tensor, pixel, channel)


def without_views(nodes: Sequence[Node]) -> Views:
    """Every tensor on its own."""
    return Views(list(nodes))


def views_of(
    nodes: Sequence[Node], fixed: Collection[Tensor], targets: Collection[Tensor]
) -> Views:
    """Joins and cuts of channels and of images as views, as far as the ops around them can.

    Args:
        nodes: in running order.
        fixed: tensors with memory of their own, such as a plan's outputs.
        targets: those of them that are written over state, not before their own node's turn.
    """
    readers: Readers = {}
    for node in nodes:
        for index, tensor in enumerate(node.inputs):
            readers.setdefault(tensor, []).append((node, index))
    views = Views([])
    for node in nodes:
        if isinstance(node.op, Slice) and _can_cut_channels(node, readers, fixed):
            views.parents[node.outputs[0]] = Place(node.inputs[0], 0, node.op.begin[-1])
        elif isinstance(node.op, Slice) and _can_cut_images(node, views, readers, fixed):
            views.parents[node.outputs[0]] = _of_images(node.inputs[0], node.op.begin[0])
        elif not isinstance(node.op, Concat) or node.outputs[0] in targets:
            views.nodes.append(node)
        elif _joined_axis(node) == node.specs[0].rank - 1:
            views.nodes += _join_channels(node, views, readers, fixed)
        elif _can_join_images(node, views, readers, fixed):
            _join_images(node, views)
        else:
            views.nodes.append(node)
    return views


def _can_cut_channels(node: Node, readers: Readers, fixed: Collection[Tensor]) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    whole = x.spec.rank >= 2 and x.shape[:-1] == y.shape[:-1]
    return whole and not _is_state(x) and y not in fixed and _all_strided(y, readers)


def _is_state(tensor: Tensor) -> bool:
    """Whether a plan may write new state over it once the nodes that name it have run."""
    return isinstance(view_root(tensor).node.op, State)


def _can_cut_images(node: Node, views: Views, readers: Readers, fixed: Collection[Tensor]) -> bool:
    """Whether some images are cut, from a tensor of its own, for ops that know where they lie."""
    x, y = node.inputs[0], node.outputs[0]
    whole = x.spec.rank >= 2 and x.shape[1:] == y.shape[1:]
    reshaped = any(reader.op.is_view for reader, _ in readers.get(y, []))
    own = not _is_state(x) and x not in views.parents
    return whole and own and not reshaped and y not in fixed


def _of_images(parent: Tensor, image: int) -> Place:
    return Place(parent, image * math.prod(parent.spec.sizes[1:-1]), 0)


def _can_join_images(node: Node, views: Views, readers: Readers, fixed: Collection[Tensor]) -> bool:
    """Whether every input is made for this join alone, and so can be written there."""
    return (
        _joined_axis(node) == 0
        and len(set(node.inputs)) == len(node.inputs)
        and all(len(readers[t]) == 1 and _is_free(t, views, fixed) for t in node.inputs)
    )


def _join_images(node: Node, views: Views) -> None:
    image = 0
    for tensor in node.inputs:
        views.parents[tensor] = _of_images(node.outputs[0], image)
        image += tensor.spec.sizes[0]


def _joined_axis(node: Node) -> int:
    """Of a tensor that has pixels, else -1."""
    axis = node.op.attributes(*(t.spec for t in node.inputs))["axis"]
    return int(axis) if node.specs[0].rank >= 2 else -1


def _is_free(tensor: Tensor, views: Views, fixed: Collection[Tensor]) -> bool:
    """Whether it may lie anywhere: it is computed, and not placed yet."""
    made = bool(tensor.node.inputs) and not tensor.node.op.is_view
    return made and tensor not in views.parents and tensor not in fixed


def _join_channels(
    node: Node, views: Views, readers: Readers, fixed: Collection[Tensor]
) -> list[Node]:
    """Let inputs be written where they go; what remains of the join: itself, or copies."""
    joined, begin = node.outputs[0], 0
    copies: list[Node] = []
    found: dict[Tensor, Place] = {}
    for tensor in node.inputs:
        place = Place(joined, 0, begin)
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
    return _is_free(tensor, views, fixed) and writes and _all_strided(tensor, readers, join)


def _all_strided(tensor: Tensor, readers: Readers, join: Node | None = None) -> bool:
    return all(
        node is join or index in node.op.strided_inputs for node, index in readers.get(tensor, [])
    )
