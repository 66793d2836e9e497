# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution and the 1x1 convolutions around it as one op for inference.

What a pass puts in the place of the three; it has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

from fastcnn.graph import Array, Op, Spec
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds, FusedDepthwiseConv2D, PackedConv2D
from fastcnn.ops.conv_window import Convolution
from fastcnn.records import dataclass

Part = PackedConv2D | FusedDepthwiseConv2D


@final
@dataclass(frozen=True, kw_only=True)
class FusedSeparableConv2D(Convolution):
    """[A 1x1 convolution to E channels,] a depthwise one of them, and a 1x1 convolution to K.

        y = bounds(project(depthwise(expand(x))) + bias [+ residual])

    Each of the three has a bias and bounds of its own. Inputs: x (N, H, W, C), depthwise kernel
    (R, S, E, 1), its bias (E), projecting panels, their bias (K); where `expands`, panels from C to
    E and their bias (E); a residual (N, P, Q, K) if there is one.

    Source: M. Sandler et al., "MobileNetV2", arXiv:1801.04381; A. Howard et al., "MobileNets",
    arXiv:1704.04861.

    Attributes:
        filters: K.
        expands: whether there is a 1x1 convolution in front; else E = C.
        expand_bounds: smallest and largest result of the first.
        depthwise_bounds: the same of the depthwise convolution.
        bounds: the same of all.
    """

    filters: int
    expands: bool = False
    expand_bounds: Bounds = UNBOUNDED
    depthwise_bounds: Bounds = UNBOUNDED
    bounds: Bounds = UNBOUNDED
    name: ClassVar[str] = "fused_separable_conv2d"
    image_by_image: ClassVar[bool] = True
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """A residual is read where the output is written."""
        return len(inputs) == 5 + 2 * self.expands

    def infer(self, *inputs: Spec) -> Spec:
        """All inputs -> (N, P, Q, K)."""
        x = inputs[0]
        for op, rest in self.parts(inputs):
            x = op.output_spec(x, *rest)
        return x

    def reference(self, *inputs: Array) -> Array:
        """One after the other."""
        x = inputs[0]
        for op, rest in self.parts(inputs):
            y = op.reference(x, *rest)
            assert not isinstance(y, tuple)  # parts take no moments
            x = y
        return x

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Geometry of the depthwise convolution, all bounds."""
        return {
            **self.numbers(inputs[0].sizes[1:3], inputs[1].sizes[:2]),
            "expands": int(self.expands),
            "expand_lower": self.expand_bounds[0],
            "expand_upper": self.expand_bounds[1],
            "depthwise_lower": self.depthwise_bounds[0],
            "depthwise_upper": self.depthwise_bounds[1],
            "lower": self.bounds[0],
            "upper": self.bounds[1],
        }

    def macs(self, *inputs: Spec) -> int:
        """The sum of the parts'."""
        x, macs = inputs[0], 0
        for op, rest in self.parts(inputs):
            macs += op.macs(x, *rest)
            x = op.output_spec(x, *rest)
        return macs

    def parts(self, inputs: Sequence[Any]) -> list[tuple[Part, list[Any]]]:
        """The ops that this one stands for, each with its inputs beside what the one before made.

        Args:
            inputs: specs or arrays.
        """
        _, kernel, depthwise_bias, panels, bias, *more = inputs
        front, residual = more[: 2 * self.expands], more[2 * self.expands :]
        expand = PackedConv2D(taps=(1, 1), filters=kernel.shape[2], bounds=self.expand_bounds)
        depthwise = FusedDepthwiseConv2D(bounds=self.depthwise_bounds, **self.siblings())
        project = PackedConv2D(taps=(1, 1), filters=self.filters, bounds=self.bounds)
        return [
            *([(expand, front)] if self.expands else []),
            (depthwise, [kernel, depthwise_bias]),
            (project, [panels, bias, *residual]),
        ]


OPS: tuple[type[Op], ...] = (FusedSeparableConv2D,)
