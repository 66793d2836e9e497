# SPDX-License-Identifier: Apache-2.0
"""A training step's convolutions in the form the kernels like, forward and backward.

Weights change in every step, so what lays filters out runs in the plan: small ops beside the
convolutions themselves. The gradient for the input becomes a packed product, or Winograd's
algorithm over dy where that costs less, the transform of its filters counted; the gradient for the
kernel is summed in Winograd's domain where there are pixels enough.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Spec, Tensor, constant
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.conv_packed import (
    UNBOUNDED,
    PackedConv2D,
    PackFilters,
    WinogradConv2D,
    WinogradFilters,
    winograd_points,
)
from fastcnn.ops.conv_packed_grad import (
    TransformFilters,
    WinogradConv2DGradKernel,
    WinogradTrainConv2D,
)
from fastcnn.passes.algorithms import Algorithms
from fastcnn.passes.fuse import fills_lanes, fuse_convolutions, packed_grad_input
from fastcnn.passes.rewrite import rewrite


def pack_training(tensors: Sequence[Tensor], algorithms: Algorithms | None = None) -> list[Tensor]:
    """The graph of a step with fused convolutions and packed gradients for inputs.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
        algorithms: those allowed; those of the environment when None. What was measured is of
            inference, whose filters are transformed beforehand, and is left aside.
    """
    exact = (algorithms or Algorithms()).exact
    fused = fuse_convolutions(tensors, (Conv2D, DepthwiseConv2D), Algorithms(exact))
    return rewrite(fused, functools.partial(_rule, exact))


def _rule(exact: bool, node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
    with scope_path(node.layer):
        if isinstance(node.op, WinogradConv2D):
            return (_forward(node.op, *inputs),)
        if isinstance(node.op, Conv2DGradInput):
            return (_grad_input(node.op, exact, *inputs),)
        if isinstance(node.op, Conv2DGradKernel) and not exact:
            return _grad_kernel(node.op, *inputs)
    return None


def _forward(op: WinogradConv2D, x: Tensor, filters: Tensor, *rest: Tensor) -> Tensor:
    """Inference's choice, where it pays although the filters are transformed in every step."""
    assert isinstance(filters.node.op, WinogradFilters)
    (kernel,) = filters.node.inputs
    y: Tensor
    if op.taps == 3 and winograd_pays(x.spec, op.infer(x.spec, filters.spec)):
        return _winograd(op, False, x, kernel, *rest)
    top, bottom, left, right = op.pads
    padding = ((top, bottom), (left, right))
    taps = (op.taps, op.taps)
    packed = PackedConv2D(taps=taps, filters=op.filters, padding=padding, bounds=op.bounds)
    y = apply(packed, x, apply(PackFilters(), kernel), *rest)
    return y


def _winograd(
    op: WinogradConv2D, exchanged: bool, x: Tensor, kernel: Tensor, *rest: Tensor
) -> Tensor:
    """Filters are transformed before it, or inside it where they would not stay in a cache."""
    y: Tensor
    if kernel.spec.size > _SMALL_FILTERS:
        inside = WinogradTrainConv2D(pads=op.pads, exchanged=exchanged, bounds=op.bounds)
        y = apply(inside, x, kernel, *rest)
    else:
        y = apply(op, x, apply(TransformFilters(exchanged), kernel), *rest)
    return y


def _grad_input(op: Conv2DGradInput, exact: bool, dy: Tensor, kernel: Tensor) -> Tensor:
    if fills_lanes(op, kernel):
        dx: Tensor = apply(op, dy, kernel)
        return dx
    C = kernel.spec.sizes[2]
    H, W = Spec(op.input_size).sizes
    pads = None if exact else _winograd_pads(op, dy.spec, kernel.spec)
    if pads is not None and winograd_pays(dy.spec, dy.spec.with_shape(dy.shape[0], H, W, C)):
        zeros = constant(np.zeros(C, kernel.dtype))
        return _winograd(WinogradConv2D(pads=pads, filters=C), True, dy, kernel, zeros)
    return packed_grad_input(op, dy, kernel, (), UNBOUNDED)


def _winograd_pads(op: Conv2DGradInput, dy: Spec, kernel: Spec) -> tuple[int, int, int, int] | None:
    """Of the 3x3 convolution over dy that makes dx; None where it is none."""
    if kernel.sizes[:2] != (3, 3) or op.groups != 1:
        return None
    if op.strides != (1, 1) or op.dilations != (1, 1):
        return None
    H, W = Spec(op.input_size).sizes
    top, _, left, _ = op.pads((H, W), (3, 3))
    _, P, Q, _ = dy.sizes
    pads = (2 - top, H - P + top, 2 - left, W - Q + left)
    return pads if min(pads) >= 0 else None


def _grad_kernel(op: Conv2DGradKernel, x: Tensor, dy: Tensor) -> Sequence[Tensor] | None:
    plain = op.strides == (1, 1) and op.dilations == (1, 1) and op.groups == 1
    if op.kernel_size != (3, 3) or not plain or not sum_pays(x.spec, dy.spec):
        return None
    pads = op.pads(x.spec.sizes[1:3], (3, 3))
    return (apply(WinogradConv2DGradKernel(pads=pads), x, dy),)


def sum_pays(x: Spec, dy: Spec) -> bool:
    """Whether Winograd's sum of outer products costs less than the direct one."""
    if not _transformable(x.sizes[3], dy):
        return False
    N, P, Q, K = dy.sizes
    transforms = _TRANSFORMED * (1 / x.sizes[3] + 1 / K)
    winograd = winograd_points(4, 3, dy) * (1 + transforms) + 36 * _GATHERING
    return winograd < 9 * N * P * Q


def _transformable(channels: int, y: Spec) -> bool:
    """Whether patches and channels are worth transforming."""
    _, P, Q, K = y.sizes
    return min(channels, K) >= 16 and min(P, Q) >= 4


def winograd_pays(x: Spec, y: Spec) -> bool:
    """Whether F(4x4, 3x3) costs less than the direct sum, filters made anew.

    Costs in multiply-adds of a vector per channel in and out, as for inference.
    """
    C, K = x.sizes[3], y.sizes[3]
    N, P, Q, _ = y.sizes
    if not _transformable(C, y):
        return False
    direct = 9 * (N * P * Q + _PACKING)
    winograd = winograd_points(4, 3, y) * (1 + 6 / C + 4 / K) + 36 * _TRANSFORM
    return winograd < direct


# Numbers of filters that are transformed in one go; there are four times as many afterwards.
_SMALL_FILTERS = 9 * 128 * 128

# Reading a number of the filters and packing it costs as much as so many multiply-adds, and making
# one of Winograd's from it as much as so many.
_PACKING, _TRANSFORM = 24, 10
# The same for a number of a transformed patch that is written to be multiplied, and for taking a
# number of the filters' gradient back from 36 sums.
_TRANSFORMED, _GATHERING = 50, 16
