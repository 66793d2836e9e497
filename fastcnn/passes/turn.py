# SPDX-License-Identifier: Apache-2.0
"""Convolutions run backwards become convolutions run forwards, with the filters turned round.

    dx[h] = sum over r of dy[(h + top - r) / stride] w[r],  where the division leaves no rest

Pixels h of one phase, (h + top) mod stride, meet the same taps r: each phase of dx is a convolution
of dy with those taps in reverse, and channels in and out exchanged. Turned filters depend on
weights alone, so inference's packed and Winograd convolutions serve the way back too, and for
transposed convolutions. With a stride only depthwise ones are turned: the others' phases lie inside
`PackedConv2DGradInput`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D, DepthwiseConv2DGradInput
from fastcnn.ops.shape_take import Take
from fastcnn.passes.hoist import is_fixed
from fastcnn.passes.rewrite import rewrite
from fastcnn.records import dataclass

# Panels of filters are wider: images of few channels are left to the gradient's own kernel.
LEAST_CHANNELS = 16


@dataclass(frozen=True)
class Phase:
    """Pixels of one axis that meet the same taps: first, first + stride, ...

    Attributes:
        first: the first such pixel.
        count: how many.
        taps: positions of the taps in the filter, last first.
        pads: zeros that dy wants before and after it.
    """

    first: int
    count: int
    taps: tuple[int, ...]
    pads: tuple[int, int]


def turn_convolutions(outputs: Sequence[Tensor]) -> list[Tensor]:
    """A convolution of dy in the place of a gradient for the input, where the filters are fixed."""

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        op = node.op
        if not isinstance(op, (Conv2DGradInput, DepthwiseConv2DGradInput)):
            return None
        channels = node.specs[0].sizes[3]
        if channels < LEAST_CHANNELS or not _plain(node) or not is_fixed(node.inputs[1]):
            return None
        rows, columns = (_phases(op, node, axis) for axis in (0, 1))
        if any(min(phase.pads) < 0 for phase in (*rows, *columns)):
            return None
        dy, kernel = inputs
        with scope_path(node.layer):
            strips = [
                _interleaved(
                    [_phase(op, dy, kernel, row, column) for column in columns], columns, 2
                )
                for row in rows
            ]
            dx = _interleaved(strips, rows, 1)
        return None if dx is None else (dx,)

    return rewrite(outputs, rule)


def _plain(node: Node) -> bool:
    """Whether every channel of dy goes to all of dx, without a stride, or each to its own."""
    if isinstance(node.op, Conv2DGradInput):
        return node.op.groups == 1 and node.op.strides == (1, 1)
    return node.inputs[1].shape[3] == 1


def _phases(op: Conv2DGradInput | DepthwiseConv2DGradInput, node: Node, axis: int) -> list[Phase]:
    """Phases of the rows or columns of dx, by their first pixels; some without taps."""
    size, taps = node.specs[0].sizes[1 + axis], node.inputs[1].spec.sizes[axis]
    outputs = node.inputs[0].spec.sizes[1 + axis]
    stride, dilation = op.strides[axis], op.dilations[axis]
    before = op.pads(node.specs[0].sizes[1:3], node.inputs[1].spec.sizes[:2])[2 * axis]
    phases = []
    for first in range(min(stride, size)):
        met = [r for r in range(taps) if (first + before - r * dilation) % stride == 0]
        count = len(range(first, size, stride))
        # dy's rows that the first pixel meets, by tap.
        rows = [(first + before - r * dilation) // stride for r in met]
        pads = (-rows[-1], rows[0] + count - outputs) if met else (0, 0)
        phases.append(Phase(first, count, tuple(reversed(met)), pads))
    return phases


def _phase(
    op: Conv2DGradInput | DepthwiseConv2DGradInput,
    dy: Tensor,
    kernel: Tensor,
    row: Phase,
    column: Phase,
) -> Tensor | None:
    """The pixels of dx where a phase of rows and one of columns meet; None where all are 0."""
    if not (row.taps and column.taps):
        return None
    for axis, phase in enumerate((row, column)):
        if phase.taps != tuple(range(kernel.spec.sizes[axis])):
            kernel = ops.take(kernel, np.array(phase.taps, np.int32), axis=axis)
    padding = (row.pads, column.pads)
    dilations = (
        _step(row, op.dilations[0], op.strides[0]),
        _step(column, op.dilations[1], op.strides[1]),
    )
    found: Tensor
    if isinstance(op, DepthwiseConv2DGradInput):
        found = apply(DepthwiseConv2D(padding=padding, dilations=dilations), dy, kernel)
        return found
    turned = ops.transpose(kernel, (0, 1, 3, 2))
    found = apply(Conv2D(padding=padding, dilations=dilations), dy, turned)
    return found


def _step(phase: Phase, dilation: int, stride: int) -> int:
    """Distance in dy between neighbouring taps of a phase."""
    if len(phase.taps) < 2:
        return 1
    return (phase.taps[0] - phase.taps[1]) * dilation // stride


def _interleaved(
    parts: Sequence[Tensor | None], phases: Sequence[Phase], axis: int
) -> Tensor | None:
    """Pixels of all phases in their order along `axis`, zeros for phases that are None."""
    if len(phases) == 1:
        return parts[0]
    there = [(part, phase) for part, phase in zip(parts, phases, strict=True) if part is not None]
    if not there:
        return None
    stride, size = len(phases), sum(phase.count for phase in phases)
    places = np.full(size, -1, np.int32)  # the op gives zeros for these
    begin = 0
    for _, phase in there:
        places[phase.first :: stride] = np.arange(begin, begin + phase.count)
        begin += phase.count
    joined = ops.concat([part for part, _ in there], axis=axis) if len(there) > 1 else there[0][0]
    taken: Tensor = apply(Take(axis), joined, places)
    return taken
