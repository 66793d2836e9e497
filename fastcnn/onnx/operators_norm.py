# SPDX-License-Identifier: Apache-2.0
"""Normalisation: with constant scale and shift a layer, else the bare op."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.graph import Array
from fastcnn.layers import BatchNormalization, LocalResponseNormalization
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator, only
from fastcnn.onnx.value import Value, channels_last


def batch_normalization(call: Call) -> Value:
    """BatchNormalization by running statistics; a scale and shift per channel behind it join it."""
    x = call.floats(0)
    order = channels_last(x.rank)
    tensor = call.arranged(x, order)
    epsilon = call.attribute("epsilon", 1e-5)
    if all(call.is_constant(i) for i in range(1, 5)):
        gamma, beta, mean, variance = (call.array(i) for i in range(1, 5))
        gamma, beta = _with_followers(call, gamma, beta, x.rank)
        weights = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
        momentum = call.attribute("momentum", 0.9)
        y = call.layer(BatchNormalization, tensor, weights, epsilon=epsilon, momentum=momentum)
        return Value(y, order)
    gamma, beta, mean, variance = (call.floats(i).natural() for i in range(1, 5))
    y = ops.batch_normalization(tensor, mean, variance, -1, beta, gamma, epsilon)
    return Value(y, order)


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


OPERATORS = {
    "BatchNormalization": Operator(
        batch_normalization, "epsilon momentum spatial training_mode", only("spatial", 1), since=7
    ),
    "LRN": Operator(lrn, "alpha beta bias size"),
}
