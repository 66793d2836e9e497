# SPDX-License-Identifier: Apache-2.0
"""What a pass may choose from where several algorithms compute the same convolution."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from fastcnn.graph import Spec

# Of a convolution of r x r taps: the direct sum, F(m x m, r x r) for m = 4, 3, 2.
DIRECT, WINOGRAD_4, WINOGRAD_3, WINOGRAD_2 = "direct", "winograd_4", "winograd_3", "winograd_2"
# Of a depthwise convolution between 1x1 convolutions: one op, or one for each.
FUSED, APART = "fused", "apart"

# (shape, algorithm), as `convolution_shape` and `separable_shape` write shapes.
Choices = frozenset[tuple[str, str]]


def exact_by_environment() -> bool:
    """Whether FASTCNN_EXACT=1 is set."""
    return os.environ.get("FASTCNN_EXACT", "0") not in ("", "0")


@final
@dataclass(frozen=True)
class Algorithms:
    """Which algorithms the convolutions of a graph may have.

    Attributes:
        exact: direct sums only; Winograd's algorithm, whose results differ from them by rounding,
            is forbidden.
        measured: which was fastest for a shape on this machine.
        preferred: taken wherever they can compute the convolution, whatever was measured.
    """

    exact: bool = field(default_factory=exact_by_environment)
    measured: Choices = frozenset()
    preferred: frozenset[str] = frozenset()

    def pick(self, shape: str, costs: Mapping[str, float]) -> str:
        """The algorithm for a shape: the preferred one, the measured, or that of least cost.

        Args:
            shape: as `convolution_shape` or `separable_shape` write it.
            costs: of the algorithms that are allowed, estimated, the simplest first.
        """
        for name in costs:
            if name in self.preferred:
                return name
        found = dict(self.measured).get(shape, "")
        return found if found in costs else min(costs, key=lambda name: costs[name])


def convolution_shape(taps: tuple[int, int], x: Spec, y: Spec) -> str:
    """A convolution with neither strides nor dilation nor groups, in words."""
    R, S = taps
    return f"{R}x{S}: {_sizes(x)} -> {_sizes(y)}"


def separable_shape(x: Spec, kernel: Spec, y: Spec, stride: int, expands: bool) -> str:
    """A depthwise convolution with the 1x1 convolutions around it, in words.

    Args:
        x: read by the first of them.
        kernel: of the depthwise convolution.
        y: made by the last.
        stride: of the depthwise convolution.
        expands: whether there is a 1x1 convolution in front.
    """
    R, S, E, _ = kernel.sizes
    front = "1x1, " if expands else ""
    return f"{front}depthwise {R}x{S} of {E} / {stride}, 1x1: {_sizes(x)} -> {_sizes(y)}"


def _sizes(spec: Spec) -> str:
    return "x".join(map(str, spec.sizes))
