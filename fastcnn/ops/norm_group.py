# SPDX-License-Identifier: Apache-2.0
"""Normalisation within one sample: group norm and layer norm.

Sources: Y. Wu and K. He, "Group Normalization", arXiv:1803.08494; J. L. Ba, J. R. Kiros and
G. E. Hinton, "Layer Normalization", arXiv:1607.06450.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.geometry import divisors
from fastcnn.ops.norm_batch import (
    channel_specs,
    no_gradient_through,
    other_axes,
    require_epsilon,
    require_shape,
    require_values,
)
from fastcnn.records import dataclass


def grouped(x: Array, groups: int) -> Array:
    """(N, ..., C) as (N, rows, G, C/G)."""
    return x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)


@final
@dataclass(frozen=True)
class GroupNorm(Op):
    """(x, gamma, beta) -> (y, mean, rstd): each sample and group of neighbouring channels.

    x is (N, ..., C), gamma and beta (C,), mean and rstd = 1 / sqrt(variance + epsilon) (N, G).
    groups=C is instance norm, groups=1 layer norm over everything but the batch.
    """

    groups: int
    epsilon: float = 1e-3
    name: ClassVar[str] = "group_norm"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (N, G) twice."""
        x, gamma, beta = inputs
        require_float(*inputs)
        require_epsilon(self.epsilon)
        require_values(x, 2, "(N, ..., C)")
        channels = x.shape[-1]
        if self.groups < 1 or (channels is not None and channels % self.groups):
            choices = [1, *divisors(channels or 1)]
            raise ShapeError(
                f"found groups={self.groups} for {channels} channels, expected a divisor of the "
                f"channels; try one of {choices}"
            )
        require_shape(gamma, (channels,), "gamma")
        require_shape(beta, (channels,), "beta")
        statistic = x.with_shape(x.shape[0], self.groups)
        return x, statistic, statistic

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """Two passes: mean, then variance."""
        x, gamma, beta = inputs
        parts = grouped(x, self.groups)
        mean, variance = parts.mean(axis=(1, 3)), parts.var(axis=(1, 3))
        rstd = (1 / np.sqrt(variance + self.epsilon)).astype(x.dtype)
        hat = (parts - mean[:, None, :, None]) * rstd[:, None, :, None]
        return hat.reshape(x.shape) * gamma + beta, mean, rstd

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dx, dgamma and dbeta at once."""
        no_gradient_through(node, dys)
        x, gamma, _ = node.inputs
        _, mean, rstd = node.outputs
        return apply(GroupNormGrad(), dys[0], x, gamma, mean, rstd)  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class GroupNormGrad(Op):
    """(dy, x, gamma, mean, rstd) -> (dx, dgamma, dbeta) of GroupNorm; mean and rstd are (N, G)."""

    name: ClassVar[str] = "group_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then (C,) twice."""
        require_float(*inputs)
        _, vector = channel_specs(inputs[1])
        return inputs[1], vector, vector

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """What dy does directly, less what it does through mean and deviation."""
        dy, x, gamma, mean, rstd = inputs
        groups = mean.shape[1]
        mean, rstd = mean[:, None, :, None], rstd[:, None, :, None]
        hat = (grouped(x, groups) - mean) * rstd
        g = grouped(dy * gamma, groups)
        level = g.mean(axis=(1, 3), keepdims=True)
        pull = (g * hat).mean(axis=(1, 3), keepdims=True)
        dx = (rstd * (g - level - hat * pull)).reshape(x.shape)
        dgamma = (dy * hat.reshape(x.shape)).sum(axis=other_axes(x))
        return dx, dgamma, dy.sum(axis=other_axes(x))


@final
@dataclass(frozen=True)
class LayerNorm(Op):
    """(x, gamma, beta) -> (y, mean, rstd) over the last `rank` axes of each row.

    gamma and beta have the shape of those axes, mean and rstd that of the others.
    """

    rank: int = 1
    epsilon: float = 1e-3
    name: ClassVar[str] = "layer_norm"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then that of the leading axes twice."""
        x, gamma, beta = inputs
        require_float(*inputs)
        require_epsilon(self.epsilon)
        require_values(x, 1, "(..., C)")
        if not 1 <= self.rank <= x.rank:
            raise ShapeError(
                f"found {self.rank} axes to normalise in an input of shape {x.shape}, expected 1 "
                f"to {x.rank} trailing axes; try axis=-1"
            )
        features = x.shape[x.rank - self.rank :]
        require_shape(gamma, features, "gamma")
        require_shape(beta, features, "beta")
        statistic = x.with_shape(*x.shape[: x.rank - self.rank])
        return x, statistic, statistic

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The kernel reads the rank off its tensors."""
        return {"epsilon": self.epsilon}

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """Two passes: mean, then variance."""
        x, gamma, beta = inputs
        axes = tuple(range(x.ndim - self.rank, x.ndim))
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        rstd = (1 / np.sqrt(variance + self.epsilon)).astype(x.dtype)
        leading = x.shape[: x.ndim - self.rank]
        y = (x - mean) * rstd * gamma + beta
        return y, np.asarray(mean.reshape(leading)), np.asarray(rstd.reshape(leading))

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dx, dgamma and dbeta at once."""
        no_gradient_through(node, dys)
        x, gamma, _ = node.inputs
        _, mean, rstd = node.outputs
        return apply(LayerNormGrad(), dys[0], x, gamma, mean, rstd)  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class LayerNormGrad(Op):
    """(dy, x, gamma, mean, rstd) -> (dx, dgamma, dbeta) of LayerNorm."""

    name: ClassVar[str] = "layer_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> tuple[Spec, Spec, Spec]:
        """Shape of x, then that of gamma twice."""
        require_float(*inputs)
        return inputs[1], inputs[2], inputs[2]

    def reference(self, *inputs: Array) -> tuple[Array, Array, Array]:
        """Every row on its own; dgamma and dbeta sum over rows."""
        dy, x, gamma, mean, rstd = inputs
        rows = prod(mean.shape)
        dy_rows, x_rows = dy.reshape(rows, -1), x.reshape(rows, -1)
        rstd_rows = rstd.reshape(rows, 1)
        hat = (x_rows - mean.reshape(rows, 1)) * rstd_rows
        g = dy_rows * gamma.reshape(1, -1)
        level, pull = g.mean(axis=1, keepdims=True), (g * hat).mean(axis=1, keepdims=True)
        dx = rstd_rows * (g - level - hat * pull)
        dgamma, dbeta = (dy_rows * hat).sum(axis=0), dy_rows.sum(axis=0)
        return dx.reshape(x.shape), dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)


OPS: tuple[type[Op], ...] = (GroupNorm, GroupNormGrad, LayerNorm, LayerNormGrad)
