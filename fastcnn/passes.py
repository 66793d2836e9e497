# SPDX-License-Identifier: Apache-2.0
"""Passes map graph to graph; the outputs keep their values.

fold_batch_norm   conv -> batch norm (inference)  becomes  conv with scaled filters + bias
hoist             what depends on weights alone moves to a prologue, run when weights change
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Constant, Node, State, Tensor, placeholder, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.norm_batch import BatchNormInference

# Given a node and its rewritten inputs: replacement outputs, or None to keep the node.
Rule = Callable[[Node, list[Tensor]], Sequence[Tensor] | None]


def rewrite(outputs: Sequence[Tensor], rule: Rule) -> list[Tensor]:
    """The graph of `outputs` with `rule` applied to every node, inputs first."""
    new: dict[Tensor, Tensor] = {}
    for node in topological(outputs):
        inputs = [new.get(t, t) for t in node.inputs]
        replaced = rule(node, inputs)
        if replaced is None and any(a != b for a, b in zip(inputs, node.inputs, strict=True)):
            replaced = Node(node.op, tuple(inputs), node.specs, node.layer, node.source).outputs
        if replaced is not None:
            new.update(zip(node.outputs, replaced, strict=True))
    return [new.get(t, t) for t in outputs]


def fold_batch_norm(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Scale the filters instead of the feature maps where a convolution feeds only a batch norm.

    bn(conv(x, w) + b) = conv(x, w s) + (b - mean) s + beta,  s = gamma / sqrt(variance + epsilon)
    """
    readers = _readers(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, BatchNormInference):
            return None
        found = _conv_before(inputs[0], readers)
        if found is None:
            return None
        conv, bias = found
        _, gamma, beta, mean, variance = inputs
        with scope_path(node.layer):
            scale = ops.multiply(gamma, ops.rsqrt(ops.add(variance, node.op.epsilon)))
            centre = mean if bias is None else ops.subtract(mean, bias)
            shift = ops.subtract(beta, ops.multiply(centre, scale))
        with scope_path(conv.layer):
            kernel = _scaled(conv, scale)
            return (ops.add(apply(conv.op, conv.inputs[0], kernel), shift),)

    return rewrite(outputs, rule)


def _readers(outputs: Sequence[Tensor]) -> dict[Tensor, int]:
    counts: dict[Tensor, int] = dict.fromkeys(outputs, 1)
    for node in topological(outputs):
        for tensor in node.inputs:
            counts[tensor] = counts.get(tensor, 0) + 1
    return counts


def _conv_before(tensor: Tensor, readers: dict[Tensor, int]) -> tuple[Node, Tensor | None] | None:
    """The convolution and bias that make `tensor`, if nobody else reads what lies between."""
    if readers.get(tensor, 1) > 1:
        return None
    node, bias = tensor.node, None
    if node.op.name == "add" and len(node.inputs[1].shape) == 1:
        node, bias = node.inputs[0].node, node.inputs[1]
        if readers.get(tensor.node.inputs[0], 1) > 1:
            return None
    return (node, bias) if isinstance(node.op, (Conv2D, DepthwiseConv2D)) else None


def _scaled(conv: Node, scale: Tensor) -> Tensor:
    """Filters (…, K) times scale (K); depthwise filters (R, S, C, M) times scale (C*M)."""
    kernel = conv.inputs[1]
    if isinstance(conv.op, DepthwiseConv2D):
        scale = ops.reshape(scale, kernel.spec.sizes[2:])
    scaled: Tensor = ops.multiply(kernel, scale)
    return scaled


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
    fixed: set[int] = set()
    for node in topological(outputs):
        if isinstance(node.op, (State, Constant)) or (
            node.inputs and all(id(t.node) in fixed for t in node.inputs)
        ):
            fixed.add(id(node))
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
