# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution and the 1x1 convolutions around it as one op for inference.

What a pass puts in the place of the three; it has no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from fastcnn.graph import Array, Op, Spec, spec_of
from fastcnn.ops.conv_packed import UNBOUNDED, Bounds, FusedDepthwiseConv2D, PackedConv2D
from fastcnn.ops.conv_window import Convolution


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
    strided_inputs: ClassVar[frozenset[int]] = frozenset({0})

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """A residual is read where the output is written."""
        return len(inputs) == 5 + 2 * self.expands

    def infer(self, *inputs: Spec) -> Spec:
        """All inputs -> (N, P, Q, K)."""
        spec = inputs[0]
        for op, rest in self._parts(inputs):
            spec = op.infer(spec, *rest)
        return spec

    def reference(self, *inputs: Array) -> Array:
        """One after the other."""
        y = inputs[0]
        for op, rest in self._parts(inputs):
            y = op.reference(y, *rest)
        return y

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Geometry of the depthwise convolution, all bounds."""
        bounds = {
            "expand": self.expand_bounds,
            "depthwise": self.depthwise_bounds,
            "": self.bounds,
        }
        named = {
            f"{part}_{side}".strip("_"): value
            for part, pair in bounds.items()
            for side, value in zip(("lower", "upper"), pair, strict=True)
        }
        numbers = self.numbers(inputs[0].sizes[1:3], inputs[1].sizes[:2])
        return {**numbers, "expands": int(self.expands), **named}

    def macs(self, *inputs: Spec) -> int:
        """The sum of the parts'."""
        spec, macs = inputs[0], 0
        for op, rest in self._parts(inputs):
            macs += op.macs(spec, *rest)
            spec = op.infer(spec, *rest)
        return macs

    def _parts(self, inputs: tuple) -> list:
        """The ops that this one stands for, each with its inputs beside what the one before made."""
        _, kernel, depthwise_bias, panels, bias, *more = inputs
        front, residual = more[: 2 * self.expands], more[2 * self.expands :]
        E = kernel.shape[2]
        expand = PackedConv2D(taps=(1, 1), filters=E, bounds=self.expand_bounds)
        depthwise = FusedDepthwiseConv2D(bounds=self.depthwise_bounds, **self.siblings())
        project = PackedConv2D(taps=(1, 1), filters=self.filters, bounds=self.bounds)
        return [
            *([(expand, front)] if self.expands else []),
            (depthwise, [kernel, depthwise_bias]),
            (project, [panels, bias, *residual]),
        ]


OPS = (FusedSeparableConv2D,)
