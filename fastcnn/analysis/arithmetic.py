# SPDX-License-Identifier: Apache-2.0
"""The counting of a layer written out: `16 × 3 × 3 × 3 + 16 = 448`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastcnn import arguments, passes
from fastcnn.drawing import Trace, tracing
from fastcnn.errors import ArgumentError
from fastcnn.graph import Node, Parameter, Tensor, placeholder, topological
from fastcnn.layers.base import Layer
from fastcnn.layers.conv import Conv1D, Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D
from fastcnn.layers.core import Dense
from fastcnn.layers.input import InputLayer
from fastcnn.ops.conv import Conv2D as Conv2DOp
from fastcnn.ops.conv import Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D as DepthwiseConv2DOp
from fastcnn.ops.dense import MatMul
from fastcnn.ops.shape import Reshape
from fastcnn.structure import flatten


def explain_count(
    layer: Layer, what: str = "params", buffers: bool = False, input_shape: Any = None
) -> str:
    """Write out how the parameters or the multiply-accumulates of a layer are counted.

    Filters come first: `16 × 3 × 3 × 3 + 16 = 448` are 16 filters of 3 × 3 over 3 channels, and
    16 biases. A Dense layer behind a Flatten shows the maps that were flattened. A model, or a
    layer made of layers, shows each of them in parentheses.

    Args:
        layer: a layer or a model whose weights are there.
        what: "params", or "macs" for one sample: taps, channels, filters, output positions.
        buffers: with running statistics, as `count_params(buffers=True)`.
        input_shape: shape of one sample for "macs"; as the layer was first called when None.

    Raises:
        ArgumentError: the layer is not built, or its input's size is not known.
    """
    arguments.one_of("explain_count", "what", what, ("params", "macs"))
    if what == "macs":
        parts = _macs(layer, input_shape)
        total = sum(_value(product) for part in parts for product in part)
        return _sentence([" + ".join(part) for part in parts], total)
    total = layer.count_params(buffers)
    if not layer.built and not total:
        raise ArgumentError(
            f"layer '{layer.name}' is not built; call it on a tensor first, so that it has weights"
        )
    return _sentence(_params(layer, buffers, set()), total)


def _sentence(parts: Sequence[str], total: int) -> str:
    if len(parts) > 1:
        parts = [f"({p})" if "+" in p or "×" in p else p for p in parts]
    left = " + ".join(parts) or "0"
    return left if left == f"{total}" else f"{left} = {total:,}"


def _value(product: str) -> int:
    """The number of `a × b × ... / c`; parentheses hold quotients without remainder."""
    value = 1
    for factor in product.split(" × "):
        above, _, below = factor.strip("()").partition(" / ")
        value *= int(above) // int(below or 1)
    return value


# --- parameters ----------------------------------------------------------------------------------


def _params(layer: Layer, buffers: bool, seen: set[int]) -> list[str]:
    """A sum for every layer inside, the layer's own weights first; shared weights once."""
    own = [p for p in layer._weights if id(p) not in seen and (p.trainable or buffers)]
    seen.update(id(p) for p in own)
    parts = [" + ".join(" × ".join(_factors(layer, p)) for p in own)] if own else []
    for inner in layer.sublayers:
        parts += _params(inner, buffers, seen)
    return parts


def _factors(layer: Layer, parameter: Parameter) -> list[str]:
    shape = [str(d) for d in parameter.shape]
    name = parameter.name
    if isinstance(layer, (Conv2D, Conv1D)) and name == "kernel":
        *taps, channels, filters = shape
        if layer.groups > 1:
            channels = f"({int(channels) * layer.groups} / {layer.groups})"
        return [filters, *taps, channels]
    if isinstance(layer, Conv2DTranspose) and name == "kernel":
        *taps, filters, channels = shape
        return [filters, *taps, channels]
    if isinstance(layer, SeparableConv2D) and name == "pointwise_kernel":
        *taps, channels, filters = shape
        return [filters, *taps, channels]
    if isinstance(layer, (DepthwiseConv2D, SeparableConv2D)) and len(shape) == 4:
        return shape[:-1] if shape[-1] == "1" else shape
    if isinstance(layer, Dense) and name == "kernel":
        return [*_flattened(layer, int(shape[0])), shape[1]]
    return shape or ["1"]


def _flattened(layer: Layer, size: int) -> list[str]:
    """Sizes of the maps that were flattened into the layer's input, or its size."""
    for call in layer._calls[:1]:
        tensor = call.flat_inputs[0]
        while isinstance(tensor.node.op, Reshape):
            tensor = tensor.node.inputs[0]
            sizes = tensor.shape[1:]
            if len(sizes) > 1 and None not in sizes and math.prod(sizes) == size:  # type: ignore[arg-type]
                return [str(d) for d in sizes]
    return [str(size)]


# --- multiply-accumulates ------------------------------------------------------------------------


def _macs(layer: Layer, input_shape: Any) -> list[list[str]]:
    """Products of every layer inside that multiplies."""
    if isinstance(layer, InputLayer):
        return []
    with tracing(Trace()):
        outputs = flatten(layer(*_inputs(layer, input_shape)))
    fixed = passes.fixed_nodes(outputs)
    found: dict[str, list[str]] = {}
    for node in topological(outputs):
        if id(node) not in fixed and node.inputs:
            factors = _mac_factors(node)
            if factors:
                found.setdefault(node.layer, []).append(" × ".join(map(str, factors)))
    return list(found.values())


def _inputs(layer: Layer, input_shape: Any) -> list[Any]:
    if input_shape is None:
        given = getattr(layer, "inputs", None) or [
            t for c in layer._calls[:1] for t in c.flat_inputs
        ]
        shapes: list[Any] = [t.shape[1:] for t in given]
    else:
        shapes = [input_shape] if isinstance(input_shape[0], int) else list(input_shape)
    if not shapes or any(d is None for shape in shapes for d in shape):
        raise ArgumentError(
            f"layer '{layer.name}' was not called on an input of known size; pass "
            "input_shape=(H, W, C)"
        )
    leaves = [placeholder((1, *shape), layer.dtype) for shape in shapes]
    return [leaves[0] if len(leaves) == 1 else leaves]


def _mac_factors(node: Node) -> list[Any]:
    if not node.op.macs(*(t.spec for t in node.inputs)):
        return []
    out: Tensor = node.outputs[0]
    sizes = out.spec.sizes[1:]
    if isinstance(node.op, MatMul):
        inner = node.inputs[0].spec.sizes[-2 if node.op.transpose_a else -1]
        return [*sizes[:-1], inner, sizes[-1]]
    kernel = node.inputs[1].spec.sizes
    if isinstance(node.op, Conv2DGradInput):  # as many as the convolution it undoes
        positions = node.inputs[0].spec.sizes[1:3]
        return [*kernel[:2], kernel[3], kernel[2], *positions]
    if isinstance(node.op, DepthwiseConv2DOp):
        multiplier = [] if kernel[3] == 1 else [kernel[3]]
        return [*kernel[:3], *multiplier, *sizes[:2]]
    if isinstance(node.op, Conv2DOp):
        groups = node.op.groups
        channels = f"({kernel[2] * groups} / {groups})" if groups > 1 else kernel[2]
        return [*kernel[:2], channels, kernel[3], *sizes[:2]]
    return [node.op.macs(*(t.spec for t in node.inputs))]
