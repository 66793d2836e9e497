# SPDX-License-Identifier: Apache-2.0
"""The two kinds of cells of the neocognitron.

K. Fukushima (1980), "Neocognitron: A Self-organizing Neural Network Model for a Mechanism of
Pattern Recognition Unaffected by Shift in Position", Biol. Cybernetics 36, equations 1 to 6. The
paper says of the fixed weights c and d only that they fall with the distance |v| from the middle of
the window; here they fall as decay^|v|.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np

from fastcnn import arguments, ops
from fastcnn.graph import Array, constant
from fastcnn.layers.base import Layer
from fastcnn.layers.norm import known_channels
from fastcnn.ops.geometry import normalize_padding, pair, positive

# Keeps the square root's slope finite where a window is dark.
_DARK = 1e-12


def falling(window: tuple[int, int], decay: float) -> Array:
    """decay^|v| for the places v of a window, counted from its middle: (R, S)."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in window)
    falls: Array = decay ** np.hypot(rows[:, None], columns[None, :])
    return falls


@final
class SCells(Layer):
    """Planes of cells that learn a feature each, held down where there is more than the feature.

    u = r relu((1 + sum of a x) / (1 + 2r/(1+r) b v) - 1), v = sqrt(sum of c x^2)

    Both sums go over the window and all input planes; the inhibition v has one cell per place. The
    weights a and b, none negative, learn by reinforcement: `applications.neocognitron`.

    Args:
        planes: K, number of features.
        window: R, S, the cells that a cell sees in each input plane.
        padding: as Conv2D's.
        selectivity: r; the larger, the more a cell insists on its very feature.
        decay: c falls as decay^|v|; over the window and all planes it adds up to 1.
        preference: of the first weights a, which are small and prefer one orientation per plane.
    """

    def __init__(
        self,
        planes: int,
        window: Any = 5,
        padding: Any = "valid",
        selectivity: float = 1.5,
        decay: float = 0.85,
        preference: float = 0.005,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planes = positive(planes, "planes")
        self.window = pair(window, "window")
        normalize_padding(padding)
        self.padding = padding
        self.selectivity = arguments.positive("SCells", "selectivity", selectivity)
        self.decay = arguments.positive("SCells", "decay", decay)
        self.preference = arguments.positive("SCells", "preference", preference)

    def build(self, input_shape: Any) -> None:
        """a (R, S, C, K) and b (K)."""
        channels = known_channels(self, input_shape)
        fall = falling(self.window, self.decay)[:, :, None, None]
        self.fixed = np.repeat(fall / fall.sum() / channels, channels, axis=2)
        self.excitatory = self.add_weight(
            (*self.window, channels, self.planes), self._first_weights, name="excitatory"
        )
        self.inhibitory = self.add_weight((self.planes,), "zeros", name="inhibitory")

    def _first_weights(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Functions of v, k/K and |k'/K' - k/K|, k' being the input plane; nothing is random.

        So the paper, without a formula. Here plane k prefers bars at the angle pi k/K, and input
        planes k' that stand near its own place.
        """
        R, S, C, K = shape
        rows, columns = np.arange(R) - (R - 1) / 2, np.arange(S) - (S - 1) / 2
        angle = np.arctan2(-rows[:, None], columns[None, :])[:, :, None, None]
        own = np.arange(K) / K
        away = np.abs(np.arange(C)[:, None] / C - own) if C > 1 else np.zeros((1, K))
        along = 1 + np.cos(2 * (angle - math.pi * own))
        fall = falling((R, S), self.decay)[:, :, None, None]
        first: Array = (self.preference / C * fall * along * (1 - away)).astype(dtype)
        return first

    def call(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, K), none negative."""
        r = self.selectivity
        excitation = ops.conv2d(x, self.excitatory, padding=self.padding)
        fixed = constant(self.fixed, self.dtype)
        power = ops.conv2d(ops.square(x), fixed, padding=self.padding)
        v = ops.sqrt(ops.add(power, _DARK))
        inhibition = ops.multiply(v, ops.multiply(self.inhibitory, 2 * r / (1 + r)))
        ratio = ops.divide(ops.add(excitation, 1.0), ops.add(inhibition, 1.0))
        return ops.multiply(ops.relu(ops.subtract(ratio, 1.0)), r)


@final
class CCells(Layer):
    """Planes of cells that fire when some S-cell nearby does, so that its place matters less.

    u = psi((1 + sum of d x) / (1 + mean over planes of sum of d x) - 1), psi(z) = z/(alpha+z), z>0

    Args:
        window: R, S, the S-cells of its plane that a cell sees.
        strides: step of the window.
        padding: as Conv2D's.
        gain: d is gain decay^|v|.
        decay: see gain.
        saturation: alpha.
    """

    def __init__(
        self,
        window: Any = 5,
        strides: Any = 1,
        padding: Any = "valid",
        gain: float = 2.0,
        decay: float = 0.5,
        saturation: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window = pair(window, "window")
        self.strides = pair(strides, "strides")
        normalize_padding(padding)
        self.padding = padding
        self.gain = arguments.positive("CCells", "gain", gain)
        self.decay = arguments.positive("CCells", "decay", decay)
        self.saturation = arguments.positive("CCells", "saturation", saturation)

    def call(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, C), at least 0 and below 1."""
        channels = known_channels(self, x.shape)
        fall = self.gain * falling(self.window, self.decay)
        fixed = np.repeat(fall[:, :, None, None], channels, axis=2)
        near = ops.depthwise_conv2d(
            x, constant(fixed, self.dtype), None, self.strides, self.padding
        )
        lateral = ops.mean(near, axis=-1, keepdims=True)
        ratio = ops.divide(ops.add(near, 1.0), ops.add(lateral, 1.0))
        z = ops.relu(ops.subtract(ratio, 1.0))
        return ops.divide(z, ops.add(z, self.saturation))
