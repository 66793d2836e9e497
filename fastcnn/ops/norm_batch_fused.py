# SPDX-License-Identifier: Apache-2.0
"""Batch normalization in a training step with what follows it, in as few passes as there can be.

    y = min(max(batch_norm(x) + residual, lower), upper)

Its gradient recomputes the normalized values from x to know where the bounds held, so nothing but x
is read besides dy. y itself, which the next convolution's gradient reads, can be made once more of
x by the scale and offset of each channel. These ops are what `passes.fuse_norms` puts in the place
of a `BatchNormTrain`, a sum and an activation, and of their gradients; they have no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.graph import Array, Op, Spec
from fastcnn.ops._apply import require_float
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds
from fastcnn.ops.norm_batch import BatchNormGrad, BatchNormTrain, other_axes, require_shape
from fastcnn.records import dataclass


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormTrain(Op):
    """(x, gamma, beta[, residual][, moments]) -> (y, mean, variance, scale, offset) of this batch.

    y = (x - mean) scale + offset + residual within the bounds: scale is gamma over the deviation,
    and offset is beta, less what rounding has taken from the mean.

    Attributes:
        epsilon: added to the variance.
        bounds: smallest and largest y.
        block: pixels that each row of moments (blocks, 2, C) stands for: the convolution that made
            x has summed them up; 0 where nobody has.
    """

    epsilon: float = 1e-3
    bounds: Bounds = UNBOUNDED
    block: int = 0
    name: ClassVar[str] = "fused_batch_norm_train"
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """y may lie in a join."""
        return index == 0

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Shape of x, then (C,) four times."""
        x, *rest = inputs
        if self.block:
            *rest, moments = rest
            blocks = -(-math.prod(x.sizes[:-1]) // self.block)
            require_shape(moments, (blocks, 2, x.shape[-1]), "the array of moments")
        if len(rest) > 2:
            require_shape(rest[2], x.shape, "the residual")
        y, mean, variance = BatchNormTrain(self.epsilon).infer(*inputs[:3])
        return y, mean, variance, mean, mean

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """The three steps."""
        x, gamma, beta, *residual = inputs
        if self.block:
            *residual, moments = residual
            mean, variance = _merged(moments, self.block, x.size // x.shape[-1])
        else:
            mean, variance = x.mean(axis=other_axes(x)), x.var(axis=other_axes(x))
        scale = gamma / np.sqrt(variance + self.epsilon)
        y = ((x - mean) * scale + beta).astype(x.dtype)
        return _within(self.bounds, y, residual), mean, variance, scale, beta

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        lower, upper = self.bounds
        return {"epsilon": self.epsilon, "lower": lower, "upper": upper, "block": self.block}


def _merged(moments: Array, block: int, pixels: int) -> tuple[Array, Array]:
    """Mean and variance (C,) of all blocks (blocks, 2, C), of which the last may be smaller."""
    counts = np.full((len(moments), 1), block, moments.dtype)
    counts[-1] = pixels - (len(moments) - 1) * block
    means, m2 = moments[:, 0], moments[:, 1]
    mean = (counts * means).sum(0) / pixels
    return mean, (m2 + counts * (means - mean) ** 2).sum(0) / pixels


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormAgain(Op):
    """(x, mean, scale, offset[, residual]) -> y of FusedBatchNormTrain, to the last bit.

    Attributes:
        bounds: smallest and largest y.
    """

    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_batch_norm_again"
    inplace: ClassVar[dict[int, int]] = {0: 0}
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """y may lie in a join."""
        return True

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of x."""
        require_float(*inputs)
        x = inputs[0]
        for vector, what in zip(inputs[1:4], ("mean", "scale", "offset"), strict=True):
            require_shape(vector, (x.shape[-1],), what)
        if len(inputs) > 4:
            require_shape(inputs[4], x.shape, "the residual")
        return x

    def reference(self, *inputs: Array) -> Array:
        """The formula."""
        x, mean, scale, offset, *residual = inputs
        return _within(self.bounds, (x - mean) * scale + offset, residual)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        return {"lower": self.bounds[0], "upper": self.bounds[1]}


def _within(bounds: Bounds, y: Array, residual: Sequence[Array]) -> Array:
    for summand in residual:
        y = y + summand
    lower, upper = (y.dtype.type(bound) for bound in bounds)
    bounded: Array = np.minimum(np.maximum(y, lower), upper)
    return bounded


def _arrived(bounds: Bounds, dy: Array, y: Array) -> Array:
    """dy where y lies between the bounds, else 0."""
    return np.where((y > bounds[0]) & (y < bounds[1]), dy, dy.dtype.type(0))


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormGrad(Op):
    """(dy, x, gamma, mean, variance, beta[, other]) -> (dx, dgamma, dbeta) without a residual.

    `other` is a gradient of x that came another way; dx is the sum of both.

    Attributes:
        epsilon: added to the variance.
        bounds: dy counts where the normalized values lie between these.
    """

    epsilon: float = 1e-3
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_batch_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0, 1, 6})

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (C,) twice."""
        require_float(*inputs)
        if len(inputs) > 6:
            require_shape(inputs[6], inputs[1].shape, "the other gradient")
        return BatchNormGrad(self.epsilon).infer(*inputs[:5])

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """dy where the bounds did not hold, then the gradient of batch normalization."""
        dy, x, gamma, mean, variance, beta, *other = inputs
        y = (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta
        arrived = _arrived(self.bounds, dy, y)
        norm = BatchNormGrad(self.epsilon)
        dx, dgamma, dbeta = norm.reference(arrived, x, gamma, mean, variance)
        return sum(other, dx), dgamma, dbeta

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        return {"epsilon": self.epsilon, "lower": self.bounds[0], "upper": self.bounds[1]}


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormSumGrad(Op):
    """(dy, x, gamma, mean, variance, y) -> (dx, dgamma, dbeta, arrived) with a residual.

    y is the bounded sum of the normalized values and the residual, whose gradient is `arrived`: dy
    where the bounds did not hold.

    Attributes:
        epsilon: added to the variance.
        bounds: dy counts where y lies between these.
    """

    epsilon: float = 1e-3
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_batch_norm_sum_grad"
    inplace: ClassVar[dict[int, int]] = {0: 1, 3: 0}
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0, 1, 5})

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec, Spec]:
        """Shape of x, then (C,) twice, then the shape of dy."""
        require_float(*inputs)
        require_shape(inputs[5], inputs[1].shape, "y")
        return *BatchNormGrad(self.epsilon).infer(*inputs[:5]), inputs[0]

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array, Array]:
        """dy where the bounds did not hold, then the gradient of batch normalization."""
        dy, x, gamma, mean, variance, y = inputs
        arrived = _arrived(self.bounds, dy, y)
        return *BatchNormGrad(self.epsilon).reference(arrived, x, gamma, mean, variance), arrived

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        return {"epsilon": self.epsilon, "lower": self.bounds[0], "upper": self.bounds[1]}


OPS: tuple[type[Op], ...] = (
    FusedBatchNormTrain,
    FusedBatchNormAgain,
    FusedBatchNormGrad,
    FusedBatchNormSumGrad,
)
