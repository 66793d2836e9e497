# SPDX-License-Identifier: Apache-2.0
"""Batch normalization in a training step with what follows it, in as few passes as there can be.

    y = min(max(batch_norm(x) + residual, lower), upper)

Its gradient recomputes the normalized values from x to know where the bounds held, so nothing but x
is read besides dy. y itself, which the next convolution's gradient reads, can be made once more of
x by the scale and offset of each channel. These ops are what `passes.fuse_norms` puts in the place
of a `BatchNormTrain`, a sum and an activation, and of their gradients; they have no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from fastcnn.graph import Array, Op, Spec
from fastcnn.ops._apply import require_float
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds
from fastcnn.ops.norm_batch import BatchNormGrad, BatchNormTrain, require_shape


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormTrain(Op):
    """(x, gamma, beta[, residual]) -> (y, mean, variance, scale, offset), statistics of this batch.

    y = (x - mean) scale + offset + residual within the bounds: scale is gamma over the deviation,
    and offset is beta, less what rounding has taken from the mean.

    Attributes:
        epsilon: added to the variance.
        bounds: smallest and largest y.
    """

    epsilon: float = 1e-3
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_batch_norm_train"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Shape of x, then (C,) four times."""
        if len(inputs) > 3:
            require_shape(inputs[3], inputs[0].shape, "the residual")
        y, mean, variance = BatchNormTrain(self.epsilon).infer(*inputs[:3])
        return y, mean, variance, mean, mean

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """The three steps."""
        y, mean, variance = BatchNormTrain(self.epsilon).reference(*inputs[:3])
        _, gamma, beta, *residual = inputs
        scale = gamma / np.sqrt(variance + self.epsilon)
        return _within(self.bounds, y, residual), mean, variance, scale, beta

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        return {"epsilon": self.epsilon, "lower": self.bounds[0], "upper": self.bounds[1]}


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


@final
@dataclass(frozen=True, kw_only=True)
class FusedBatchNormGrad(Op):
    """(dy, x, gamma, mean, variance, beta) -> (dx, dgamma, dbeta) without a residual.

    Attributes:
        epsilon: added to the variance.
        bounds: dy counts where the normalized values lie between these.
    """

    epsilon: float = 1e-3
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_batch_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (C,) twice."""
        require_float(*inputs)
        return BatchNormGrad(self.epsilon).infer(*inputs[:5])

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """dy where the bounds did not hold, then the gradient of batch normalization."""
        dy, x, gamma, mean, variance, beta = inputs
        y = (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta
        open_ = (y > self.bounds[0]) & (y < self.bounds[1])
        arrived = np.where(open_, dy, dy.dtype.type(0))
        return BatchNormGrad(self.epsilon).reference(arrived, x, gamma, mean, variance)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Numbers."""
        return {"epsilon": self.epsilon, "lower": self.bounds[0], "upper": self.bounds[1]}


OPS: tuple[type[Op], ...] = (FusedBatchNormTrain, FusedBatchNormAgain, FusedBatchNormGrad)
