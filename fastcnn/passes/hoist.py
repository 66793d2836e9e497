# SPDX-License-Identifier: Apache-2.0
"""What depends on weights alone is computed when they change, not in every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastcnn.graph import Constant, Node, State, Tensor, placeholder, topological
from fastcnn.passes.rewrite import rewrite


def fixed_nodes(outputs: Sequence[Tensor]) -> set[int]:
    """Ids of the nodes that depend on weights and constants only."""
    fixed: set[int] = set()
    for node in topological(outputs):
        if isinstance(node.op, (State, Constant)) or (
            node.inputs and all(id(t.node) in fixed for t in node.inputs)
        ):
            fixed.add(id(node))
    return fixed


@dataclass(frozen=True)
class Hoisted:
    """A graph cut in two.

    Attributes:
        prologue: tensors that depend on weights and constants only.
        inputs: placeholders of the main part that stand for them, in the same order.
        outputs: the main part's outputs.
    """

    prologue: list[Tensor]
    inputs: list[Tensor]
    outputs: list[Tensor]


def hoist(outputs: Sequence[Tensor]) -> Hoisted:
    """Cut off everything that is computed from weights alone."""
    fixed = fixed_nodes(outputs)
    stand_ins: dict[Tensor, Tensor] = {}

    def stand_in(tensor: Tensor) -> Tensor:
        if tensor not in stand_ins:
            stand_ins[tensor] = placeholder(tensor.spec.sizes, tensor.dtype, tensor.node.layer)
        return stand_ins[tensor]

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if id(node) in fixed:
            return None
        computed = [bool(t.node.inputs) and id(t.node) in fixed for t in node.inputs]
        if not any(computed):
            return None
        cut = [stand_in(t) if c else t for t, c in zip(inputs, computed, strict=True)]
        return Node(node.op, tuple(cut), node.specs, node.layer, node.source).outputs

    main = rewrite(outputs, rule)
    return Hoisted(list(stand_ins), list(stand_ins.values()), main)
