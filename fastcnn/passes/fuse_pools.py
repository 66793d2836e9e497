# SPDX-License-Identifier: Apache-2.0
"""Of every 2x2 outputs of Winograd's convolution that only a max pool reads, the largest is stored.

A patch holds whole windows, so nothing but the store changes, and a quarter of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import WinogradConv2D
from fastcnn.ops.pool_max import MaxPool2DValues
from fastcnn.passes.rewrite import count_readers, rewrite


def fuse_pools(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The graph with one op for such a convolution, if it has no residual, and its pool."""
    readers = count_readers(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, MaxPool2DValues) or readers[node.inputs[0]] > 1:
            return None
        conv = inputs[0].node
        if not isinstance(conv.op, WinogradConv2D) or len(conv.inputs) > 3:
            return None
        if conv.op.pool > 1 or conv.op.tile % 2 or not _halves(node):
            return None
        with scope_path(conv.layer):
            return (apply(replace(conv.op, pool=2), *conv.inputs),)

    return rewrite(outputs, rule)


def _halves(node: Node) -> bool:
    """Whether every pixel is in one window of 2x2, but for a last odd row or column."""
    op, x = node.op, node.inputs[0].spec
    assert isinstance(op, MaxPool2DValues)
    _, H, W, _ = x.sizes
    plain = op.pool_size == op.strides == (2, 2) and op.pads(x) == (0, 0, 0, 0)
    return plain and node.specs[0].sizes[1:3] == (H // 2, W // 2)
