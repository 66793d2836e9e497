# SPDX-License-Identifier: Apache-2.0
"""Cases of the conv family: every geometry goes through forward and both gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cases.case import Case, normal
from fastcnn.graph import Spec
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import (
    DepthwiseConv2D,
    DepthwiseConv2DGradInput,
    DepthwiseConv2DGradKernel,
)
from fastcnn.ops.geometry import normalize_padding, pair


@dataclass(frozen=True)
class Geometry:
    """A convolution: x (N, H, W, C), kernel (R, S, C / groups, K) or (R, S, C, M)."""

    x: tuple[int, int, int, int]
    taps: tuple[int, int]
    filters: int
    strides: int | tuple[int, int] = 1
    padding: Any = "valid"
    dilations: int | tuple[int, int] = 1
    groups: int = 1

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "strides": pair(self.strides, "strides"),
            "padding": normalize_padding(self.padding),
            "dilations": pair(self.dilations, "dilations"),
        }

    @property
    def label(self) -> str:
        words = ["x".join(map(str, self.x)), "x".join(map(str, (*self.taps, self.filters)))]
        for letter, value in (("s", self.strides), ("d", self.dilations), ("g", self.groups)):
            if value != 1:
                words.append(letter + str(value))
        return "-".join([*words, str(self.padding)]).replace(" ", "")


# Groups of some channels: several of them copied at once and several times, in several parts of a
# plane, with several strips of filters; rows of taps apart, other sizes, wide padding.
NARROW = [
    Geometry((2, 13, 17, 96), (3, 3), 96, groups=6, padding=1),
    Geometry((1, 20, 31, 160), (3, 3), 240, groups=5, strides=2, padding=1),
    Geometry((2, 15, 11, 72), (5, 2), 24, groups=3, dilations=(2, 1), padding=((4, 5), (0, 1))),
    Geometry((1, 3, 130, 40), (1, 7), 24, groups=2, strides=(1, 3), padding=((0, 0), (6, 5))),
]

GEOMETRIES = [
    # one pixel, one channel, 1-D, filters that leave one output
    Geometry((1, 1, 1, 1), (1, 1), 1),
    Geometry((2, 7, 7, 1), (7, 7), 3),
    Geometry((2, 1, 17, 3), (1, 5), 7, padding="same"),
    Geometry((1, 13, 1, 5), (3, 1), 16, strides=(2, 1), padding=1),
    # filter counts around one and two vectors, and pixel counts around a tile
    *(Geometry((1, 5, 5, 3), (3, 3), k, padding="same") for k in (1, 7, 8, 15, 16, 17, 31, 32, 33)),
    *(Geometry((1, 1, q, 4), (1, 1), 16) for q in (3, 4, 5, 6, 7, 8, 9, 63, 64, 65)),
    *(Geometry((1, 3, 5, c), (3, 3), 5, padding="same") for c in (2, 16, 300)),
    # every form of padding, the filter larger than the input, pads as large as the filter
    Geometry((2, 13, 7, 3), (3, 3), 5, padding="same_lower", strides=2),
    Geometry((2, 13, 7, 3), (3, 3), 5, padding="same", strides=2),
    Geometry((1, 6, 8, 3), (4, 2), 9, padding="same"),
    Geometry((1, 6, 8, 3), (4, 2), 9, padding="same_lower"),
    Geometry((1, 7, 7, 2), (3, 3), 4, padding=2),
    Geometry((1, 7, 7, 2), (3, 3), 4, padding=((0, 3), (2, 1))),
    Geometry((1, 2, 3, 2), (5, 5), 3, padding=2),
    Geometry((1, 1, 1, 3), (5, 5), 17, padding="same"),
    Geometry((1, 3, 3, 2), (3, 3), 3, padding=4),
    # strides, also larger than the filter and such that the last pixels are not read
    Geometry((1, 9, 10, 3), (2, 2), 5, strides=3),
    Geometry((2, 17, 13, 3), (1, 1), 16, strides=2),
    Geometry((1, 8, 9, 3), (5, 5), 6, strides=(1, 3), padding=2),
    Geometry((1, 7, 7, 2), (7, 7), 33, strides=4, padding="same"),
    # dilations, and with strides that share a divisor or none
    Geometry((1, 13, 13, 3), (3, 3), 5, dilations=2, padding="same"),
    Geometry((1, 17, 9, 2), (3, 3), 5, dilations=(5, 2), padding=((5, 4), (0, 2))),
    Geometry((1, 13, 12, 3), (3, 3), 5, dilations=2, strides=2, padding=2),
    Geometry((1, 13, 17, 3), (3, 3), 5, dilations=(2, 3), strides=(3, 2), padding="same"),
    Geometry((1, 17, 17, 2), (3, 2), 4, dilations=(6, 4), strides=(4, 6), padding=5),
    # groups, all of it together
    Geometry((1, 7, 7, 6), (3, 3), 9, groups=3, padding="same"),
    Geometry((1, 5, 5, 34), (3, 3), 34, groups=2, padding=1),
    Geometry((1, 5, 5, 8), (3, 3), 8, groups=8, padding="same"),
    Geometry((2, 13, 11, 8), (3, 5), 132, groups=4, strides=(2, 1), dilations=(1, 2), padding=3),
    Geometry((1, 13, 13, 6), (2, 3), 4, groups=2, strides=2, dilations=3, padding="same_lower"),
    # groups of few channels: rows of one, two and many tiles, several blocks and slices
    *(
        Geometry(x, (3, 3), x[3], groups=x[3] // each, strides=stride, padding=padding)
        for stride in (1, 2)
        for x, each, padding in (
            ((1, 3, 3, 8), 4, 1),
            ((2, 5, 2, 16), 2, ((2, 1), (0, 2))),
            ((1, 7, 23, 24), 8, "same"),
            ((3, 29, 41, 36), 4, "same"),
            ((1, 6, 9, 32), 16, 3),
        )
    ),
    *NARROW,
    # real ones: LeNet's first, a residual stage, a stem; several slices of the kernel's gradient
    Geometry((3, 28, 28, 1), (5, 5), 6, padding="same"),
    Geometry((2, 14, 14, 40), (3, 3), 48, padding="same"),
    Geometry((1, 29, 29, 3), (7, 7), 24, strides=2, padding=3),
    Geometry((5, 32, 32, 4), (3, 3), 20, padding="same"),
]

DEPTHWISE = [
    Geometry((1, 1, 1, 1), (1, 1), 1),
    *(Geometry((1, 5, 6, c), (3, 3), 1, padding="same") for c in (1, 7, 8, 16, 17, 31, 32, 33)),
    Geometry((2, 7, 13, 5), (3, 3), 3, padding="same"),
    Geometry((2, 7, 13, 13), (3, 2), 2, strides=2, padding=1),
    Geometry((1, 1, 17, 5), (1, 5), 1, padding="same"),
    Geometry((1, 2, 3, 4), (5, 5), 1, padding=2),
    Geometry((1, 13, 13, 3), (7, 7), 1, padding="same"),
    Geometry((1, 13, 13, 17), (5, 5), 1, strides=2, padding="same_lower"),
    Geometry((1, 13, 12, 3), (3, 3), 1, dilations=2, strides=2, padding=2),
    Geometry((1, 17, 17, 6), (3, 4), 7, dilations=(6, 4), strides=(4, 6), padding=((5, 1), (2, 3))),
    Geometry((1, 9, 10, 3), (2, 2), 1, strides=3),
    Geometry((3, 28, 28, 37), (3, 3), 1, padding="same"),
    Geometry((1, 4, 4, 300), (3, 3), 1, padding="same"),
    # dilations and strides with a divisor in common or none, one in each direction, wide borders
    Geometry((2, 9, 23, 19), (3, 3), 1, dilations=2, padding="same"),
    Geometry((1, 11, 8, 9), (3, 3), 1, dilations=3, padding="same"),
    Geometry((1, 13, 17, 9), (3, 3), 1, strides=(2, 1), padding="same"),
    Geometry((1, 13, 17, 9), (3, 5), 1, strides=(1, 2), dilations=(2, 3), padding=4),
    Geometry((1, 15, 16, 10), (7, 7), 1, strides=2, padding=3),
    Geometry((1, 9, 29, 5), (3, 3), 2, strides=(3, 2), dilations=(1, 4), padding=((1, 0), (2, 5))),
    Geometry((1, 3, 4, 9), (3, 3), 1, dilations=4, padding=5),
    Geometry((1, 2, 3, 5), (7, 7), 1, strides=2, padding=6),
    Geometry((1, 6, 5, 17), (3, 3), 1, padding=4),
]


def cases(geometry: Geometry, depthwise: bool) -> list[Case]:
    """Forward and both gradients; tolerances follow the longest sum."""
    fields, x = geometry.fields, geometry.x
    forward: Any
    grad_input: Any
    grad_kernel: Any
    if depthwise:
        forward, grad_input = DepthwiseConv2D, DepthwiseConv2DGradInput
        grad_kernel = DepthwiseConv2DGradKernel
        kernel = (*geometry.taps, x[3], geometry.filters)
    else:
        forward, grad_input, grad_kernel = Conv2D, Conv2DGradInput, Conv2DGradKernel
        fields = {**fields, "groups": geometry.groups}
        kernel = (*geometry.taps, x[3] // geometry.groups, geometry.filters)
    y = forward(**fields).infer(Spec(x), Spec(kernel)).sizes
    backward = grad_input(input_size=x[1:3], **fields), normal(y, kernel)
    update = grad_kernel(kernel_size=geometry.taps, **fields), normal(x, y)
    pairs = [(forward(**fields), normal(x, kernel)), backward, update]
    return [Case(op, make, 5e-6, label=geometry.label) for op, make in pairs]


CASES: list[Case] = [
    *(case for geometry in GEOMETRIES for case in cases(geometry, depthwise=False)),
    *(case for geometry in DEPTHWISE for case in cases(geometry, depthwise=True)),
]
