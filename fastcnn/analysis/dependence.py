# SPDX-License-Identifier: Apache-2.0
"""What each output of an op depends on, element by element, as steps from an input's axes.

    Along   one axis is read by a `Reading`: windows, padding, slices, resizing
    Over    whole axes are read: sums, products, normalization
    Shaped  the same elements in row order under another shape
    Turned  axes in another order

After its steps an input is repeated to the output's shape by NumPy's rule, and the output depends
on what all inputs say. An op without a rule is taken to depend on everything that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, final

from fastcnn.analysis import reading
from fastcnn.analysis.reading import Reading
from fastcnn.graph import Constant, Node, Op
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D, DepthwiseConv2DGradInput
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
from fastcnn.ops.pool_window import WindowOp
from fastcnn.ops.reduce import Argmax, Broadcast, Reduce, resolve_axes
from fastcnn.ops.shape import BroadcastTo, ChannelShuffle, Reshape, Transpose
from fastcnn.ops.shape_join import Concat, Pad, Slice, normal_axis
from fastcnn.ops.shape_resize import ResizeBilinear, ResizeNearest
from fastcnn.ops.shape_take import Take


@final
@dataclass(frozen=True)
class Along:
    """Position p of the output's axis, of `size` positions, reads what `reading` says."""

    axis: int
    reading: Reading
    size: int


@final
@dataclass(frozen=True)
class Over:
    """All positions of `axes` are read; they stay as axes of one position where `keepdims`."""

    axes: tuple[int, ...]
    keepdims: bool = True


@final
@dataclass(frozen=True)
class Shaped:
    """The same elements in row order."""

    shape: tuple[int, ...]


@final
@dataclass(frozen=True)
class Turned:
    """Axis i is axis permutation[i] of what there was."""

    permutation: tuple[int, ...]


Step = Along | Over | Shaped | Turned
Steps = Sequence[Step]

# What a float op adds to each position alone, with operands repeated to its shape.
AS_IT_IS: Steps = ()


def dependence(node: Node, output: int = 0) -> list[Steps]:
    """For each input of `node`, the steps from its axes to those of one output."""
    if node.specs[output].shape != node.specs[0].shape:
        return [_everything(node, i) for i in range(len(node.inputs))]
    return [steps(node.op, node, i) for i in range(len(node.inputs))]


def _everything(node: Node, index: int) -> Steps:
    return (Over(tuple(range(node.inputs[index].ndim)), keepdims=False),)


@singledispatch
def steps(op: Op, node: Node, index: int) -> Steps:
    """From the axes of input `index` to those of the output; all of it, where nothing is known."""
    return _everything(node, index)


@steps.register(Unary)
@steps.register(Broadcasting)
@steps.register(PReLU)
@steps.register(Identity)
@steps.register(CheckFinite)
@steps.register(Cast)
@steps.register(BatchNormInference)
@steps.register(BroadcastTo)
@steps.register(WindowToFlat)
def _each(op: Op, node: Node, index: int) -> Steps:
    return AS_IT_IS


@steps.register
def _dropout(op: Dropout, node: Node, index: int) -> Steps:
    return AS_IT_IS if index == 0 else _everything(node, index)


@steps.register
def _one_hot(op: OneHot, node: Node, index: int) -> Steps:
    return (Shaped((*node.inputs[0].spec.sizes, 1)),)


# --- windows -------------------------------------------------------------------------------------


@steps.register(Conv2D)
@steps.register(DepthwiseConv2D)
def _convolution(op: Convolution, node: Node, index: int) -> Steps:
    if index:
        return _everything(node, index)
    image, taps = node.inputs[0].spec.sizes[1:3], node.inputs[1].spec.sizes[:2]
    top, _, left, _ = op.pads(image, taps)
    sides = zip(op.strides, (top, left), taps, op.dilations, strict=True)
    channels = () if isinstance(op, DepthwiseConv2D) else (Over((3,)),)
    return (*channels, *_image(node, [reading.window(*side) for side in sides]))


@steps.register(Conv2DGradInput)
@steps.register(DepthwiseConv2DGradInput)
def _transposed_convolution(op: Convolution, node: Node, index: int) -> Steps:
    if index:
        return _everything(node, index)
    taps = node.inputs[1].spec.sizes[:2]
    top, _, left, _ = op.pads(node.specs[0].sizes[1:3], taps)
    sides = zip(op.strides, (top, left), taps, op.dilations, strict=True)
    return (Over((3,)), *_image(node, [reading.spread(*side) for side in sides]))


@steps.register(MaxPool2D)
@steps.register(AvgPool2D)
def _pool(op: WindowOp, node: Node, index: int) -> Steps:
    top, _, left, _ = op.pads(node.inputs[0].spec)
    sides = zip(op.strides, (top, left), op.pool_size, strict=True)
    return _image(node, [reading.window(*side) for side in sides])


@steps.register(AdaptiveAvgPool2D)
@steps.register(AdaptiveMaxPool2D)
def _adaptive_pool(op: Any, node: Node, index: int) -> Steps:
    sizes = node.inputs[0].spec.sizes[1:3]
    return tuple(
        Over((axis,)) if outputs == 1 else Along(axis, reading.bins(size, outputs), outputs)
        for axis, size, outputs in zip((1, 2), sizes, op.output_size, strict=True)
    )


@steps.register
def _unpool(op: MaxUnpool2D, node: Node, index: int) -> Steps:
    """A value may lie wherever its window reaches; without known windows, anywhere."""
    found = node.inputs[1].node.op
    if not isinstance(found, WindowToFlat):
        return (Over((1, 2)),)
    sides = zip(found.strides, found.pads[::2], found.pool_size, strict=True)
    return _image(node, [reading.spread(*side) for side in sides])


@steps.register
def _nearest(op: ResizeNearest, node: Node, index: int) -> Steps:
    sizes = zip(node.inputs[0].spec.sizes[1:3], op.size, strict=True)
    return _image(node, [reading.nearest(*pair) for pair in sizes])


@steps.register
def _bilinear(op: ResizeBilinear, node: Node, index: int) -> Steps:
    sizes = zip(node.inputs[0].spec.sizes[1:3], op.size, strict=True)
    return _image(node, [reading.bilinear(*pair, op.align_corners) for pair in sizes])


def _image(node: Node, readings: Sequence[Reading]) -> tuple[Along, Along]:
    """Rows and columns."""
    _, height, width, _ = node.specs[0].sizes
    return Along(1, readings[0], height), Along(2, readings[1], width)


# --- whole axes ----------------------------------------------------------------------------------


@steps.register
def _matmul(op: MatMul, node: Node, index: int) -> Steps:
    turned = op.transpose_b if index else op.transpose_a
    rank = node.inputs[index].ndim
    found: list[Step] = []
    if turned:
        found.append(Turned((*range(rank - 2), rank - 1, rank - 2)))
    return (*found, Over((rank - 2 if index else rank - 1,)))


@steps.register(Softmax)
@steps.register(LogSoftmax)
@steps.register(LocalResponseNorm)
@steps.register(ChannelShuffle)
def _channels(op: Op, node: Node, index: int) -> Steps:
    return (Over((node.inputs[index].ndim - 1,)),)


@steps.register(BatchNormTrain)
def _all_but_channels(op: Op, node: Node, index: int) -> Steps:
    return (Over(tuple(range(node.inputs[index].ndim - 1))),) if index == 0 else AS_IT_IS


@steps.register
def _group_norm(op: GroupNorm, node: Node, index: int) -> Steps:
    return (Over(tuple(range(1, node.inputs[index].ndim))),) if index == 0 else AS_IT_IS


@steps.register
def _layer_norm(op: LayerNorm, node: Node, index: int) -> Steps:
    rank = node.inputs[index].ndim
    return (Over(tuple(range(rank - op.rank, rank))),) if index == 0 else AS_IT_IS


@steps.register
def _reduce(op: Reduce, node: Node, index: int) -> Steps:
    return (Over(resolve_axes(op.axes, node.inputs[0].ndim), op.keepdims),)


@steps.register
def _argmax(op: Argmax, node: Node, index: int) -> Steps:
    return (Over(resolve_axes((op.axis,), node.inputs[0].ndim), keepdims=False),)


# --- moved elements ------------------------------------------------------------------------------


@steps.register
def _reshape(op: Reshape, node: Node, index: int) -> Steps:
    return (Shaped(node.specs[0].sizes),)


@steps.register
def _transpose(op: Transpose, node: Node, index: int) -> Steps:
    return (Turned(op.permutation),)


@steps.register
def _broadcast(op: Broadcast, node: Node, index: int) -> Steps:
    sizes = node.specs[0].sizes
    return (Shaped(tuple(1 if i in op.axes else d for i, d in enumerate(sizes))),)


@steps.register
def _concat(op: Concat, node: Node, index: int) -> Steps:
    axis = normal_axis(op.axis, node.specs[0].rank)
    before = sum(t.spec.sizes[axis] for t in node.inputs[:index])
    return (Along(axis, reading.shift(-before), node.specs[0].sizes[axis]),)


@steps.register
def _slice(op: Slice, node: Node, index: int) -> Steps:
    sizes = node.specs[0].sizes
    moved = zip(op.begin, sizes, node.inputs[0].spec.sizes, strict=True)
    return tuple(
        Along(axis, reading.shift(begin), size)
        for axis, (begin, size, whole) in enumerate(moved)
        if size != whole
    )


@steps.register
def _pad(op: Pad, node: Node, index: int) -> Steps:
    sizes = zip(op.pads, node.specs[0].sizes, strict=True)
    return tuple(
        Along(axis, reading.shift(-before), size)
        for axis, ((before, after), size) in enumerate(sizes)
        if before or after
    )


@steps.register
def _take(op: Take, node: Node, index: int) -> Steps:
    """Known positions of one axis are read one by one; others may be anywhere."""
    x, indices = node.inputs
    places = indices.node.op
    axis = normal_axis(op.axis, x.ndim)
    if index or indices.ndim != 1 or not isinstance(places, Constant):
        return _everything(node, index)
    chosen = places.value
    # The last of the sequence over and over, for whoever asks beyond it.
    read = Reading(1, 0, lambda p: chosen[p.clip(0, len(chosen) - 1), None].astype("int64"))
    return (Along(axis, read, len(chosen)),)
