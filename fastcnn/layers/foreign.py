# SPDX-License-Identifier: Apache-2.0
"""How weights are called and laid out in `state_dict()`: PyTorch's way.

ours                                PyTorch's
Conv2D           R S C/G K          K C/G R S
DepthwiseConv2D  R S C M            C·M 1 R S
Conv2DTranspose  R S K C            C K R S
Dense            C K                K C
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from fastcnn.graph import Array
from fastcnn.records import dataclass


@final
@dataclass(frozen=True)
class Foreign:
    """PyTorch's name of a weight, and the axes of ours in its order.

    Args:
        name: as it follows the layer's name.
        axes: our axes in PyTorch's order; as they are when empty.
        depthwise: the first two of those axes become one, and 1 follows.
    """

    name: str
    axes: tuple[int, ...] = ()
    depthwise: bool = False

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """PyTorch's shape of our `shape`."""
        turned = tuple(shape[a] for a in self.axes) if self.axes else tuple(shape)
        if not self.depthwise:
            return turned
        return (turned[0] * turned[1], 1, *turned[2:])

    def outward(self, array: Array) -> Array:
        """Our array in PyTorch's layout: a copy."""
        turned = array.transpose(self.axes) if self.axes else array
        return np.array(turned.reshape(self.shape(array.shape)), order="C")

    def inward(self, array: Array, shape: Sequence[int]) -> Array:
        """PyTorch's array in our layout and `shape`; a view where that is possible."""
        if not self.axes:
            return array
        turned = array.reshape([shape[a] for a in self.axes])
        return turned.transpose(np.argsort(self.axes))


CONV_1D = Foreign("weight", (2, 1, 0))
CONV_2D = Foreign("weight", (3, 2, 0, 1))
DEPTHWISE = Foreign("weight", (2, 3, 0, 1), depthwise=True)
DENSE = Foreign("weight", (1, 0))
BIAS = Foreign("bias")
NORM = {
    "gamma": Foreign("weight"),
    "beta": BIAS,
    "moving_mean": Foreign("running_mean"),
    "moving_variance": Foreign("running_var"),
}
