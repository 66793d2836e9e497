# SPDX-License-Identifier: Apache-2.0
"""What depends on weights alone is computed when they change, not in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastcnn.graph import Constant, Node, State, Tensor, topological
from fastcnn.passes.rewrite import reading, rewrite


def fixed_nodes(outputs: Sequence[Tensor]) -> set[int]:
    """Ids of the nodes that depend on weights and constants only."""
    fixed: set[int] = set()
    for node in topological(outputs):
        if node.inputs:
            holds = all(id(t.node) in fixed for t in node.inputs)
        else:
            holds = isinstance(node.op, (State, Constant))
        if holds:
            fixed.add(id(node))
    return fixed


def is_fixed(tensor: Tensor) -> bool:
    """Whether one tensor does, which little goes into: the rest of the graph is not looked at."""
    return id(tensor.node) in fixed_nodes([tensor])


def hoist(outputs: Sequence[Tensor], stand_in: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Cut off everything that is computed from weights alone.

    Args:
        outputs: of the whole graph.
        stand_in: the leaf that stands for such a tensor in the main part.

    Returns:
        The main part's outputs.
    """
    fixed = fixed_nodes(outputs)
    cuts: dict[Tensor, Tensor] = {}

    def cut(tensor: Tensor) -> Tensor:
        if tensor not in cuts:
            cuts[tensor] = stand_in(tensor)
        return cuts[tensor]

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if id(node) in fixed:
            return None
        computed = [bool(t.node.inputs) and id(t.node) in fixed for t in node.inputs]
        if not any(computed):
            return None
        leaves = [cut(t) if c else t for t, c in zip(inputs, computed, strict=True)]
        return reading(node, leaves).outputs

    return rewrite(outputs, rule)
