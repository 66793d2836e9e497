# SPDX-License-Identifier: Apache-2.0
"""Small weights are updated together, and so are the moving averages of norms.

    sgd_update(numbers, w, dw); sgd_update(numbers, v, dv)
    becomes  sgd_update(numbers, w, dw, v, dv)

A call costs what some hundred elements do, and most of a network's weights have no more. Large
weights keep an update of their own: a joint one comes last, and their gradients would wait for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from fastcnn.graph import Node, Tensor, topological
from fastcnn.ops.update import Update

# Elements of the largest weight that waits.
LARGEST = 16384


def fuse_updates(outputs: Sequence[Tensor], made: Sequence[Tensor]) -> list[Tensor]:
    """The new values of weights, of which small ones are made by one node.

    Args:
        outputs: what forward makes; updates that it reads are left alone.
        made: new values of weights and statistics.
    """
    groups: dict[tuple[Any, ...], list[Node]] = {}
    for node, rank in _small_updates(outputs, made):
        assert isinstance(node.op, Update)
        shared = node.inputs[: len(node.op.shared)]
        groups.setdefault((-rank, node.op, node.specs[0].dtype, shared), []).append(node)
    new: dict[Tensor, Tensor] = {}
    # Averages of new weights rank below what makes these.
    for (_, op, _, shared), nodes in sorted(groups.items(), key=lambda group: group[0][0]):
        own = [new.get(t, t) for node in nodes for t in node.inputs[len(shared) :]]
        specs = tuple(spec for node in nodes for spec in node.specs)
        layers = {node.layer for node in nodes}
        layer = nodes[0].layer if len(layers) == 1 else ""
        joint = Node(dataclasses.replace(op, weights=len(nodes)), (*shared, *own), specs, layer)
        new.update(zip((t for node in nodes for t in node.outputs), joint.outputs, strict=True))
    return [new.get(t, t) for t in made]


def _small_updates(outputs: Sequence[Tensor], made: Sequence[Tensor]) -> Iterator[tuple[Node, int]]:
    """Updates that may be joined, and how many others in a row are made of what they make.

    Those of one rank do not depend on each other, as nobody but such updates reads what they make.
    """
    forward = {id(node) for node in topological(outputs)}
    order = topological(made)
    readers: dict[int, list[Node]] = {}
    for node in order:
        for tensor in node.inputs:
            readers.setdefault(id(tensor.node), []).append(node)
    ranks: dict[int, int] = {}
    for node in reversed(order):
        small = isinstance(node.op, Update) and node.specs[0].size <= LARGEST
        behind = [ranks.get(id(reader)) for reader in readers.get(id(node), ())]
        known = [rank for rank in behind if rank is not None]
        if small and id(node) not in forward and len(known) == len(behind):
            ranks[id(node)] = 1 + max(known, default=-1)
    return ((node, ranks[id(node)]) for node in order if id(node) in ranks)
