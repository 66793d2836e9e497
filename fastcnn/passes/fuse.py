# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products with what follows them, in the form the kernels like.

    conv(x, w)  [+ bias]  [+ residual]  [relu, relu6 or clip]

becomes one `PackedConv2D`, or one `WinogradConv2D` where that costs less; a transposed convolution
becomes one `PackedConv2DGradInput`. Filters are packed or transformed by an op of their own, which
`hoist` moves to the prologue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Op, Spec, Tensor, constant, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.conv_packed import (
    UNBOUNDED,
    Bounds,
    FusedDepthwiseConv2D,
    FusedGroupedConv2D,
    PackedConv2D,
    PackFilters,
    PreactivatedConv2D,
    WinogradConv2D,
    WinogradFilters,
    winograd_points,
)
from fastcnn.ops.conv_packed_grad import (
    PackedConv2DGradInput,
    PackExchangedFilters,
    phase_steps,
)
from fastcnn.ops.dense import MatMul
from fastcnn.ops.elementwise_activations import ReLU, ReLU6
from fastcnn.ops.elementwise_binary import Add
from fastcnn.ops.elementwise_unary import Clip
from fastcnn.ops.norm_batch import BatchNormInference
from fastcnn.passes.algorithms import (
    DIRECT,
    WINOGRAD_2,
    WINOGRAD_3,
    WINOGRAD_4,
    Algorithms,
    convolution_shape,
)
from fastcnn.passes.hoist import fixed_nodes
from fastcnn.passes.rewrite import carry_over
from fastcnn.records import dataclass

# Channels of a group, of which a vector holds several groups.
FEW_CHANNELS = (4, 8)


@dataclass(frozen=True)
class Entrance:
    """A normalization in front of a product, and what bounds its result.

    Attributes:
        norm: the normalization's inputs: x, gamma, beta, mean, variance.
        epsilon: of the normalization.
        bounds: smallest and largest result.
    """

    norm: tuple[Tensor, ...]
    epsilon: float
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Chain:
    """A product and what follows it up to `end`, which is all that others read."""

    product: Node
    end: Tensor
    bias: Tensor | None = None
    residual: Tensor | None = None
    bounds: Bounds = UNBOUNDED
    entrance: Entrance | None = None


def fuse_convolutions(
    outputs: Sequence[Tensor],
    products: tuple[type[Op], ...] = (Conv2D, Conv2DGradInput, DepthwiseConv2D, MatMul),
    algorithms: Algorithms | None = None,
) -> list[Tensor]:
    """The graph with a fused op in the place of every chain that begins with fixed weights.

    Args:
        outputs: of the graph.
        products: ops that a chain may begin with.
        algorithms: those allowed; those of the environment when None.
    """
    algorithms = algorithms or Algorithms()
    chains = {
        chain.end: chain for chain in _chains(outputs) if isinstance(chain.product.op, products)
    }
    new: dict[Tensor, Tensor] = {}
    for node in topological(outputs):
        inputs = [new.get(t, t) for t in node.inputs]
        chain = chains.get(node.outputs[0]) if node.outputs else None
        if chain is not None:
            new[chain.end] = _fused(chain, new, algorithms)
        else:
            carry_over(node, inputs, new)
    return [new.get(t, t) for t in outputs]


def _chains(outputs: Sequence[Tensor]) -> list[Chain]:
    """Every product with fixed weights, and what follows it."""
    order = topological(outputs)
    position = {id(node): i for i, node in enumerate(order)}
    fixed = fixed_nodes(outputs)
    readers: dict[Tensor, list[Node | None]] = {t: [None] for t in outputs}
    for node in order:
        for tensor in node.inputs:
            readers.setdefault(tensor, []).append(node)
    start = [
        Chain(node, node.outputs[0], entrance=_entrance(node, readers, fixed))
        for node in order
        if _is_product(node, fixed)
    ]
    return [_grow(chain, readers, fixed, position) for chain in start]


def _is_product(node: Node, fixed: set[int]) -> bool:
    if isinstance(node.op, DepthwiseConv2D) and node.inputs[1].shape[3] != 1:
        return False
    if isinstance(node.op, Conv2DGradInput) and fills_lanes(node.op, node.inputs[1]):
        return False
    if isinstance(node.op, (Conv2D, Conv2DGradInput, DepthwiseConv2D)):
        return id(node.inputs[1].node) in fixed and id(node.inputs[0].node) not in fixed
    return (
        isinstance(node.op, MatMul)
        and not node.op.transpose_a
        and not node.op.transpose_b
        and node.inputs[0].ndim == 2
        and id(node.inputs[1].node) in fixed
        and id(node.inputs[0].node) not in fixed
    )


def fills_lanes(op: Conv2DGradInput, kernel: Tensor) -> bool:
    """Whether a vector holds several groups of such filters: then they are best as they are."""
    _, _, C, K = kernel.spec.sizes
    few = op.groups > 1 and C in FEW_CHANNELS and op.strides == (1, 1)
    return few and C * op.groups == K


def _entrance(
    product: Node, readers: dict[Tensor, list[Node | None]], fixed: set[int]
) -> Entrance | None:
    """The normalization that a 1x1 convolution alone reads, as it is or bounded."""
    op = product.op
    alone = len(readers[product.inputs[0]]) == 1
    if not isinstance(op, Conv2D) or not alone or not _reads_pixels(op, product):
        return None
    before, bounds = product.inputs[0].node, UNBOUNDED
    if isinstance(before.op, (ReLU, ReLU6)):
        bounds = (0.0, 6.0 if isinstance(before.op, ReLU6) else math.inf)
        if len(readers[before.inputs[0]]) > 1:
            return None
        before = before.inputs[0].node
    if not isinstance(before.op, BatchNormInference) or before.inputs[0].ndim != 4:
        return None
    if any(id(t.node) not in fixed for t in before.inputs[1:]):
        return None
    return Entrance(before.inputs, before.op.epsilon, bounds)


def _reads_pixels(op: Conv2D, node: Node) -> bool:
    """Whether every output is made of one pixel, and every pixel makes one."""
    plain = op.strides == (1, 1) and op.groups == 1 and node.inputs[1].shape[:2] == (1, 1)
    return plain and op.pads(node.inputs[0].spec.sizes[1:3], (1, 1)) == (0, 0, 0, 0)


def _grow(
    chain: Chain,
    readers: dict[Tensor, list[Node | None]],
    fixed: set[int],
    position: dict[int, int],
) -> Chain:
    """The chain with as many of its followers as an epilogue can do."""
    while True:
        (reader, *others) = readers[chain.end]
        if reader is None or others:
            return chain
        longer = _with(chain, reader, fixed, position)
        if longer is None:
            return chain
        chain = replace(longer, end=reader.outputs[0])


def _with(chain: Chain, reader: Node, fixed: set[int], position: dict[int, int]) -> Chain | None:
    """The chain with `reader` at its end, or None where an epilogue has no place for it."""
    if chain.bounds != UNBOUNDED:
        return None
    if isinstance(reader.op, ReLU):
        return replace(chain, bounds=(0.0, math.inf))
    if isinstance(reader.op, ReLU6):
        return replace(chain, bounds=(0.0, 6.0))
    if isinstance(reader.op, Clip):
        return replace(chain, bounds=(reader.op.x_min, reader.op.x_max))
    if not isinstance(reader.op, Add):
        return None
    first, second = reader.inputs
    other = second if first == chain.end else first
    if other.shape == chain.end.shape[-1:] and id(other.node) in fixed:
        if chain.bias is None and chain.residual is None:
            return replace(chain, bias=other)
        return None
    # The sum of two products belongs to the later one.
    later = position[id(other.node)] < position[id(chain.product)]
    same = other.shape == chain.end.shape and chain.entrance is None
    same = same and isinstance(chain.product.op, (Conv2D, Conv2DGradInput))
    return replace(chain, residual=other) if chain.residual is None and same and later else None


def _fused(chain: Chain, new: dict[Tensor, Tensor], algorithms: Algorithms) -> Tensor:
    """The op that does the whole chain."""
    x, kernel = (new.get(t, t) for t in chain.product.inputs)
    bias = chain.bias
    with scope_path(chain.product.layer):
        if bias is None:
            bias = constant(np.zeros(chain.end.shape[-1:], kernel.dtype))
        rest = [bias if chain.bias is None else new.get(bias, bias)]
        if chain.residual is not None:
            rest.append(new.get(chain.residual, chain.residual))
        if chain.entrance is not None:
            return _preactivated(chain.entrance, kernel, rest, chain.bounds, new)
        if isinstance(chain.product.op, MatMul):
            return _dense(x, kernel, rest, chain.bounds)
        if isinstance(chain.product.op, DepthwiseConv2D):
            return _depthwise(chain.product.op, x, kernel, rest, chain.bounds)
        if isinstance(chain.product.op, Conv2DGradInput):
            return packed_grad_input(chain.product.op, x, kernel, rest, chain.bounds)
        return _convolution(chain.product.op, x, kernel, rest, chain.bounds, algorithms)


def _preactivated(
    entrance: Entrance,
    kernel: Tensor,
    rest: list[Tensor],
    bounds: Bounds,
    new: dict[Tensor, Tensor],
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta as one factor and one shift."""
    x, gamma, beta, mean, variance = (new.get(t, t) for t in entrance.norm)
    scale = ops.multiply(gamma, ops.rsqrt(ops.add(variance, entrance.epsilon)))
    shift = ops.subtract(beta, ops.multiply(mean, scale))
    op = PreactivatedConv2D(filters=kernel.spec.sizes[3], enter=entrance.bounds, bounds=bounds)
    fused: Tensor = apply(op, x, apply(PackFilters(), kernel), *rest, scale, shift)
    return fused


def _dense(x: Tensor, kernel: Tensor, rest: list[Tensor], bounds: Bounds) -> Tensor:
    """A matrix product is a convolution of one pixel."""
    N, C = x.spec.sizes
    K = kernel.spec.sizes[1]
    filters = ops.reshape(kernel, (1, 1, C, K))
    op = PackedConv2D(taps=(1, 1), filters=K, bounds=bounds)
    y = apply(op, ops.reshape(x, (N, 1, 1, C)), apply(PackFilters(), filters), *rest)
    flat: Tensor = ops.reshape(y, (N, K))
    return flat


def _depthwise(
    op: DepthwiseConv2D, x: Tensor, kernel: Tensor, rest: list[Tensor], bounds: Bounds
) -> Tensor:
    fused: Tensor = apply(FusedDepthwiseConv2D(bounds=bounds, **op.siblings()), x, kernel, *rest)
    return fused


def packed_grad_input(
    op: Conv2DGradInput, dy: Tensor, kernel: Tensor, rest: Sequence[Tensor], bounds: Bounds
) -> Tensor:
    """A transposed convolution, or a gradient for the input, over filters packed for it."""
    R, S, C, _ = kernel.spec.sizes
    H, W = Spec(op.input_size).sizes
    siblings: dict[str, Any] = op.siblings()
    packed = PackedConv2DGradInput(
        input_size=(H, W),
        taps=(R, S),
        channels=C * op.groups,
        bounds=bounds,
        **siblings,
    )
    filters = PackExchangedFilters(op.groups, phase_steps(op.strides, op.dilations))
    dx: Tensor = apply(packed, dy, apply(filters, kernel), *rest)
    return dx


def _convolution(
    op: Any,
    x: Tensor,
    kernel: Tensor,
    rest: list[Tensor],
    bounds: Bounds,
    algorithms: Algorithms,
) -> Tensor:
    """Winograd's algorithm where it costs less; groups of few channels in lanes; the direct sum."""
    R, S, C, K = kernel.spec.sizes
    fused: Tensor
    same = x.shape[3] == K and op.strides in ((1, 1), (2, 2)) and op.dilations == (1, 1)
    if (R, S) == (3, 3) and C in FEW_CHANNELS and op.groups > 1 and same and len(rest) == 1:
        geometry = {k: v for k, v in op.siblings().items() if k != "groups"}
        fused = apply(FusedGroupedConv2D(bounds=bounds, **geometry), x, kernel, *rest)
        return fused
    tile = winograd_tile(op, x, kernel, algorithms)
    if tile:
        pads = op.pads(x.spec.sizes[1:3], (R, S))
        transformed = apply(WinogradFilters(tile), kernel)
        winograd = WinogradConv2D(pads=pads, filters=K, taps=R, tile=tile, bounds=bounds)
        fused = apply(winograd, x, transformed, *rest)
        return fused
    siblings = op.siblings()
    packed = apply(PackFilters(op.groups), kernel)
    fused = apply(PackedConv2D(taps=(R, S), filters=K, bounds=bounds, **siblings), x, packed, *rest)
    return fused


def winograd_tile(op: Conv2D, x: Tensor, kernel: Tensor, algorithms: Algorithms) -> int:
    """The tile m where an F(m x m, r x r) is allowed and the best; 0 for the direct sum.

    Costs are counted in multiply-adds of a number per channel in and out: those of the products and
    the transforms of all patches, or reading the filters once, whichever takes longer: filters are
    asked for while those before them are multiplied with.
    """
    R, S, C, K = kernel.spec.sizes
    if (
        (R, S) not in WINOGRAD_TAPS
        or op.strides != (1, 1)
        or op.dilations != (1, 1)
        or op.groups != 1
    ):
        return 0
    if C < LEAST_CHANNELS or K < 16 or algorithms.exact:
        return 0
    y = op.infer(x.spec, kernel.spec)
    N, P, Q, _ = y.sizes
    costs = {DIRECT: float(R * S * max(N * P * Q, _FILTER_READ))}
    for name, tile in WINOGRAD_TAPS[R, S].items():
        points = (tile + R - 1) ** 2
        costs[name] = max(winograd_products(tile, R, C, y), float(points * _FILTER_READ))
    chosen = algorithms.pick(convolution_shape((R, S), x.spec, y), costs)
    return WINOGRAD_TAPS[R, S].get(chosen, 0)


def winograd_products(tile: int, taps: int, channels: int, y: Spec) -> float:
    """Multiply-adds of F(tile x tile, taps x taps) and its transforms, per channel in and out."""
    return winograd_points(tile, taps, y) * (1 + 6 / channels + 4 / y.sizes[3])


# Channels that are worth transforming patches of.
LEAST_CHANNELS = 12
# By the taps of a convolution, the tiles that there are kernels for.
WINOGRAD_TAPS = {
    (3, 3): {WINOGRAD_4: 4, WINOGRAD_2: 2},
    (4, 4): {WINOGRAD_3: 3},
    (5, 5): {WINOGRAD_2: 2},
}
# Reading a number of the filters from memory costs as much as so many multiply-adds with it.
_FILTER_READ = 14
