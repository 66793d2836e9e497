# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation: every channel (the last axis) over all others.

Source: S. Ioffe and C. Szegedy, "Batch Normalization", arXiv:1502.03167.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, NotDifferentiableError, ShapeError
from fastcnn.graph import Array, Node, Op, Shape, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.records import dataclass


def require_epsilon(epsilon: float) -> None:
    """ArgumentError unless epsilon is positive and finite."""
    if not 0.0 < epsilon < float("inf"):
        raise ArgumentError(f"epsilon is {epsilon}, expected a positive number; try epsilon=1e-3")


def require_shape(spec: Spec, shape: Shape, what: str) -> None:
    """ShapeError unless `spec` has `shape`; dimensions of None on either side match anything."""
    fits = spec.rank == len(shape) and all(
        a is None or b is None or a == b for a, b in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{what} has shape {spec.shape}, expected {shape}; give one value for each of these"
        )


def require_values(x: Spec, least_rank: int, layout: str) -> None:
    """ShapeError unless x has enough dimensions and none of them is empty."""
    if x.rank < least_rank:
        raise ShapeError(
            f"the input has shape {x.shape} of rank {x.rank}, expected at least {least_rank} "
            f"dimensions {layout}; reshape it or add the missing axis"
        )
    if 0 in x.shape:
        raise ShapeError(
            f"the input has shape {x.shape} without any values, expected sizes of at least 1; "
            "statistics of nothing do not exist, give at least one sample"
        )


def no_gradient_through(node: Node, dys: Sequence[Tensor | None]) -> None:
    """NotDifferentiableError when a gradient arrives at a by-product: any output but the first."""
    if any(dy is not None for dy in dys[1:]):
        raise NotDifferentiableError(
            f"{node.op.name} has no gradient through its statistics (outputs 1 and 2); "
            "differentiate through output 0, or compute them with ops.mean"
        )


def channel_specs(x: Spec) -> tuple[int | None, Spec]:
    """Channels of x, and the spec of one value per channel."""
    channels = x.shape[-1]
    return channels, x.with_shape(channels)


def other_axes(x: Array) -> tuple[int, ...]:
    """All axes but the last."""
    return tuple(range(x.ndim - 1))


@final
@dataclass(frozen=True)
class BatchNormTrain(Op):
    """(x, gamma, beta) -> (y, mean, variance) with the statistics of this batch.

    y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over all axes but the last; the
    variance is the biased one. Mean and variance carry no gradient of their own.
    """

    epsilon: float = 1e-3
    name: ClassVar[str] = "batch_norm_train"
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """y may lie in a join."""
        return index == 0

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (C,) twice."""
        x, gamma, beta = inputs
        require_float(*inputs)
        require_epsilon(self.epsilon)
        require_values(x, 2, "(N, ..., C)")
        channels, vector = channel_specs(x)
        require_shape(gamma, (channels,), "gamma")
        require_shape(beta, (channels,), "beta")
        return x, vector, vector

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """Two passes: mean, then variance."""
        x, gamma, beta = inputs
        mean, variance = x.mean(axis=other_axes(x)), x.var(axis=other_axes(x))
        y = (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta
        return y.astype(x.dtype), mean, variance

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dx, dgamma and dbeta at once."""
        no_gradient_through(node, dys)
        x, gamma, _ = node.inputs
        _, mean, variance = node.outputs
        return apply(BatchNormGrad(self.epsilon), dys[0], x, gamma, mean, variance)  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class BatchNormGrad(Op):
    """(dy, x, gamma, mean, variance) -> (dx, dgamma, dbeta) of BatchNormTrain."""

    epsilon: float = 1e-3
    name: ClassVar[str] = "batch_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0, 1})

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (C,) twice."""
        require_float(*inputs)
        _, vector = channel_specs(inputs[1])
        return inputs[1], vector, vector

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """What dy does directly, less what it does through mean and variance."""
        dy, x, gamma, mean, variance = inputs
        axes = other_axes(x)
        rstd = 1 / np.sqrt(variance + self.epsilon)
        hat = (x - mean) * rstd
        dgamma, dbeta = (dy * hat).sum(axis=axes), dy.sum(axis=axes)
        count = x.size // x.shape[-1]
        dx = gamma * rstd * (dy - dbeta / count - hat * (dgamma / count))
        return dx.astype(x.dtype), dgamma, dbeta


@final
@dataclass(frozen=True)
class BatchNormInference(Op):
    """(x, gamma, beta, mean, variance) -> y with given statistics, each of shape (C,)."""

    epsilon: float = 1e-3
    name: ClassVar[str] = "batch_norm_inference"
    image_by_image: ClassVar[bool] = True
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of x."""
        x = inputs[0]
        require_float(*inputs)
        require_epsilon(self.epsilon)
        if x.rank < 1:
            raise ShapeError("the input is a number, expected (..., C); add the channel axis")
        for vector, what in zip(inputs[1:], ("gamma", "beta", "mean", "variance"), strict=True):
            require_shape(vector, (x.shape[-1],), what)
        return x

    def reference(self, *inputs: Array) -> Array:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta."""
        x, gamma, beta, mean, variance = inputs
        y = (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta
        return y.astype(x.dtype)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Of x, gamma, beta, mean and variance."""
        x, gamma, _, mean, variance = node.inputs
        return apply(  # type: ignore[no-any-return]
            BatchNormInferenceGrad(self.epsilon), dys[0], x, gamma, mean, variance
        )


@final
@dataclass(frozen=True)
class BatchNormInferenceGrad(Op):
    """(dy, x, gamma, mean, variance) -> (dx, dgamma, dbeta, dmean, dvariance)."""

    epsilon: float = 1e-3
    name: ClassVar[str] = "batch_norm_inference_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Shape of x, then (C,) four times."""
        require_float(*inputs)
        _, vector = channel_specs(inputs[1])
        return inputs[1], vector, vector, vector, vector

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """The derivative of an affine map with a square root in its slope."""
        dy, x, gamma, mean, variance = inputs
        axes = other_axes(x)
        rstd = 1 / np.sqrt(variance + self.epsilon)
        dgamma, dbeta = (dy * (x - mean)).sum(axis=axes) * rstd, dy.sum(axis=axes)
        dx = (dy * (gamma * rstd)).astype(x.dtype)
        return dx, dgamma, dbeta, -gamma * rstd * dbeta, -0.5 * gamma * rstd**2 * dgamma


OPS: tuple[type[Op], ...] = (
    BatchNormTrain,
    BatchNormGrad,
    BatchNormInference,
    BatchNormInferenceGrad,
)
