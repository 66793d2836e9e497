# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution and the 1x1 convolutions around it as one op.

    [1x1 convolution ->]  depthwise convolution  ->  1x1 convolution

What lies between them would go to memory and back; the one op keeps it in a core's own cache, a few
rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import FusedDepthwiseConv2D, PackedConv2D
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.passes.algorithms import APART, FUSED, Algorithms, separable_shape
from fastcnn.passes.rewrite import count_readers, rewrite

# What a number of a filter costs, as against one that is moved; fitted on a Zen 3.
_FILTER = 1.4

# (filter, stride) with loops of their own: depthwise_families in src_c/kernels.
_FILTERS = frozenset({(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)})


def fuse_separable(outputs: Sequence[Tensor], algorithms: Algorithms | None = None) -> list[Tensor]:
    """The graph with one op for every such group whose inner results nobody else reads.

    Where such convolutions follow each other in turns, a 1x1 convolution may be the last of one
    group or the first of the next, whatever saves more of the chain.

    Args:
        outputs: of the graph.
        algorithms: what was measured of such groups; an estimate decides where nothing was.
    """
    groups = _groups(outputs, algorithms or Algorithms())

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if id(node) not in groups:
            return None
        return (_fused(node, inputs, expands=groups[id(node)]),)

    return rewrite(outputs, rule)


class _Chain(NamedTuple):
    """What is best of the convolutions up to one: numbers that need not be moved, and the groups.

    A group is the id of the convolution that projects, and whether there is one in front.
    """

    saved: float = 0.0
    groups: tuple[tuple[int, bool], ...] = ()
    before: _Chain | None = None  # without the depthwise convolution and the last one

    def joined(self, node: Node, expands: bool, saved: float) -> _Chain:
        return _Chain(self.saved + saved, (*self.groups, (id(node), expands)))


def _groups(outputs: Sequence[Tensor], algorithms: Algorithms) -> dict[int, bool]:
    """The groups of the best chains."""
    readers = count_readers(outputs)
    chains: dict[int, _Chain] = {}  # by the id of the 1x1 convolution that ends them
    for node in topological(outputs):
        depthwise = _only(node, FusedDepthwiseConv2D, readers)
        if not _is_pointwise(node) or depthwise is None or not _has_loops(depthwise):
            continue
        front = _only(depthwise, PackedConv2D, readers)
        before = chains.pop(id(front), _Chain())
        found = [before]
        whole, apart = None, False
        if front is not None and _is_pointwise(front) and len(front.inputs) <= 3:
            whole = _saved(node, depthwise, front, algorithms)
            # Parts that were measured to be faster apart stay as they were measured.
            apart = dict(algorithms.measured).get(shape_of(node, depthwise, front)) == APART
        pair = None if apart else _saved(node, depthwise, None, algorithms)
        if pair is not None:
            found.append(before.joined(node, False, pair))
        if whole is not None:
            found.append((before.before or _Chain()).joined(node, True, whole))
        best = max(found, key=lambda chain: chain.saved)
        chains[id(node)] = best._replace(before=before)
    return dict(group for chain in chains.values() for group in chain.groups)


def _saved(
    project: Node, depthwise: Node, expand: Node | None, algorithms: Algorithms
) -> float | None:
    """Numbers that one op need not move, or None where it shall not be."""
    costs = _costs(project, depthwise, expand)
    if algorithms.pick(shape_of(project, depthwise, expand), costs) == APART:
        return None
    return max(1.0, costs[APART] - costs[FUSED])


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
    """Numbers that are written and read in between, and those of filters that all cores read.

    Pixels in front of a depthwise convolution are copied, too, unless they are made there.
    """
    moved = 2 * math.prod(depthwise.specs[0].sizes[1:])
    filters = math.prod(project.inputs[1].spec.sizes)
    if expand is not None:
        moved += 3 * math.prod(expand.specs[0].sizes[1:])
        filters += math.prod(expand.inputs[1].spec.sizes)
    return {APART: moved, FUSED: _FILTER * filters}


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
