# SPDX-License-Identifier: Apache-2.0
"""Copying pixels to where a join wants them."""

from __future__ import annotations

from typing import ClassVar, final

from fastcnn.graph import Array, Op, Spec
from fastcnn.records import dataclass


@final
@dataclass(frozen=True)
class CopyPixels(Op):
    """x as it is, from pixels that may lie apart to pixels that may; float32, rank 2 at least.

    What remains of a `Concat` whose other inputs were written in their places.
    """

    name: ClassVar[str] = "copy_pixels"
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def infer(self, *inputs: Spec) -> Spec:
        """The input's spec."""
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """A copy."""
        return inputs[0].copy()

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Always."""
        return True


OPS: tuple[type[Op], ...] = (CopyPixels,)
