# SPDX-License-Identifier: Apache-2.0
"""A convolution sums up what the batch norm behind it wants to know of its outputs.

    y = conv(x); batch_norm_train(y)  becomes  y, moments = conv(x); batch_norm_train(y, moments)

Then the norm reads y once, to normalize it, and not a second time for mean and variance. Packed and
depthwise convolutions have y in registers or in the nearest cache at that moment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import MOMENT_PIXELS, FusedDepthwiseConv2D, PackedConv2D
from fastcnn.ops.norm_batch import BatchNormTrain
from fastcnn.ops.norm_batch_fused import FusedBatchNormTrain
from fastcnn.passes.rewrite import rewrite

# First layers have walks of their own (src_c/kernels/conv_stem.inc.h); moments of short lines are
# more than a tenth of the pixels; and what a cache holds is read again for less than it costs.
_LEAST_CHANNELS, _LEAST_COLUMNS = 9, 14
LEAST_BYTES = 4 << 20


def fuse_moments(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a training step whose norms are given the moments of what they normalize.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
    """
    norms = [
        n for n in topological(tensors) if isinstance(n.op, BatchNormTrain | FusedBatchNormTrain)
    ]
    summed = {id(n.inputs[0].node) for n in norms if _block(n.inputs[0])}

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        with scope_path(node.layer):
            if id(node) in summed:
                assert isinstance(node.op, PackedConv2D | FusedDepthwiseConv2D)
                y, _ = apply(dataclasses.replace(node.op, moments=True), *inputs)
                return (y,)
            if isinstance(node.op, BatchNormTrain | FusedBatchNormTrain):
                return _normalized(node, inputs)
        return None

    return rewrite(tensors, rule)


def _block(y: Tensor) -> int:
    """Pixels of a block of moments of y; 0 where what makes y does not sum them up."""
    op = y.node.op
    if y.spec.nbytes < LEAST_BYTES:
        return 0
    if isinstance(op, PackedConv2D) and y.node.inputs[0].spec.sizes[3] >= _LEAST_CHANNELS:
        return MOMENT_PIXELS
    if isinstance(op, FusedDepthwiseConv2D) and y.spec.sizes[2] >= _LEAST_COLUMNS:
        return y.spec.sizes[2]
    return 0


def _normalized(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
    made = inputs[0].node.outputs
    if not _block(inputs[0]) or len(made) < 2:
        return None
    op = node.op
    assert isinstance(op, BatchNormTrain | FusedBatchNormTrain)
    bounds = {} if isinstance(op, BatchNormTrain) else {"bounds": op.bounds}
    fused = FusedBatchNormTrain(epsilon=op.epsilon, block=_block(inputs[0]), **bounds)
    outputs: Sequence[Tensor] = apply(fused, *inputs, made[1])
    return outputs[: len(node.outputs)]
