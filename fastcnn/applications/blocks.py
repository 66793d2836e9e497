# SPDX-License-Identifier: Apache-2.0
"""Blocks that several families are built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from fastcnn.graph import Tensor
from fastcnn.layers import Activation, BatchNormalization, Conv2D


@final
@dataclass(frozen=True)
class Norm:
    """A family's batch normalization: `epsilon` and `momentum` in Keras' sense, gamma, beta."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    scale: bool = True
    center: bool = True

    def __call__(self, x: Tensor, name: str) -> Tensor:
        """The layer called `name` on x."""
        layer = BatchNormalization(
            momentum=self.momentum,
            epsilon=self.epsilon,
            scale=self.scale,
            center=self.center,
            name=name,
        )
        y: Tensor = layer(x)
        return y


TORCH = Norm()
KERAS = Norm(epsilon=1e-3, momentum=0.99)


def conv_bn(
    x: Tensor,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "same",
    *,
    names: tuple[str, str],
    groups: int = 1,
    norm: Norm = TORCH,
    use_bias: bool = False,
    kernel_initializer: Any = "he_normal",
) -> Tensor:
    """A convolution and its normalization: (N, H, W, C) -> (N, P, Q, K).

    Args:
        names: of the convolution and of the normalization.
        padding: as Conv2D's; an integer is PyTorch's padding.
        use_bias: a bias of the convolution's own, as some published networks have.
    """
    conv = Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer,
        name=names[0],
    )
    return norm(conv(x), names[1])


def conv_bn_relu(
    x: Tensor,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "same",
    *,
    names: tuple[str, str],
    activation: Any = "relu",
    activation_name: str | None = None,
    **kwargs: Any,
) -> Tensor:
    """`conv_bn` and an activation; further keywords are those of `conv_bn`."""
    y = conv_bn(x, filters, kernel_size, strides, padding, names=names, **kwargs)
    z: Tensor = Activation(activation, name=activation_name or f"{names[1]}.act")(y)
    return z
