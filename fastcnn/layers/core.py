# SPDX-License-Identifier: Apache-2.0
"""Dense, activations and layers without weights that change shapes or values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from fastcnn import activations, arguments, initializers, ops, regularizers
from fastcnn.drawing import random_state
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers.base import Layer
from fastcnn.layers.foreign import BIAS, DENSE, Foreign
from fastcnn.ops.geometry import positive


@final
class Dense(Layer):
    """y = activation(x W + b) over the last axis.

    Args:
        units: K, size of the output's last axis.
        activation: name or function; None is linear.
        use_bias: whether to add b.
        kernel_initializer, bias_initializer: of W (C, K) and b (K).
        kernel_regularizer, bias_regularizer: terms of the loss.
    """

    foreign: ClassVar[Mapping[str, Foreign]] = {"kernel": DENSE, "bias": BIAS}

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive(units, "units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        """W (C, K) and b (K)."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ShapeError(
                f"Dense found an input of shape {input_shape}, expected (N, ..., C) with C known; "
                "put a Flatten before it or fix the input's size"
            )
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, regularizer=self.kernel_regularizer, name="kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
            )

    def call(self, x: Any) -> Any:
        """(N, ..., C) -> (N, ..., K)."""
        return self.activation(ops.dense(x, self.kernel, self.bias))


@final
class Bias(Layer):
    """y = activation(x + bias), the bias having a number per element of a sample.

    Behind a convolution it gives each unit a bias of its own, as in LeCun et al. 1989.

    Args:
        shared_axes: axes (1 is the first after the batch) along which the bias is one number.
        activation: name or function; None is linear.
        bias_initializer, bias_regularizer: of the bias.
    """

    def __init__(
        self,
        shared_axes: Any = None,
        activation: Any = None,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shared_axes = None
        if shared_axes is not None:
            self.shared_axes = arguments.integers("Bias", "shared_axes", shared_axes, 1)
        self.activation = activations.get(activation)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        """bias of the sample's shape, 1 along shared axes."""
        shared = self.shared_axes or ()
        shape = tuple(1 if i in shared else d for i, d in enumerate(input_shape) if i > 0)
        if None in shape:
            raise ShapeError(
                f"Bias found an input of shape {input_shape}, expected known sizes; fix the "
                "input's size, or share the bias over the others with shared_axes=[1, 2]"
            )
        self.bias = self.add_weight(
            shape, self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
        )

    def call(self, x: Any) -> Any:
        """Same shape."""
        return self.activation(ops.add(x, self.bias))


@final
class RBF(Layer):
    """Squared distances to centres: y[n, k] = sum over c of (x[n, c] - centers[k, c])^2.

    The Euclidean radial basis function units at the end of LeNet-5. LeCun et al. 1998, equation 7.

    Args:
        units: K, number of centres.
        centers_initializer: of the centres (K, C).
        fixed: keep the centres as they begin; they then count as statistics, not as parameters.
        centers_regularizer: term of the loss.
    """

    def __init__(
        self,
        units: int,
        centers_initializer: Any = "glorot_uniform",
        fixed: bool = False,
        centers_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive(units, "units")
        self.centers_initializer = initializers.get(centers_initializer)
        self.fixed = fixed
        self.centers_regularizer = regularizers.get(centers_regularizer)

    def build(self, input_shape: Any) -> None:
        """centers (K, C)."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ShapeError(
                f"RBF found an input of shape {input_shape}, expected (N, C) with C known; put a "
                "Flatten before it or fix the input's size"
            )
        self.centers = self.add_weight(
            (self.units, input_shape[-1]),
            self.centers_initializer,
            trainable=not self.fixed,
            regularizer=self.centers_regularizer,
            name="centers",
        )

    def call(self, x: Any) -> Any:
        """(N, C) -> (N, K), none negative."""
        away = ops.subtract(ops.expand_dims(x, 1), self.centers)
        return ops.sum(ops.square(away), axis=-1)


@final
class Activation(Layer):
    """An activation by name or function."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Any:
        """Same shape."""
        return self.activation(x)


@final
class Identity(Layer):
    """y = x."""

    def call(self, x: Any) -> Any:
        """Same tensor."""
        return x


@final
class Flatten(Layer):
    """(N, ...) -> (N, product of the rest), channels last in row order."""

    def call(self, x: Any) -> Any:
        """One axis beside the batch."""
        return ops.flatten(x)


@final
class Reshape(Layer):
    """(N, ...) -> (N, *target_shape); one -1 is worked out."""

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = arguments.integers("Reshape", "target_shape", target_shape, -1)

    def call(self, x: Any) -> Any:
        """Same values in row order."""
        sizes = x.shape[1:]
        if None in sizes:
            return ops.reshape(x, (x.shape[0] or -1, *self.target_shape))
        known = math.prod(d for d in self.target_shape if d != -1)
        rest, left = divmod(math.prod(sizes), max(known, 1))
        if left or self.target_shape.count(-1) > 1 or (-1 not in self.target_shape and rest != 1):
            raise ShapeError(
                f"cannot reshape samples of shape {sizes} to {self.target_shape}; the products of "
                "their sizes must agree, and at most one size may be -1"
            )
        return ops.reshape(x, (-1, *(rest if d == -1 else d for d in self.target_shape)))


@final
class Permute(Layer):
    """Reorder the axes of a sample; `dims` counts from 1 as in Keras."""

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = arguments.integers("Permute", "dims", dims, 1)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                f"Permute dims {self.dims} are not a permutation of 1..{len(self.dims)}; "
                "the batch axis is not counted, e.g. (2, 1)"
            )

    def call(self, x: Any) -> Any:
        """Transposed samples."""
        return ops.transpose(x, (0, *self.dims))


@final
class Rescaling(Layer):
    """y = x * scale + offset in the layer's float type; takes integer images too.

    Args:
        scale: a number, or one for each channel.
        offset: likewise.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = (
            tuple(arguments.number("Rescaling", name, v) for v in value)
            if isinstance(value, (tuple, list))
            else arguments.number("Rescaling", name, value)
            for name, value in (("scale", scale), ("offset", offset))
        )

    def call(self, x: Any) -> Any:
        """Same shape, floats."""
        for numbers in (self.scale, self.offset):
            if isinstance(numbers, tuple) and x.shape[-1] != len(numbers):
                raise ShapeError(
                    f"Rescaling found an input of shape {x.shape}, expected {len(numbers)} "
                    "channels; give one number, or one for each channel"
                )
        x = x if x.dtype == self.dtype else ops.cast(x, self.dtype)
        y = x if self.scale == 1 else ops.multiply(x, np.asarray(self.scale, self.dtype))
        return y if self.offset == 0 else ops.add(y, np.asarray(self.offset, self.dtype))


@final
class Dropout(Layer):
    """In training, zero each element with probability `rate` and scale the rest by 1/(1-rate).

    The draw is keyed by (seed, step, place, element): it depends on neither threads nor batches
    run before. Srivastava et al. 2014.
    """

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = _rate(self, rate), _seed(self, seed)
        self.noise_shape = noise_shape
        if noise_shape is not None:
            known = [d for d in _listed(noise_shape) if d is not None]
            arguments.integers("Dropout", "noise_shape", known or noise_shape, 1)
            self.noise_shape = tuple(_listed(noise_shape))

    def call(self, x: Any, training: bool = False) -> Any:
        """Same shape."""
        return drop(x, self.rate, self.noise_shape, self.seed) if training else x


@final
class SpatialDropout2D(Layer):
    """Dropout of whole feature maps: (N, 1, 1, C) draws. Tompson et al. 2015."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = _rate(self, rate), _seed(self, seed)

    def call(self, x: Any, training: bool = False) -> Any:
        """Same shape (N, H, W, C)."""
        return drop(x, self.rate, (None, 1, 1, None), self.seed) if training else x


@final
class SpatialDropout1D(Layer):
    """Dropout of whole channels of (N, W, C)."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = _rate(self, rate), _seed(self, seed)

    def call(self, x: Any, training: bool = False) -> Any:
        """Same shape (N, W, C)."""
        return drop(x, self.rate, (None, 1, None), self.seed) if training else x


def _rate(layer: Layer, rate: Any) -> float:
    return arguments.fraction(type(layer).__name__, "rate", rate, below_one=True)


def _seed(layer: Layer, seed: Any) -> int | None:
    return None if seed is None else arguments.integer(type(layer).__name__, "seed", seed)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def drop(x: Any, rate: float, noise_shape: Any, seed: int | None) -> Any:
    """Dropout at this place of the graph; None in `noise_shape` stands for x's own size."""
    if rate == 0:
        return x
    rng, salt = random_state()
    if noise_shape is not None:
        if len(noise_shape) != x.ndim:
            raise ShapeError(
                f"dropout found an input of shape {x.shape}, expected {len(noise_shape)} axes as "
                f"in noise_shape {tuple(noise_shape)}"
            )
        noise_shape = tuple(x.shape[i] if d is None else d for i, d in enumerate(noise_shape))
    return ops.dropout(x, rng, rate, salt=salt if seed is None else seed, noise_shape=noise_shape)
