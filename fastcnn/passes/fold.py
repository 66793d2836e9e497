# SPDX-License-Identifier: Apache-2.0
"""Batch normalization disappears into the convolution before it."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.norm_batch import BatchNormInference
from fastcnn.passes.rewrite import count_readers, rewrite


def fold_batch_norm(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Scale the filters instead of the feature maps where a convolution feeds only a batch norm.

    bn(conv(x, w) + b) = conv(x, w s) + (b - mean) s + beta,  s = gamma / sqrt(variance + epsilon)
    """
    readers = count_readers(outputs)

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


def _conv_before(tensor: Tensor, readers: dict[Tensor, int]) -> tuple[Node, Tensor | None] | None:
    """The convolution and bias that make `tensor`, if nobody else reads what lies between."""
    if readers.get(tensor, 1) > 1:
        return None
    node, bias = tensor.node, None
    if node.op.name == "add" and len(node.inputs[1].shape) == 1:
        node, bias = node.inputs[0].node, node.inputs[1]
        if readers.get(tensor.node.inputs[0], 1) > 1:
            return None
    return (node, bias) if isinstance(node.op, _FOLDED) else None


_FOLDED = (Conv2D, Conv2DGradInput, DepthwiseConv2D)


def _scaled(conv: Node, scale: Tensor) -> Tensor:
    """Filters (…, K) times scale (K); depthwise filters (R, S, C, M) times scale (C*M).

    Transposed filters (R, S, C/G, K) times scale (C), by groups of K/G.
    """
    kernel = conv.inputs[1]
    scaled: Tensor
    if isinstance(conv.op, Conv2DGradInput):
        R, S, C, K = kernel.spec.sizes
        groups = conv.op.groups
        by_group = ops.reshape(kernel, (R, S, C, groups, K // groups))
        scale = ops.transpose(ops.reshape(scale, (groups, C, 1)), (1, 0, 2))
        scaled = ops.reshape(ops.multiply(by_group, scale), (R, S, C, K))
        return scaled
    if isinstance(conv.op, DepthwiseConv2D):
        scale = ops.reshape(scale, kernel.spec.sizes[2:])
    scaled = ops.multiply(kernel, scale)
    return scaled
