# SPDX-License-Identifier: Apache-2.0
"""Elementwise operations: y[i] = f(x[i], ...)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops import elementwise_binary
from fastcnn.ops._apply import apply, require_float


@final
@dataclass(frozen=True)
class Identity(Op):
    """y = x in memory of its own; any dtype."""

    name: ClassVar[str] = "identity"

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """A copy."""
        return inputs[0].copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dx = dy."""
        return (dys[0],)


@final
@dataclass(frozen=True)
class CheckFinite(Op):
    """Stops the run with status "nonfinite" unless every element of x is finite; no output."""

    name: ClassVar[str] = "check_finite"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """No outputs."""
        require_float(*inputs)
        return ()

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Raises FloatingPointError, which the backend turns into the status."""
        if not np.isfinite(inputs[0]).all():
            raise FloatingPointError
        return ()


@final
@dataclass(frozen=True)
class ReLU(Op):
    """y = max(x, 0)."""

    name: ClassVar[str] = "relu"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Same spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """max(x, 0); NaN stays NaN."""
        return np.maximum(inputs[0], 0)


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return apply(ReLU(), x)


OPS: tuple[type[Op], ...] = (Identity, CheckFinite, ReLU, *elementwise_binary.OPS)
