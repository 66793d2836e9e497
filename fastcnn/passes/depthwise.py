# SPDX-License-Identifier: Apache-2.0
"""Convolutions with a group for every channel, one filter in each, are depthwise ones.

    conv(x, w (R, S, 1, C), groups=C)  becomes  depthwise(x, w (R, S, C, 1))

Both layouts are the same bytes. A packed product would fill a panel of filters with the one of a
group; depthwise kernels have channels in their lanes. The gradients change in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import (
    DepthwiseConv2D,
    DepthwiseConv2DGradInput,
    DepthwiseConv2DGradKernel,
)
from fastcnn.passes.rewrite import rewrite


def to_depthwise(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The graph with a depthwise op for every convolution of one channel and filter a group."""

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not _is_depthwise(node):
            return None
        with scope_path(node.layer):
            return (_depthwise(node, *inputs),)

    return rewrite(outputs, rule)


def _is_depthwise(node: Node) -> bool:
    op = node.op
    if not isinstance(op, (Conv2D, Conv2DGradInput, Conv2DGradKernel)):
        return False
    kernel = node.specs[0] if isinstance(op, Conv2DGradKernel) else node.inputs[1].spec
    return op.groups > 1 and kernel.shape[2] == 1 and kernel.shape[3] == op.groups


def _depthwise(node: Node, first: Tensor, second: Tensor) -> Tensor:
    """The op on (x, kernel), (dy, kernel) or (x, dy)."""
    op = node.op
    made: Tensor
    assert isinstance(op, (Conv2D, Conv2DGradInput, Conv2DGradKernel))
    geometry = {name: value for name, value in op.siblings().items() if name != "groups"}
    if isinstance(op, Conv2DGradKernel):
        R, S = op.kernel_size
        dw = apply(DepthwiseConv2DGradKernel(kernel_size=(R, S), **geometry), first, second)
        made = ops.reshape(dw, (R, S, 1, op.groups))
        return made
    R, S, _, K = second.spec.sizes
    kernel = ops.reshape(second, (R, S, K, 1))
    if isinstance(op, Conv2D):
        made = apply(DepthwiseConv2D(**geometry), first, kernel)
    else:
        back = DepthwiseConv2DGradInput(input_size=op.input_size, **geometry)
        made = apply(back, first, kernel)
    return made
