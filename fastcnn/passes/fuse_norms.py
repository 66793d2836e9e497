# SPDX-License-Identifier: Apache-2.0
"""Batch normalization in a training step becomes one op with the sum and the ReLU behind it.

    batch_norm_train(x)  [+ residual]  [relu or relu6]

and so do the gradients of the ReLU and of the norm, of which the residual gets what arrives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Tensor, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds
from fastcnn.ops.elementwise_activations import ReLU, ReLU6
from fastcnn.ops.elementwise_binary import Add
from fastcnn.ops.elementwise_unary import gradient_op
from fastcnn.ops.norm_batch import BatchNormGrad, BatchNormTrain
from fastcnn.ops.norm_batch_fused import (
    FusedBatchNormGrad,
    FusedBatchNormSumGrad,
    FusedBatchNormTrain,
)
from fastcnn.passes.rewrite import carry_over
from fastcnn.records import dataclass

BOUNDS: dict[type, Bounds] = {ReLU: (0.0, math.inf), ReLU6: (0.0, 6.0)}
_GRADIENTS = tuple(gradient_op(op) for op in (ReLU, ReLU6))

Readers = dict[Tensor, list[Node | None]]


@dataclass(frozen=True)
class _Norm:
    """A batch norm and what follows it up to `end`."""

    node: Node
    end: Tensor
    residual: Tensor | None = None
    bounds: Bounds = UNBOUNDED


def fuse_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a training step with fused normalizations and their gradients.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
    """
    order = topological(tensors)
    readers = _readers(order, tensors)
    position = {id(node): i for i, node in enumerate(order)}
    norms = [
        _grow(node, readers, position) for node in order if isinstance(node.op, BatchNormTrain)
    ]
    ends = {norm.end: norm for norm in norms if norm is not None}
    gates = {gate.slope: gate for gate in _gates(order, ends, readers)}
    new: dict[Tensor, Tensor] = {}
    for node in order:
        inputs = [new.get(t, t) for t in node.inputs]
        norm = ends.get(node.outputs[0]) if node.outputs else None
        gate = gates.get(node)
        with scope_path(node.layer if gate is None else gate.gradient.layer):
            if norm is not None:
                new.update(_fused(norm, new))
            elif gate is not None:
                new.update(_fused_gradient(gate, new))
            elif node.outputs and node.outputs[0] in new:
                continue  # made where its gate stood
            else:
                carry_over(node, inputs, new)
    return [new.get(t, t) for t in tensors]


def _readers(order: Sequence[Node], tensors: Sequence[Tensor]) -> Readers:
    readers: Readers = {t: [None] for t in tensors}
    for node in order:
        for tensor in node.inputs:
            readers.setdefault(tensor, []).append(node)
    return readers


def _only_reader(tensor: Tensor, readers: Readers) -> Node | None:
    found = readers.get(tensor, [])
    return found[0] if len(found) == 1 else None


def _grow(node: Node, readers: Readers, position: dict[int, int]) -> _Norm | None:
    """The norm with the sum and the activation that alone read it; None where there is neither."""
    norm = _Norm(node, node.outputs[0])
    reader = _only_reader(norm.end, readers)
    if reader is not None and isinstance(reader.op, Add):
        first, second = reader.inputs
        other = second if first == norm.end else first
        if other.shape == norm.end.shape and other != norm.end:
            norm = _Norm(node, reader.outputs[0], other)
            reader = _only_reader(norm.end, readers)
    if reader is not None and type(reader.op) in BOUNDS:
        norm = _Norm(node, reader.outputs[0], norm.residual, BOUNDS[type(reader.op)])
    if norm.end == node.outputs[0]:
        return None
    # The statistics are made where the chain ends: nobody may want them before.
    end = position[id(norm.end.node)]
    early = (
        reader is None or position[id(reader)] < end
        for statistic in node.outputs[1:]
        for reader in readers.get(statistic, [])
    )
    return None if any(early) else norm


def _fused(norm: _Norm, new: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
    """What stands for the end of the chain and for the statistics."""
    op = norm.node.op
    assert isinstance(op, BatchNormTrain)
    inputs = [*norm.node.inputs, *([] if norm.residual is None else [norm.residual])]
    fused = FusedBatchNormTrain(epsilon=op.epsilon, bounds=norm.bounds)
    y, mean, variance, *_ = apply(fused, *(new.get(t, t) for t in inputs))
    _, old_mean, old_variance = norm.node.outputs
    return {norm.end: y, old_mean: mean, old_variance: variance}


@dataclass(frozen=True)
class _Gate:
    """The gradients of an activation and of the norm behind which it stood."""

    slope: Node
    gradient: Node
    norm: _Norm


def _gates(order: Sequence[Node], ends: dict[Tensor, _Norm], readers: Readers) -> list[_Gate]:
    found = (_gate(node, ends, readers) for node in order if isinstance(node.op, BatchNormGrad))
    return [gate for gate in found if gate is not None]


def _gate(node: Node, ends: dict[Tensor, _Norm], readers: Readers) -> _Gate | None:
    """Of a batch norm's gradient that reads the gradient of the activation behind it."""
    slope = node.inputs[0].node
    norm = ends.get(slope.inputs[1]) if isinstance(slope.op, _GRADIENTS) else None
    if norm is None or norm.node.outputs[1] != node.inputs[3]:
        return None
    if norm.residual is None and _only_reader(node.inputs[0], readers) is not node:
        return None
    return _Gate(slope, node, norm)


def _fused_gradient(gate: _Gate, new: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
    """What stands for both gradients; it is made where the first of them stood."""
    op, beta = gate.norm.node.op, gate.norm.node.inputs[2]
    assert isinstance(op, BatchNormTrain)
    dy, y = gate.slope.inputs
    plain = gate.norm.residual is None
    kind = FusedBatchNormGrad if plain else FusedBatchNormSumGrad
    inputs = [dy, *gate.gradient.inputs[1:], beta if plain else y]
    made = apply(
        kind(epsilon=op.epsilon, bounds=gate.norm.bounds), *(new.get(t, t) for t in inputs)
    )
    outputs = [*gate.gradient.outputs, *gate.slope.outputs]
    return dict(zip(outputs, made, strict=False))
