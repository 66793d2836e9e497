# SPDX-License-Identifier: Apache-2.0
"""Local response normalisation over neighbouring channels.

Source: A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", 2012, section 3.3. The paper's alpha multiplies the sum of squares;
here, as in Caffe and PyTorch, alpha multiplies their mean (alpha / size times the sum).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.records import dataclass


def window_sum(terms: Array, before: int, after: int) -> Array:
    """Sum over channels [c - before, c + after] at every c; channels outside count as zero."""
    channels = terms.shape[-1]
    margins = [(0, 0)] * (terms.ndim - 1) + [(before, after)]
    padded = np.pad(terms, margins)
    total = np.zeros_like(terms)
    for offset in range(before + after + 1):
        total += padded[..., offset : offset + channels]
    return total


@final
@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """y = x / d**beta with d = k + alpha / size * (sum of x**2 over `size` channels around).

    The window of channel c is [c - size // 2, c + (size - 1) // 2].
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    name: ClassVar[str] = "local_response_norm"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of x."""
        x = inputs[0]
        require_float(x)
        if x.rank < 2:
            raise ShapeError(
                f"the input has shape {x.shape} of rank {x.rank}, expected at least 2 dimensions "
                "(N, ..., C); add the missing axis"
            )
        if self.size < 1:
            raise ArgumentError(
                f"size is {self.size}, expected a window of at least 1 channel; try size=5"
            )
        if self.k <= 0 or self.alpha < 0:
            raise ArgumentError(
                f"found k={self.k} and alpha={self.alpha}, expected k > 0 and alpha >= 0 so that "
                "the denominator stays positive; try k=1.0, alpha=1e-4"
            )
        return x

    def reference(self, *inputs: Array) -> Array:
        """By its formula."""
        (x,) = inputs
        return x * self.denominator(x) ** -self.beta

    def denominator(self, x: Array) -> Array:
        """d, before the power."""
        sums = window_sum(x * x, self.size // 2, (self.size - 1) // 2)
        return self.k + self.alpha / self.size * sums

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Through the value and through its neighbours' denominators."""
        grad = LocalResponseNormGrad(self.size, self.alpha, self.beta, self.k)
        return (apply(grad, dys[0], node.inputs[0]),)


@final
@dataclass(frozen=True)
class LocalResponseNormGrad(Op):
    """(dy, x) -> dx of LocalResponseNorm."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    name: ClassVar[str] = "local_response_norm_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Shape of x."""
        require_float(*inputs)
        return inputs[1]

    def reference(self, *inputs: Array) -> Array:
        """Channel i sits in the windows of [i - (size - 1) // 2, i + size // 2]."""
        dy, x = inputs
        d = LocalResponseNorm(self.size, self.alpha, self.beta, self.k).denominator(x)
        terms = dy * x * d ** (-self.beta - 1)
        around = window_sum(terms, (self.size - 1) // 2, self.size // 2)
        return dy * d**-self.beta - 2 * self.alpha * self.beta / self.size * x * around


OPS: tuple[type[Op], ...] = (LocalResponseNorm, LocalResponseNormGrad)
