# SPDX-License-Identifier: Apache-2.0
"""A gradient for the input is added where it is stored.

    add(g, packed_conv2d_grad_input(dy, filters))  becomes one op with the residual g

wherever a tensor has several readers: behind a block's input, or in front of several branches. The
convolution takes the sum so far as its residual, over which it may write, instead of writing a
tensor of its own that an `Add` reads again.
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
from fastcnn.passes.rewrite import count_readers, rewrite

_CONVOLUTIONS = (PackedConv2DGradInput, WinogradConv2D, WinogradTrainConv2D)


def fuse_sums(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a training step in which convolutions add what they are added to.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
    """
    readers = count_readers(tensors)
    position = {id(node): i for i, node in enumerate(topological(tensors))}

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, Add):
            return None
        # The sum of two convolutions belongs to the later one.
        last = max((0, 1), key=lambda i: position[id(node.inputs[i].node)])
        summand, residual = inputs[last], inputs[1 - last]
        alone = readers[node.inputs[last]] == 1 and summand.shape == residual.shape
        if not alone or not _can_add(summand.node):
            return None
        with scope_path(summand.node.layer):
            return (_with_residual(summand.node, residual),)

    return rewrite(tensors, rule)


def _can_add(node: Node) -> bool:
    """Whether it is a convolution that adds nothing yet: neither a residual nor bounds."""
    op = node.op
    return isinstance(op, _CONVOLUTIONS) and len(node.inputs) < 4 and op.bounds == UNBOUNDED


def _with_residual(node: Node, residual: Tensor) -> Tensor:
    dy, filters, *bias = node.inputs
    if not bias:
        bias = [constant(np.zeros(residual.shape[-1:], residual.dtype))]
    y: Tensor = apply(node.op, dy, filters, *bias, residual)
    return y
