# SPDX-License-Identifier: Apache-2.0
"""Activations that have arguments or weights, as layers."""

from __future__ import annotations

from typing import Any, final

from fastcnn import arguments, initializers, ops, regularizers
from fastcnn.errors import ShapeError
from fastcnn.layers.base import Layer


@final
class ReLU(Layer):
    """max(x, 0), with another threshold, a slope below it and a ceiling above where given."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value
        if max_value is not None:
            self.max_value = arguments.non_negative("ReLU", "max_value", max_value)
        self.negative_slope = arguments.non_negative("ReLU", "negative_slope", negative_slope)
        self.threshold = arguments.non_negative("ReLU", "threshold", threshold)

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.relu(x, self.negative_slope, self.max_value, self.threshold)


@final
class LeakyReLU(Layer):
    """x where positive, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = arguments.non_negative("LeakyReLU", "negative_slope", negative_slope)

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.leaky_relu(x, self.negative_slope)


@final
class PReLU(Layer):
    """x where positive, alpha * x elsewhere, alpha being learned. He et al. 2015.

    Args:
        alpha_initializer, alpha_regularizer: of alpha.
        shared_axes: axes (1 is the first after the batch) along which alpha is one number; use
            [1, 2] for one alpha per channel.
    """

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.shared_axes = None
        if shared_axes is not None:
            self.shared_axes = arguments.integers("PReLU", "shared_axes", shared_axes, 1)

    def build(self, input_shape: Any) -> None:
        """alpha of the sample's shape, 1 along shared axes."""
        shared = self.shared_axes or ()
        shape = tuple(1 if i in shared else d for i, d in enumerate(input_shape) if i > 0)
        if None in shape:
            raise ShapeError(
                f"PReLU found an input of shape {input_shape}, expected known sizes; share "
                "alpha over the others with shared_axes=[1, 2]"
            )
        self.alpha = self.add_weight(
            shape, self.alpha_initializer, regularizer=self.alpha_regularizer, name="alpha"
        )

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.prelu(x, self.alpha)


@final
class ELU(Layer):
    """x where positive, alpha (e^x - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = arguments.non_negative("ELU", "alpha", alpha)

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.elu(x, self.alpha)


@final
class Softmax(Layer):
    """e^x / sum e^x along `axis`."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Any) -> Any:
        """Same shape; sums to 1 along `axis`."""
        return ops.softmax(x, axis=self.axis)
