# SPDX-License-Identifier: Apache-2.0
"""Normalisation: with constant scale and shift a layer, else the bare op."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.graph import Array
from fastcnn.layers import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    LocalResponseNormalization,
)
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator, only
from fastcnn.onnx.proto import NodeView
from fastcnn.onnx.value import Value, channels_last, natural
from fastcnn.ops._apply import apply
from fastcnn.ops.norm_group import LayerNorm


def batch_normalization(call: Call) -> Value | list[Value]:
    """BatchNormalization by running statistics; a scale and shift per channel behind it join it."""
    x = call.floats(0)
    order = channels_last(x.rank)
    tensor = call.arranged(x, order)
    epsilon = call.attribute("epsilon", 1e-5)
    if call.attribute("training_mode", 0):
        return _batch_statistics(call, tensor, epsilon)
    if all(call.is_constant(i) for i in range(1, 5)):
        gamma, beta = _with_followers(call, call.array(1), call.array(2), x.rank)
        weights = {
            "gamma": gamma,
            "beta": beta,
            "moving_mean": call.array(3),
            "moving_variance": call.array(4),
        }
        momentum = call.attribute("momentum", 0.9)
        y = call.layer(BatchNormalization, tensor, weights, epsilon=epsilon, momentum=momentum)
        return Value(y, order)
    scale, offset, mean, variance = (call.floats(i).natural() for i in range(1, 5))
    y = ops.batch_normalization(tensor, mean, variance, -1, offset, scale, epsilon)
    return Value(y, order)


def _batch_statistics(call: Call, tensor: Any, epsilon: float) -> list[Value]:
    """Training: by the batch's own statistics, which move the running ones."""
    gamma, beta, mean, variance = (call.floats(i).natural() for i in range(1, 5))
    y, batch_mean, batch_variance = ops.batch_norm(tensor, gamma, beta, epsilon)
    keep = call.attribute("momentum", 0.9)
    moved = [
        ops.add(ops.multiply(old, keep), ops.multiply(new, 1 - keep))
        for old, new in ((mean, batch_mean), (variance, batch_variance))
    ]
    return [Value(y, channels_last(tensor.ndim)), *(Value(m, (0,)) for m in moved)]


def _with_followers(call: Call, gamma: Array, beta: Array, rank: int) -> tuple[Array, Array]:
    """gamma and beta with Caffe's Scale layer behind, a Mul and an Add per channel, in them."""

    def fits(array: Array) -> bool:
        full = (1,) * (rank - array.ndim) + array.shape
        ones = tuple(d for i, d in enumerate(full) if i != 1)
        return len(full) == rank > 1 and full[1] == gamma.size and set(ones) <= {1}

    scale = call.absorb("Mul", fits)
    if scale is not None:
        gamma, beta = gamma * scale.reshape(-1), beta * scale.reshape(-1)
    shift = call.absorb("Add", fits)
    return gamma, beta if shift is None else beta + shift.reshape(-1)


def lrn(call: Call) -> Value:
    """LRN over neighbouring channels."""
    x = call.floats(0)
    order = channels_last(x.rank)
    y = call.layer(
        LocalResponseNormalization,
        call.arranged(x, order),
        size=call.attribute("size"),
        alpha=call.attribute("alpha", 1e-4),
        beta=call.attribute("beta", 0.75),
        k=call.attribute("bias", 1.0),
    )
    return Value(y, order)


def _inference(node: NodeView, constants: dict[str, Array]) -> str:
    """What is said of statistics per pixel, and of training in operator set 6."""
    if node.attributes.get("spatial", 1) != 1:
        return "spatial=0"
    is_old_training = node.attributes.get("is_test") == 0 and len(node.outputs) > 1
    return "is_test=0" if is_old_training else ""


def _channel_weights(call: Call) -> dict[str, Any] | None:
    """Scale and shift where both are known now."""
    if not (call.is_constant(1) and call.is_constant(2)):
        return None
    return {"gamma": call.array(1), "beta": call.array(2)}


def instance_normalization(call: Call) -> Value:
    """InstanceNormalization: every channel of every sample on its own."""
    return _group_normalization(call, -1)


def group_normalization(call: Call) -> Value:
    """GroupNormalization; before operator set 21 with one scale and shift per group."""
    return _group_normalization(call, call.attribute("num_groups"))


def _group_normalization(call: Call, groups: int) -> Value:
    x = call.floats(0)
    order = channels_last(x.rank)
    tensor = call.arranged(x, order)
    epsilon = call.attribute("epsilon", 1e-5)
    (channels,) = call.known(tensor.shape[-1:])
    weights = _channel_weights(call)
    if weights is not None:
        wide = {n: np.repeat(a, channels // a.size) for n, a in weights.items()}
        y = call.layer(GroupNormalization, tensor, wide, groups=groups, epsilon=epsilon)
        return Value(y, order)
    gamma, beta = (_repeated(call.floats(i).natural(), channels) for i in (1, 2))
    y = ops.group_norm(tensor, gamma, beta, channels if groups == -1 else groups, epsilon)
    return Value(y, order)


def _repeated(weight: Any, channels: int) -> Any:
    """One number per group as one per channel."""
    (groups,) = weight.shape
    if groups == channels:
        return weight
    wide = ops.broadcast_to(ops.expand_dims(weight, 1), (groups, channels // groups))
    return ops.reshape(wide, (channels,))


def layer_normalization(call: Call) -> list[Value | None]:
    """LayerNormalization over the last axes, with mean and 1 / deviation where they are wanted."""
    x = call.floats(0)
    axis = call.attribute("axis", -1) % x.rank
    tensor, order = x.natural(), natural(x.rank)
    epsilon = call.attribute("epsilon", 1e-5)
    axes = tuple(range(axis, x.rank))
    sizes = tensor.shape[axis:]
    known = call.is_constant(1) and (call.is_constant(2) or not call.has(2))
    if known and not call.wants(1) and not call.wants(2) and call.array(1).shape == sizes:
        weights = {"gamma": call.array(1)}
        if call.has(2):
            weights["beta"] = call.array(2)
        negative = tuple(a - x.rank for a in axes)
        y = call.layer(
            LayerNormalization,
            tensor,
            weights,
            axis=negative if len(negative) > 1 else -1,
            epsilon=epsilon,
            center=call.has(2),
        )
        return [Value(y, order)]
    shape = call.known(sizes)
    ones, zeros = np.ones(shape, call.drawing.dtype), np.zeros(shape, call.drawing.dtype)
    y, mean, deviation = apply(LayerNorm(len(axes), epsilon), tensor, ones, zeros)
    y = ops.multiply(y, call.floats(1).natural())
    if call.has(2):
        y = ops.add(y, call.floats(2).natural())
    kept = (*tensor.shape[:axis], *(1 for _ in axes))
    rows = tuple(-1 if d is None else d for d in kept)
    return [Value(y, order), *(Value(ops.reshape(s, rows), order) for s in (mean, deviation))]


def rms_normalization(call: Call) -> Value:
    """RMSNormalization: x / sqrt(mean of x^2 + epsilon) * scale over the last axes."""
    x = call.floats(0)
    tensor = x.natural()
    axes = tuple(range(call.attribute("axis", -1) % x.rank, x.rank))
    level = ops.mean(ops.square(tensor), axes, keepdims=True)
    hat = ops.multiply(tensor, ops.rsqrt(ops.add(level, call.attribute("epsilon", 1e-5))))
    return Value(ops.multiply(hat, call.floats(1).natural()), natural(x.rank))


def mean_variance_normalization(call: Call) -> Value:
    """MeanVarianceNormalization: (x - mean) / (deviation + 1e-9) over axes."""
    x = call.floats(0).settled()
    axes = tuple(x.axis(a) for a in call.attribute("axes", [0, 2, 3]))
    centred = ops.subtract(x.tensor, ops.mean(x.tensor, axes, keepdims=True))
    deviation = ops.sqrt(ops.mean(ops.square(centred), axes, keepdims=True))
    return x.with_tensor(ops.divide(centred, ops.add(deviation, 1e-9)))


def lp_normalization(call: Call) -> Value:
    """LpNormalization: x by its 1- or 2-norm along an axis; where that is 0, 0."""
    x = call.floats(0).settled()
    axis = x.axis(call.attribute("axis", -1))
    if call.attribute("p", 2) == 1:
        norm = ops.sum(ops.abs(x.tensor), axis, keepdims=True)
    else:
        norm = ops.sqrt(ops.sum(ops.square(x.tensor), axis, keepdims=True))
    safe = ops.where(ops.equal(norm, 0.0), 1.0, norm)
    return x.with_tensor(ops.divide(x.tensor, safe))


OPERATORS = {
    "GroupNormalization": Operator(group_normalization, "epsilon num_groups stash_type"),
    "InstanceNormalization": Operator(instance_normalization, "epsilon", since=6),
    "LayerNormalization": Operator(layer_normalization, "axis epsilon stash_type"),
    "LpNormalization": Operator(lp_normalization, "axis p", only("p", 2, 1)),
    "MeanVarianceNormalization": Operator(mean_variance_normalization, "axes"),
    "RMSNormalization": Operator(rms_normalization, "axis epsilon stash_type"),
    "BatchNormalization": Operator(
        batch_normalization, "epsilon is_test momentum spatial training_mode", _inference
    ),
    "LRN": Operator(lrn, "alpha beta bias size"),
}
