# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from fastcnn import arguments, initializers, ops, regularizers
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import constant
from fastcnn.layers.base import Layer
from fastcnn.layers.foreign import NORM, Foreign
from fastcnn.ops.geometry import positive


class _Normalization(Layer):
    """Scale gamma and shift beta (C), either of which may be left out; abstract."""

    foreign: ClassVar[Mapping[str, Foreign]] = NORM

    def __init__(
        self,
        *,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = arguments.positive(type(self).__name__, "epsilon", epsilon)
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def add_scale_and_shift(self, shape: tuple[int, ...]) -> None:
        """gamma and beta of `shape`; constants one and zero where they are left out."""
        self.gamma: Any = constant(np.ones(shape, self.dtype))
        self.beta: Any = constant(np.zeros(shape, self.dtype))
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.gamma_initializer, regularizer=self.gamma_regularizer, name="gamma"
            )
        if self.center:
            self.beta = self.add_weight(
                shape, self.beta_initializer, regularizer=self.beta_regularizer, name="beta"
            )


def known_channels(layer: Layer, input_shape: Any) -> int:
    """C of an input, which must be known."""
    if len(input_shape) < 2 or input_shape[-1] is None:
        raise ShapeError(
            f"{type(layer).__name__} found an input of shape {input_shape}, expected (N, ..., C) "
            "with C known; fix the input's size"
        )
    return int(input_shape[-1])


@final
class BatchNormalization(_Normalization):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta per channel. Ioffe and Szegedy 2015.

    In training mean and (biased) variance are the batch's, and the running ones move by
    moving = moving * momentum + batch * (1 - momentum). Otherwise, and whenever the layer is not
    trainable, the running ones are used. PyTorch counts momentum the other way round: its 0.1 is
    0.9 here.

    Args:
        axis: the channels; -1.
        momentum: of the running statistics.
        epsilon: added to the variance.
        center, scale: whether there are beta and gamma.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            **kwargs,
        )
        self.axis = axis
        self.momentum = arguments.fraction("BatchNormalization", "momentum", momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        """gamma, beta, moving_mean, moving_variance (C)."""
        if self.axis not in (-1, len(input_shape) - 1):
            raise ArgumentError(f"axis is {self.axis}, expected -1: channels come last")
        channels = known_channels(self, input_shape)
        self.add_scale_and_shift((channels,))
        self.moving_mean = self.add_weight(
            (channels,), self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            (channels,), self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def call(self, x: Any, training: bool = False) -> Any:
        """Same shape."""
        if not (training and self.trainable):
            return ops.batch_normalization(
                x,
                self.moving_mean,
                self.moving_variance,
                offset=self.beta,
                scale=self.gamma,
                epsilon=self.epsilon,
            )
        y, mean, variance = ops.batch_norm(x, self.gamma, self.beta, self.epsilon)
        self.assign(self.moving_mean, ops.ema_update(self.moving_mean, mean, self.momentum))
        self.assign(
            self.moving_variance, ops.ema_update(self.moving_variance, variance, self.momentum)
        )
        return y


@final
class LayerNormalization(_Normalization):
    """Normalises each sample over its trailing axes. Ba et al. 2016.

    Args:
        axis: the normalised axes; they must be the last ones.
        epsilon, center, scale: as in BatchNormalization.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            **kwargs,
        )
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """gamma and beta of the normalised axes' shape."""
        given = arguments.integers("LayerNormalization", "axis", self.axis)
        axes = sorted(a % len(input_shape) for a in given)
        if axes != list(range(len(input_shape) - len(axes), len(input_shape))):
            raise ArgumentError(
                f"axis is {self.axis}, expected the last axes, e.g. -1 or (1, 2, 3)"
            )
        known_channels(self, input_shape)
        self.add_scale_and_shift(tuple(input_shape[a] for a in axes))

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.layer_norm(x, self.gamma, self.beta, self.axis, self.epsilon)


@final
class GroupNormalization(_Normalization):
    """Normalises groups of channels of each sample. Wu and He 2018.

    Args:
        groups: number of groups; -1 makes every channel a group of its own (instance norm).
        axis: the channels; -1.
        epsilon, center, scale: as in BatchNormalization.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            **kwargs,
        )
        self.groups = groups if groups == -1 else positive(groups, "groups")
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """gamma and beta (C)."""
        if self.axis not in (-1, len(input_shape) - 1):
            raise ArgumentError(f"axis is {self.axis}, expected -1: channels come last")
        channels = known_channels(self, input_shape)
        self.add_scale_and_shift((channels,))

    def call(self, x: Any) -> Any:
        """Same shape."""
        groups = x.shape[-1] if self.groups == -1 else self.groups
        return ops.group_norm(x, self.gamma, self.beta, groups, epsilon=self.epsilon)


@final
class LocalResponseNormalization(Layer):
    """x / (k + alpha/size * sum of squares over `size` neighbouring channels)^beta.

    Krizhevsky et al. 2012, with alpha divided by size as Caffe and PyTorch have it.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size = positive(size, "size")
        self.alpha = arguments.number("LocalResponseNormalization", "alpha", alpha)
        self.beta = arguments.number("LocalResponseNormalization", "beta", beta)
        self.k = arguments.number("LocalResponseNormalization", "k", k)

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
