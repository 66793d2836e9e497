# SPDX-License-Identifier: Apache-2.0
"""Convolutions run backwards become convolutions run forwards, with the filters turned round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D, DepthwiseConv2DGradInput
from fastcnn.passes.hoist import fixed_nodes
from fastcnn.passes.rewrite import rewrite


def turn_convolutions(outputs: Sequence[Tensor]) -> list[Tensor]:
    """A convolution of dy in the place of a gradient for the input, where the filters are fixed.

        dx = conv_grad_input(dy, w) = conv(dy, w'),  w'[r, s, k, c] = w[R-1-r, S-1-s, c, k]

    for stride 1 and one group, or depthwise; padding becomes what is missing to (R-1) dilations.
    The turned filters depend on weights alone, so inference's convolutions serve the way back too.
    """
    fixed = fixed_nodes(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        op = node.op
        if not isinstance(op, (Conv2DGradInput, DepthwiseConv2DGradInput)):
            return None
        if id(node.inputs[1].node) not in fixed or op.strides != (1, 1):
            return None
        R, S = node.inputs[1].spec.sizes[:2]
        _, H, W, _ = node.specs[0].sizes
        pads = op.pads((H, W), (R, S))
        reach = ((R - 1) * op.dilations[0],) * 2 + ((S - 1) * op.dilations[1],) * 2
        top, bottom, left, right = (full - pad for full, pad in zip(reach, pads, strict=True))
        if min(top, bottom, left, right) < 0:
            return None
        padding = ((top, bottom), (left, right))
        dy, kernel = inputs
        with scope_path(node.layer):
            if isinstance(op, DepthwiseConv2DGradInput):
                if kernel.shape[3] != 1:
                    return None
                turned = DepthwiseConv2D(padding=padding, dilations=op.dilations)
                return (apply(turned, dy, _flipped(kernel)),)
            if op.groups != 1:
                return None
            conv = Conv2D(padding=padding, dilations=op.dilations)
            return (apply(conv, dy, ops.transpose(_flipped(kernel), (0, 1, 3, 2))),)

    return rewrite(outputs, rule)


def _flipped(kernel: Tensor) -> Tensor:
    """Filters (R, S, ...) upside down and mirrored."""
    for axis in (0, 1):
        size = kernel.spec.sizes[axis]
        if size > 1:
            kernel = ops.take(kernel, np.arange(size - 1, -1, -1, dtype=np.int32), axis=axis)
    return kernel
