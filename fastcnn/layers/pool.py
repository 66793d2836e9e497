# SPDX-License-Identifier: Apache-2.0
"""Pooling layers. One-dimensional ones are the two-dimensional ops with H = 1."""

from __future__ import annotations

import math
from typing import Any, final

from fastcnn import activations, initializers, ops, regularizers
from fastcnn.errors import ShapeError
from fastcnn.layers.base import Layer
from fastcnn.layers.conv import padding_1d, single
from fastcnn.layers.norm import known_channels
from fastcnn.ops.geometry import normalize_padding, pair


class _Pool2D(Layer):
    """Window, stride and padding; abstract."""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        normalize_padding(padding)
        self.pool_size = pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = padding
        self.ceil_mode = ceil_mode


@final
class MaxPooling2D(_Pool2D):
    """Largest value of each window: (N, H, W, C) -> (N, P, Q, C). Ties: first in row order.

    Args:
        pool_size: R, S.
        strides: step of the window; pool_size when None.
        padding: "valid", "same", "same_lower", an integer, or ((top, bottom), (left, right)).
        ceil_mode: also windows that hang over the bottom or right edge.
        return_indices: also return int32 flat positions h*W + w of the maxima.
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        ceil_mode: bool = False,
        return_indices: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, ceil_mode, **kwargs)
        self.return_indices = return_indices

    def call(self, x: Any) -> Any:
        """y, or (y, indices)."""
        return ops.max_pool2d(
            x, self.pool_size, self.strides, self.padding, self.ceil_mode, self.return_indices
        )


@final
class AveragePooling2D(_Pool2D):
    """Mean of each window: (N, H, W, C) -> (N, P, Q, C).

    Args as MaxPooling2D; `count_include_pad` divides by the whole window also at the edges.
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, ceil_mode, **kwargs)
        self.count_include_pad = count_include_pad

    def call(self, x: Any) -> Any:
        """Window means."""
        return ops.avg_pool2d(
            x, self.pool_size, self.strides, self.padding, self.ceil_mode, self.count_include_pad
        )


@final
class Subsampling2D(Layer):
    """activation(coefficient * sum of each window + bias), both learned per channel.

    The pooling of LeNet-5. LeCun et al. 1998, section II.B.

    Args:
        pool_size, strides, padding: as MaxPooling2D; padding adds nothing to a sum.
        activation: name or function; None is linear.
        coefficient_initializer: of the coefficients (C); 1/(R S), the mean, when None.
        bias_initializer: of the bias (C).
        coefficient_regularizer, bias_regularizer: terms of the loss.
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        activation: Any = None,
        coefficient_initializer: Any = None,
        bias_initializer: Any = "zeros",
        coefficient_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        normalize_padding(padding)
        self.pool_size = pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = padding
        self.activation = activations.get(activation)
        mean = initializers.Constant(1 / math.prod(self.pool_size))
        self.coefficient_initializer = initializers.get(coefficient_initializer or mean)
        self.bias_initializer = initializers.get(bias_initializer)
        self.coefficient_regularizer = regularizers.get(coefficient_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        """coefficient (C) and bias (C)."""
        shape = (known_channels(self, input_shape),)
        self.coefficient = self.add_weight(
            shape,
            self.coefficient_initializer,
            regularizer=self.coefficient_regularizer,
            name="coefficient",
        )
        self.bias = self.add_weight(
            shape, self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
        )

    def call(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, C)."""
        mean = ops.avg_pool2d(x, self.pool_size, self.strides, self.padding, count_include_pad=True)
        factor = ops.multiply(self.coefficient, math.prod(self.pool_size))
        return self.activation(ops.add(ops.multiply(mean, factor), self.bias))


class _Pool1D(Layer):
    """Window, stride and padding over (N, W, C); abstract."""

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.pool_size = single(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else single(strides, "strides")
        self.padding = padding

    def windows(self) -> tuple[Any, Any, Any]:
        """Window, stride and padding of the image of one row."""
        return (1, self.pool_size), (1, self.strides), padding_1d(self.padding)


@final
class MaxPooling1D(_Pool1D):
    """Largest value of each window: (N, W, C) -> (N, Q, C)."""

    def call(self, x: Any) -> Any:
        """Window maxima."""
        return ops.squeeze(ops.max_pool2d(ops.expand_dims(x, 1), *self.windows()), 1)


@final
class AveragePooling1D(_Pool1D):
    """Mean of each window: (N, W, C) -> (N, Q, C)."""

    def call(self, x: Any) -> Any:
        """Window means."""
        return ops.squeeze(ops.avg_pool2d(ops.expand_dims(x, 1), *self.windows()), 1)


class _GlobalPool(Layer):
    """Reduction over the spatial axes; abstract."""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.keepdims = keepdims

    def over(self, x: Any, axes: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial axes, once it is known that there are these and no others."""
        if x.ndim != len(axes) + 2:
            layout = "(N, H, W, C)" if len(axes) == 2 else "(N, W, C)"
            raise ShapeError(
                f"{type(self).__name__} found an input of shape {x.shape}, expected {layout}; use "
                "the layer for that many dimensions or reshape the input"
            )
        return axes


@final
class GlobalAveragePooling2D(_GlobalPool):
    """(N, H, W, C) -> (N, C), or (N, 1, 1, C) with keepdims."""

    def call(self, x: Any) -> Any:
        """Mean over H and W."""
        return ops.mean(x, axis=self.over(x, (1, 2)), keepdims=self.keepdims)


@final
class GlobalMaxPooling2D(_GlobalPool):
    """(N, H, W, C) -> (N, C), or (N, 1, 1, C) with keepdims."""

    def call(self, x: Any) -> Any:
        """Maximum over H and W."""
        return ops.max(x, axis=self.over(x, (1, 2)), keepdims=self.keepdims)


@final
class GlobalAveragePooling1D(_GlobalPool):
    """(N, W, C) -> (N, C), or (N, 1, C) with keepdims."""

    def call(self, x: Any) -> Any:
        """Mean over W."""
        return ops.mean(x, axis=self.over(x, (1,)), keepdims=self.keepdims)


@final
class GlobalMaxPooling1D(_GlobalPool):
    """(N, W, C) -> (N, C), or (N, 1, C) with keepdims."""

    def call(self, x: Any) -> Any:
        """Maximum over W."""
        return ops.max(x, axis=self.over(x, (1,)), keepdims=self.keepdims)


@final
class AdaptiveAveragePooling2D(Layer):
    """Means of windows chosen so that the output is (N, *output_size, C)."""

    def __init__(self, output_size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = pair(output_size, "output_size")

    def call(self, x: Any) -> Any:
        """(N, P, Q, C)."""
        return ops.adaptive_avg_pool2d(x, self.output_size)


@final
class AdaptiveMaxPooling2D(Layer):
    """Maxima of windows chosen so that the output is (N, *output_size, C)."""

    def __init__(self, output_size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = pair(output_size, "output_size")

    def call(self, x: Any) -> Any:
        """(N, P, Q, C)."""
        return ops.adaptive_max_pool2d(x, self.output_size)


@final
class MaxUnpooling2D(Layer):
    """Puts values back where `MaxPooling2D(return_indices=True)` found them, zeros elsewhere.

    Call on [y, indices]. Zeiler and Fergus 2014.

    Args:
        output_size: H, W of the result.
    """

    def __init__(self, output_size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = pair(output_size, "output_size")

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C)."""
        x, indices = inputs
        return ops.max_unpool2d(x, indices, self.output_size)
