# SPDX-License-Identifier: Apache-2.0
"""What only gradients would read is not computed."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.pool_max import MaxPool2D, MaxPool2DValues
from fastcnn.passes.rewrite import count_readers, rewrite


def forget_winners(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Max pooling without the winners' positions where nobody reads them."""
    readers = count_readers(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, MaxPool2D) or readers.get(node.outputs[1]):
            return None
        op = node.op
        values = MaxPool2DValues(op.pool_size, op.strides, op.padding, op.ceil_mode)
        with scope_path(node.layer):
            return (apply(values, inputs[0]), node.outputs[1])

    return rewrite(outputs, rule)
