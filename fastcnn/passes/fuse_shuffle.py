# SPDX-License-Identifier: Apache-2.0
"""Two halves that are joined and shuffled are written once, where the shuffle wants them."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.shape import ChannelShuffle
from fastcnn.ops.shape_copy import InterleaveChannels
from fastcnn.ops.shape_join import Concat
from fastcnn.passes.rewrite import count_readers, rewrite


def fuse_shuffles(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The graph with one op for two equal halves that are joined for nothing but such a shuffle."""
    readers = count_readers(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, ChannelShuffle) or node.op.groups != 2:
            return None
        joined = node.inputs[0]
        if readers[joined] > 1 or not _joins_halves(joined.node):
            return None
        with scope_path(node.layer):
            return (apply(InterleaveChannels(), *inputs[0].node.inputs),)

    return rewrite(outputs, rule)


def _joins_halves(node: Node) -> bool:
    """Whether the node joins two equal float32 tensors along their channels."""
    if not isinstance(node.op, Concat) or len(node.inputs) != 2:
        return False
    a, b = (t.spec for t in node.inputs)
    last = node.op.axis in (-1, a.rank - 1)
    return last and a.rank > 1 and a.shape == b.shape and a.dtype == "float32"
