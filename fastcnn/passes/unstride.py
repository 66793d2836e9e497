# SPDX-License-Identifier: Apache-2.0
"""A convolution with a stride over few channels becomes one without, over more.

    y[p] = sum over r < R of x[p s + r] w[r] = sum over t < ceil(R / s) of z[p + t] v[t],

where z[p] is x[p s], ..., x[p s + s - 1] side by side, as channels of one pixel, v likewise of w,
and w is zero beyond R. So Winograd's algorithm, which knows no stride, serves first layers: of 11
taps and strides 4 (AlexNet) 3 are left, of 7 and 2 (ResNet, GoogLeNet, DenseNet) 4. Copying the
pixels is little beside what is saved, as long as they have few channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Spec, Tensor
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D
from fastcnn.ops.shape_copy import SpaceToDepth
from fastcnn.passes.algorithms import Algorithms
from fastcnn.passes.fuse import LEAST_CHANNELS, WINOGRAD_TAPS, winograd_products, winograd_tile
from fastcnn.passes.hoist import is_fixed
from fastcnn.passes.rewrite import rewrite


def unstride(outputs: Sequence[Tensor], algorithms: Algorithms) -> list[Tensor]:
    """The graph with such convolutions, where Winograd's products are clearly fewer.

    A direct sum keeps its stride: there would be more of it to sum.

    Args:
        outputs: of the graph.
        algorithms: those allowed.
    """

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, Conv2D) or not _pays(node.op, node):
            return None
        x, kernel = inputs
        if is_fixed(node.inputs[0]) or not is_fixed(node.inputs[1]):
            return None
        with scope_path(node.layer):
            y = _unstrided(node.op, x, kernel, node.specs[0])
        copied, filters = y.node.inputs
        return (y,) if winograd_tile(Conv2D(), copied, filters, algorithms) else None

    return rewrite(outputs, rule)


def _pays(op: Conv2D, node: Node) -> bool:
    """Whether products and transforms are less than _SHARE of the direct sum's products."""
    R, S, C, K = node.inputs[1].spec.sizes
    stride, taps = op.strides[0], -(-R // op.strides[0])
    square = R == S and op.strides[1] == stride > 1 and op.dilations == (1, 1) and op.groups == 1
    channels = stride**2 * C
    if not square or not LEAST_CHANNELS <= channels <= _MOST_CHANNELS or K < 16:
        return False
    y = node.specs[0]
    direct = R * S * C * y.size / K
    tiles = WINOGRAD_TAPS.get((taps, taps), {}).values()
    return any(winograd_products(m, taps, channels, y) * channels < _SHARE * direct for m in tiles)


def _unstrided(op: Conv2D, x: Tensor, kernel: Tensor, y: Spec) -> Tensor:
    R, S, C, K = kernel.spec.sizes
    _, P, Q, _ = y.sizes
    stride = op.strides[0]
    taps, channels = -(-R // stride), stride**2 * C
    top, _, left, _ = op.pads(x.spec.sizes[1:3], (R, S))
    copied = apply(SpaceToDepth(stride, (top, left), (P + taps - 1, Q + taps - 1)), x)
    more = taps * stride - R
    padded = ops.pad(kernel, ((0, more), (0, more), (0, 0), (0, 0)))
    parts = ops.reshape(padded, (taps, stride, taps, stride, C, K))
    filters = ops.reshape(ops.transpose(parts, (0, 2, 1, 3, 4, 5)), (taps, taps, channels, K))
    unstrided: Tensor = apply(Conv2D(), copied, filters)
    return unstrided


# Winograd's kernels reach a smaller share of the processor's speed, more so with few channels.
_SHARE = 0.7
# Of a square: more would be copied for longer than is saved.
_MOST_CHANNELS = 64
