# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution and the 1x1 convolutions around it as one op.

    [1x1 convolution ->]  depthwise convolution  ->  1x1 convolution

What lies between them would go to memory and back; the one op keeps it in a core's own cache, a few
rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import FusedDepthwiseConv2D, PackedConv2D
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.passes.algorithms import APART, FUSED, Algorithms, separable_shape
from fastcnn.passes.rewrite import count_readers, rewrite

# (filter, stride) with loops of their own: depthwise_families in src_c/kernels.
_FILTERS = frozenset({(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)})


def fuse_separable(outputs: Sequence[Tensor], algorithms: Algorithms | None = None) -> list[Tensor]:
    """The graph with one op for every such group whose inner results nobody else reads.

    Args:
        outputs: of the graph.
        algorithms: what was measured of such groups; an estimate decides where nothing was.
    """
    algorithms = algorithms or Algorithms()
    readers = count_readers(outputs)

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        depthwise = _only(node, FusedDepthwiseConv2D, readers)
        if not _is_pointwise(node) or depthwise is None or not _has_loops(depthwise):
            return None
        expand = _only(depthwise, PackedConv2D, readers)
        # The convolution in front may have become the end of another such op.
        own = isinstance(inputs[0].node.inputs[0].node.op, PackedConv2D)
        if expand is not None and (not own or not _is_pointwise(expand) or len(expand.inputs) > 3):
            expand = None
        shape = shape_of(node, depthwise, expand)
        if algorithms.pick(shape, _costs(node, depthwise, expand)) == APART:
            return None
        return (_fused(node, inputs, expand is not None),)

    return rewrite(outputs, rule)


def _only(node: Node, op: type, readers: Mapping[Tensor, int]) -> Node | None:
    """What made the first input, if it is such an op and nobody else reads it."""
    if not node.inputs:
        return None
    source = node.inputs[0]
    return source.node if isinstance(source.node.op, op) and readers[source] == 1 else None


def _is_pointwise(node: Node) -> bool:
    """Whether every output is made of the pixel at its place."""
    op = node.op
    if not isinstance(op, PackedConv2D) or op.taps != (1, 1) or op.groups != 1:
        return False
    return op.strides == (1, 1) and node.specs[0].sizes[:3] == node.inputs[0].spec.sizes[:3]


def _has_loops(depthwise: Node) -> bool:
    R, S = depthwise.inputs[1].spec.sizes[:2]
    op = depthwise.op
    assert isinstance(op, FusedDepthwiseConv2D)
    square = R == S and op.strides[0] == op.strides[1] and op.dilations == (1, 1)
    return square and (R, op.strides[0]) in _FILTERS


def shape_of(project: Node, depthwise: Node, expand: Node | None) -> str:
    """What measurements of such a group are kept under."""
    x, kernel = (expand or depthwise).inputs[0].spec, depthwise.inputs[1].spec
    assert isinstance(depthwise.op, FusedDepthwiseConv2D)
    stride = depthwise.op.strides[0]
    return separable_shape(x, kernel, project.specs[0], stride, expand is not None)


def _costs(project: Node, depthwise: Node, expand: Node | None) -> dict[str, float]:
    """Numbers that are written and read in between, and those of the filters of every image."""
    inner = [depthwise, *([expand] if expand else [])]
    moved = 2 * sum(math.prod(node.specs[0].sizes[1:]) for node in inner)
    around = [project, *([expand] if expand else [])]
    filters = sum(math.prod(node.inputs[1].spec.sizes) for node in around)
    return {APART: moved, FUSED: filters}


def _fused(node: Node, inputs: list[Tensor], expands: bool) -> Tensor:
    """One op for `node`, which projects, and what is in front of it."""
    project, depthwise = node.op, inputs[0].node
    assert isinstance(project, PackedConv2D)
    assert isinstance(depthwise.op, FusedDepthwiseConv2D)
    x, *kernel = depthwise.inputs
    front: list[Tensor] = []
    fields: dict[str, Any] = {}
    if expands:
        assert isinstance(x.node.op, PackedConv2D)
        fields = {"expands": True, "expand_bounds": x.node.op.bounds}
        x, *front = x.node.inputs
    op = FusedSeparableConv2D(
        filters=project.filters,
        depthwise_bounds=depthwise.op.bounds,
        bounds=project.bounds,
        **fields,
        **depthwise.op.siblings(),
    )
    panels, bias, *residual = inputs[1:]
    with scope_path(node.layer):
        y: Tensor = apply(op, x, *kernel, panels, bias, *front, *residual)
    return y
