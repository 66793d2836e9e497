# SPDX-License-Identifier: Apache-2.0
"""The record of one use of a layer."""

from __future__ import annotations

from typing import Any

from fastcnn.graph import Tensor
from fastcnn.structure import flatten


class LayerCall:
    """One use of a layer in a drawn model: what it was called with, and what it returned."""

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.outputs: Any = None

    @property
    def flat_inputs(self) -> list[Tensor]:
        """Symbolic tensors among the arguments."""
        return [t for t in flatten([self.args, self.kwargs]) if isinstance(t, Tensor)]

    @property
    def flat_outputs(self) -> list[Tensor]:
        """Output tensors."""
        return flatten(self.outputs)
