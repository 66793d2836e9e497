# SPDX-License-Identifier: Apache-2.0
"""Graph to graph: replacing nodes, counting readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastcnn.graph import Node, Tensor, topological

# Given a node and its rewritten inputs: replacement outputs, or None to keep the node.
Rule = Callable[[Node, list[Tensor]], Sequence[Tensor] | None]


def rewrite(outputs: Sequence[Tensor], rule: Rule) -> list[Tensor]:
    """The graph of `outputs` with `rule` applied to every node, inputs first."""
    new: dict[Tensor, Tensor] = {}
    for node in topological(outputs):
        inputs = [new.get(t, t) for t in node.inputs] if new else list(node.inputs)
        replaced = rule(node, inputs)
        if replaced is not None:
            new.update(zip(node.outputs, replaced, strict=True))
        elif new:
            carry_over(node, inputs, new)
    return [new.get(t, t) for t in outputs]


def reading(node: Node, inputs: Sequence[Tensor]) -> Node:
    """A node like `node` that reads `inputs`."""
    return Node(node.op, tuple(inputs), node.specs, node.layer, node.source)


def carry_over(node: Node, inputs: Sequence[Tensor], new: dict[Tensor, Tensor]) -> None:
    """Note in `new` what the outputs of a node become that stays, if its inputs became others."""
    if tuple(inputs) != node.inputs:
        new.update(zip(node.outputs, reading(node, inputs).outputs, strict=True))


def count_readers(outputs: Sequence[Tensor]) -> dict[Tensor, int]:
    """How many nodes read each tensor; being an output counts as one."""
    counts: dict[Tensor, int] = dict.fromkeys(outputs, 1)
    for node in topological(outputs):
        for tensor in node.inputs:
            counts[tensor] = counts.get(tensor, 0) + 1
    return counts
