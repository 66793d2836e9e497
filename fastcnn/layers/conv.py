# SPDX-License-Identifier: Apache-2.0
"""Convolution layers. One-dimensional ones are the two-dimensional ops with H = 1."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final

from fastcnn import activations, arguments, initializers, ops, regularizers
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers.base import Layer
from fastcnn.layers.connections import (
    connected_part,
    connection_table,
    count,
    full_kernel,
    require_maps,
)
from fastcnn.layers.foreign import BIAS, CONV_1D, CONV_2D, DEPTHWISE, Foreign
from fastcnn.ops.geometry import extent, normalize_padding, pair, positive


class _Conv(Layer):
    """What convolution layers share: filters, bias and activation; abstract."""

    def __init__(
        self,
        *,
        padding: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.padding = padding
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def channels(self, input_shape: Any, rank: int, layout: str) -> int:
        """C of an input of the given rank, which must be known."""
        if (
            not isinstance(input_shape, tuple)
            or len(input_shape) != rank
            or input_shape[-1] is None
        ):
            raise ShapeError(
                f"{type(self).__name__} found an input of shape {input_shape}, expected {layout} "
                "with the number of channels known; reshape it or fix the input's size"
            )
        return int(input_shape[-1])

    def add_kernel(
        self, shape: Any, initializer: Any, regularizer: Any, name: str = "kernel"
    ) -> Any:
        """A filter weight."""
        return self.add_weight(shape, initializer, regularizer=regularizer, name=name)

    def add_bias(self, size: int) -> Any:
        """The bias (size), or None."""
        if not self.use_bias:
            return None
        return self.add_weight(
            (size,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
        )

    @abstractmethod
    def convolve(self, x: Any) -> Any:
        """The convolution with its bias."""

    def call(self, x: Any) -> Any:
        """activation(convolution + bias)."""
        return self.activation(self.convolve(x))


@final
class Conv2D(_Conv):
    """Convolution: (N, H, W, C) with filters (R, S, C/G, K) -> (N, P, Q, K).

    Args:
        filters: K.
        kernel_size: R, S.
        strides: step of the filter; may go together with dilation.
        padding: "valid", "same", "same_lower", an integer, or ((top, bottom), (left, right)).
        data_format: "channels_last".
        dilation_rate: distance of the filter's taps.
        groups: G; channels are convolved in G groups of their own.
        activation: name or function; None is linear.
        use_bias: whether to add a bias (K).
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in Dense.
        connections: table (C, K) of zeros and ones that tells which input maps feed which filter;
            all feed all when None. The weight is then a `connected_kernel` (R, S, connections),
            filter after filter, that begins as that part of a full kernel.
    """

    foreign: ClassVar[Mapping[str, Foreign]] = {"kernel": CONV_2D, "bias": BIAS}

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        connections: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            data_format=data_format,
            **kwargs,
        )
        normalize_padding(padding)
        self.filters = positive(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.groups = positive(groups, "groups")
        if self.filters % self.groups:
            raise ArgumentError(
                f"groups (={groups}) must divide filters (={filters}); change one of them"
            )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.connections = None
        if connections is not None:
            arguments.only_default("Conv2D with connections", "groups", self.groups, 1)
            self.connections = connection_table(connections, self.filters)

    def build(self, input_shape: Any) -> None:
        """kernel (R, S, C/G, K) or connected_kernel (R, S, connections), and bias (K)."""
        channels = self.channels(input_shape, 4, "(N, H, W, C)")
        if self.connections is None:
            shape = (*self.kernel_size, channels_per_group(channels, self.groups), self.filters)
            self.kernel = self.add_kernel(shape, self.kernel_initializer, self.kernel_regularizer)
        else:
            require_maps(self.connections, channels)
            self.kernel = self.add_kernel(
                (*self.kernel_size, count(self.connections)),
                connected_part(self.kernel_initializer, self.connections),
                self.kernel_regularizer,
                "connected_kernel",
            )
        self.bias = self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, K)."""
        kernel = self.kernel
        if self.connections is not None:
            kernel = full_kernel(kernel, self.connections)
        return ops.conv2d(
            x, kernel, self.bias, self.strides, self.padding, self.dilation_rate, self.groups
        )


@final
class Conv1D(_Conv):
    """Convolution over (N, W, C) with filters (S, C/G, K) -> (N, Q, K).

    Arguments as Conv2D with single numbers; padding also takes "causal" (all of it on the left)
    and (left, right).
    """

    foreign: ClassVar[Mapping[str, Foreign]] = {"kernel": CONV_1D, "bias": BIAS}

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            data_format=data_format,
            **kwargs,
        )
        self.filters = positive(filters, "filters")
        self.kernel_size = single(kernel_size, "kernel_size")
        self.strides = single(strides, "strides")
        self.dilation_rate = single(dilation_rate, "dilation_rate")
        self.groups = positive(groups, "groups")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        """kernel (S, C/G, K) and bias (K)."""
        channels = self.channels(input_shape, 3, "(N, W, C)")
        shape = (self.kernel_size, channels_per_group(channels, self.groups), self.filters)
        self.kernel = self.add_kernel(shape, self.kernel_initializer, self.kernel_regularizer)
        self.bias = self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """(N, W, C) -> (N, Q, K)."""
        padding = self.padding
        if padding == "causal":
            padding = (extent(self.kernel_size, self.dilation_rate) - 1, 0)
        kernel = ops.expand_dims(self.kernel, 0)
        y = ops.conv2d(
            ops.expand_dims(x, 1),
            kernel,
            self.bias,
            (1, self.strides),
            padding_1d(padding),
            (1, self.dilation_rate),
            self.groups,
        )
        return ops.squeeze(y, 1)


@final
class DepthwiseConv2D(_Conv):
    """Each channel with its own M filters: (N, H, W, C), (R, S, C, M) -> (N, P, Q, C M)."""

    foreign: ClassVar[Mapping[str, Foreign]] = {"kernel": DEPTHWISE, "bias": BIAS}

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            data_format=data_format,
            **kwargs,
        )
        normalize_padding(padding)
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.depth_multiplier = positive(depth_multiplier, "depth_multiplier")
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def build(self, input_shape: Any) -> None:
        """kernel (R, S, C, M) and bias (C M)."""
        channels = self.channels(input_shape, 4, "(N, H, W, C)")
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_kernel(shape, self.depthwise_initializer, self.depthwise_regularizer)
        self.bias = self.add_bias(channels * self.depth_multiplier)

    def convolve(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, C M)."""
        return ops.depthwise_conv2d(
            x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate
        )


@final
class SeparableConv2D(_Conv):
    """A depthwise convolution, then a 1x1 convolution, then bias and activation."""

    foreign: ClassVar[Mapping[str, Foreign]] = {
        "depthwise_kernel": replace(DEPTHWISE, name="depthwise.weight"),
        "pointwise_kernel": replace(CONV_2D, name="pointwise.weight"),
        "bias": Foreign("pointwise.bias"),
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            data_format=data_format,
            **kwargs,
        )
        normalize_padding(padding)
        self.filters = positive(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.depth_multiplier = positive(depth_multiplier, "depth_multiplier")
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, input_shape: Any) -> None:
        """depthwise_kernel (R, S, C, M), pointwise_kernel (1, 1, C M, K), bias (K)."""
        channels = self.channels(input_shape, 4, "(N, H, W, C)")
        middle = channels * self.depth_multiplier
        self.depthwise_kernel = self.add_kernel(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            self.depthwise_regularizer,
            "depthwise_kernel",
        )
        self.pointwise_kernel = self.add_kernel(
            (1, 1, middle, self.filters),
            self.pointwise_initializer,
            self.pointwise_regularizer,
            "pointwise_kernel",
        )
        self.bias = self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, K)."""
        y = ops.depthwise_conv2d(
            x, self.depthwise_kernel, None, self.strides, self.padding, self.dilation_rate
        )
        return ops.conv2d(y, self.pointwise_kernel, self.bias)


@final
class Conv2DTranspose(_Conv):
    """The gradient of a convolution as a layer: (N, H, W, C), (R, S, K, C) -> (N, P, Q, K).

    Args as Conv2D; `output_padding` adds rows and columns to tell apart the sizes that a strided
    convolution maps to one.
    """

    foreign: ClassVar[Mapping[str, Foreign]] = {"kernel": CONV_2D, "bias": BIAS}

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            data_format=data_format,
            **kwargs,
        )
        normalize_padding(padding)
        self.filters = positive(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.output_padding = output_padding
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        """kernel (R, S, K, C) and bias (K)."""
        channels = self.channels(input_shape, 4, "(N, H, W, C)")
        shape = (*self.kernel_size, self.filters, channels)
        self.kernel = self.add_kernel(shape, self.kernel_initializer, self.kernel_regularizer)
        self.bias = self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """(N, H, W, C) -> (N, P, Q, K)."""
        return ops.conv2d_transpose(
            x,
            self.kernel,
            self.bias,
            self.strides,
            self.padding,
            self.output_padding,
            self.dilation_rate,
        )


def channels_per_group(channels: int, groups: int) -> int:
    """C/G, or an ArgumentError."""
    if channels % groups:
        divisors = [g for g in range(1, channels + 1) if channels % g == 0][:6]
        raise ArgumentError(
            f"groups (={groups}) must divide the input channels (={channels}); try one of "
            f"{divisors}"
        )
    return channels // groups


def single(value: Any, what: str) -> int:
    """A positive integer, also given as a tuple of one."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    return positive(value, what)


def padding_1d(padding: Any) -> Any:
    """One-dimensional padding as that of an image of one row."""
    if isinstance(padding, str):
        return ((0, 0), padding) if padding != "valid" else padding
    sides = arguments.integers("layer", "padding", padding, 0)
    if len(sides) > 2:
        raise ArgumentError(f"padding is {padding!r}, expected an integer or (left, right)")
    return ((0, 0), (sides[0], sides[-1]))
