# SPDX-License-Identifier: Apache-2.0
"""A gradient is added where it is stored.

    add(g, packed_conv2d_grad_input(dy, filters))  becomes one op with the residual g

wherever a tensor has several readers: behind a block's input, or in front of several branches. A
convolution takes the sum so far as its residual, over which it may write, and so does the gradient
of a norm, instead of writing a tensor of its own that an `Add` reads again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor, constant, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import UNBOUNDED, WinogradConv2D
from fastcnn.ops.conv_packed_grad import PackedConv2DGradInput, WinogradTrainConv2D
from fastcnn.ops.elementwise_binary import Add
from fastcnn.ops.norm_batch_fused import FusedBatchNormGrad
from fastcnn.passes.rewrite import carry_over, count_readers

_CONVOLUTIONS = (PackedConv2DGradInput, WinogradConv2D, WinogradTrainConv2D)


def fuse_sums(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a training step in which gradients are added to what they are added to.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
    """
    order = topological(tensors)
    sums = _sums(order, count_readers(tensors))
    new: dict[Tensor, Tensor] = {}
    for node in order:
        inputs = [new.get(t, t) for t in node.inputs]
        add = sums.get(node)
        if add is not None:
            residual = next(t for t in add.inputs if t.node is not node)
            with scope_path(node.layer):
                made = _with_residual(node, inputs, new.get(residual, residual))
            new.update(zip(node.outputs, made, strict=True))
            new[add.outputs[0]] = made[0]
        elif node.outputs and node.outputs[0] in new:
            continue  # made where its summand stood
        else:
            carry_over(node, inputs, new)
    return [new.get(t, t) for t in tensors]


def _sums(order: Sequence[Node], readers: dict[Tensor, int]) -> dict[Node, Node]:
    """The later summand of every sum of two tensors, where it can add the other one itself."""
    position = {node: i for i, node in enumerate(order)}
    found: dict[Node, Node] = {}
    for node in order:
        if isinstance(node.op, Add) and _same_shape(*node.inputs):
            summand = max(node.inputs, key=lambda t: position[t.node])
            if readers[summand] == 1 and summand.index == 0 and _can_add(summand.node):
                found[summand.node] = node
    return found


def _same_shape(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.node is not b.node


def _can_add(node: Node) -> bool:
    """Whether it has a place for a residual that is empty yet."""
    op = node.op
    if isinstance(op, FusedBatchNormGrad):
        return len(node.inputs) == 6
    return isinstance(op, _CONVOLUTIONS) and len(node.inputs) < 4 and op.bounds == UNBOUNDED


def _with_residual(node: Node, inputs: Sequence[Tensor], residual: Tensor) -> Sequence[Tensor]:
    if isinstance(node.op, FusedBatchNormGrad):
        made: Sequence[Tensor] = apply(node.op, *inputs, residual)
        return made
    dy, filters, *bias = inputs
    if not bias:
        bias = [constant(np.zeros(residual.shape[-1:], residual.dtype))]
    return (apply(node.op, dy, filters, *bias, residual),)
