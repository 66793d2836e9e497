# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of an op, by one rule each.

    product      2 per multiply-accumulate: a product and a sum
    elementwise  1 per output number, whatever the function: a sum, a comparison, a root, tanh
    pooling      a window of n numbers takes n - 1 (maximum) or n (mean); n includes padding
    reduction    n - 1 per output (sum, maximum, position of the maximum) or n (mean)
    batch norm   2 per number, a scale and a shift: statistics are known in inference
    other norms  6 per number: mean 1, variance 3, scale and shift 2; local response size + 4
    softmax      5 n - 2 for n classes: maximum, difference, exp, sum, quotient; its log 5 n - 1
    resizing     3 per number mixed of two, rows first; nearest 0
    moving       0: copies, casts, padding, slices, concatenation, transposition

Ops without a rule (gradients, losses, updates) count nothing: inference has none of them.
"""

from __future__ import annotations

import math
from functools import singledispatch

from fastcnn.graph import Node, Op
from fastcnn.ops.conv_window import Convolution
from fastcnn.ops.dense import MatMul
from fastcnn.ops.elementwise import Cast, CheckFinite, Identity, OneHot
from fastcnn.ops.elementwise_activations import PReLU
from fastcnn.ops.elementwise_binary import Broadcasting
from fastcnn.ops.elementwise_dropout import Dropout
from fastcnn.ops.elementwise_unary import Unary
from fastcnn.ops.loss_softmax import LogSoftmax, Softmax
from fastcnn.ops.norm_batch import BatchNormInference, BatchNormTrain
from fastcnn.ops.norm_group import GroupNorm, LayerNorm
from fastcnn.ops.norm_local import LocalResponseNorm
from fastcnn.ops.pool_adaptive import AdaptiveAvgPool2D, AdaptiveMaxPool2D
from fastcnn.ops.pool_average import AvgPool2D
from fastcnn.ops.pool_max import MaxPool2D, MaxUnpool2D, WindowToFlat
from fastcnn.ops.pool_window import bins
from fastcnn.ops.reduce import Argmax, Broadcast, ReduceMax, ReduceMean, ReduceMin, ReduceSum
from fastcnn.ops.shape import BroadcastTo, ChannelShuffle, Reshape, Transpose
from fastcnn.ops.shape_join import Concat, Pad, Slice
from fastcnn.ops.shape_resize import ResizeBilinear, ResizeNearest
from fastcnn.ops.shape_take import Take


def flops_of(node: Node) -> int:
    """Floating-point operations of one run of `node`."""
    return flops(node.op, node)


@singledispatch
def flops(op: Op, node: Node) -> int:
    """Floating-point operations of `op` on the tensors of `node`; 0 without a rule."""
    return 0


@flops.register(Convolution)
@flops.register(MatMul)
def _products(op: Op, node: Node) -> int:
    return 2 * op.macs(*(t.spec for t in node.inputs))


@flops.register(Unary)
@flops.register(Broadcasting)
@flops.register(PReLU)
@flops.register(Dropout)
def _each(op: Op, node: Node) -> int:
    return node.specs[0].size


@flops.register(CheckFinite)
@flops.register(Identity)
@flops.register(Cast)
@flops.register(OneHot)
@flops.register(Reshape)
@flops.register(Transpose)
@flops.register(BroadcastTo)
@flops.register(Broadcast)
@flops.register(ChannelShuffle)
@flops.register(Concat)
@flops.register(Slice)
@flops.register(Pad)
@flops.register(Take)
@flops.register(ResizeNearest)
@flops.register(WindowToFlat)
@flops.register(MaxUnpool2D)
def _moves(op: Op, node: Node) -> int:
    return 0


@flops.register
def _max_pool(op: MaxPool2D, node: Node) -> int:
    return node.specs[0].size * (math.prod(op.pool_size) - 1)


@flops.register
def _average_pool(op: AvgPool2D, node: Node) -> int:
    return node.specs[0].size * math.prod(op.pool_size)


@flops.register
def _adaptive_average_pool(op: AdaptiveAvgPool2D, node: Node) -> int:
    return _binned(node, op.output_size)


@flops.register
def _adaptive_max_pool(op: AdaptiveMaxPool2D, node: Node) -> int:
    return _binned(node, op.output_size) - node.specs[0].size


def _binned(node: Node, output_size: tuple[int, int]) -> int:
    """Numbers in all bins."""
    batch, height, width, channels = node.inputs[0].spec.sizes
    rows, columns = (
        sum(b.stop - b.start for b in bins(size, outputs))
        for size, outputs in zip((height, width), output_size, strict=True)
    )
    return int(batch * channels * rows * columns)


@flops.register(ReduceSum)
@flops.register(ReduceMax)
@flops.register(ReduceMin)
@flops.register(Argmax)
def _reduce(op: Op, node: Node) -> int:
    return node.inputs[0].spec.size - node.specs[0].size


@flops.register
def _mean(op: ReduceMean, node: Node) -> int:
    return node.inputs[0].spec.size


@flops.register
def _batch_norm(op: BatchNormInference, node: Node) -> int:
    return 2 * node.specs[0].size


@flops.register(BatchNormTrain)
@flops.register(GroupNorm)
@flops.register(LayerNorm)
def _norm(op: Op, node: Node) -> int:
    return 6 * node.specs[0].size


@flops.register
def _local_response(op: LocalResponseNorm, node: Node) -> int:
    return (op.size + 4) * node.specs[0].size


@flops.register(Softmax)
@flops.register(LogSoftmax)
def _softmax(op: Op, node: Node) -> int:
    classes = node.specs[0].sizes[-1]
    less = 2 if isinstance(op, Softmax) else 1
    return node.specs[0].size // classes * (5 * classes - less)


@flops.register
def _bilinear(op: ResizeBilinear, node: Node) -> int:
    batch, _, width, channels = node.inputs[0].spec.sizes
    rows, columns = op.size
    return 3 * batch * channels * rows * (width + columns)
