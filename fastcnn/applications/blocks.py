# SPDX-License-Identifier: Apache-2.0
"""Blocks that several families are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from fastcnn import arguments, ops
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Cropping2D,
    DepthwiseConv2D,
    GlobalAveragePooling2D,
    MaxPooling2D,
    Multiply,
)


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


def depthwise_bn(
    x: Tensor,
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "same",
    *,
    names: tuple[str, str],
    norm: Norm = TORCH,
    kernel_initializer: Any = "he_normal",
) -> Tensor:
    """A depthwise convolution and its normalization: (N, H, W, C) -> (N, P, Q, C)."""
    conv = DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=kernel_initializer,
        name=names[0],
    )
    return norm(conv(x), names[1])


def depthwise_bn_relu(
    x: Tensor,
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "same",
    *,
    names: tuple[str, str],
    activation: Any = "relu",
    activation_name: str | None = None,
    **kwargs: Any,
) -> Tensor:
    """`depthwise_bn` and an activation; further keywords are those of `depthwise_bn`."""
    y = depthwise_bn(x, kernel_size, strides, padding, names=names, **kwargs)
    z: Tensor = Activation(activation, name=activation_name or f"{names[1]}.act")(y)
    return z


def scaled(filters: int, factor: float, divisor: int = 8) -> int:
    """`filters` times `factor`, rounded to a multiple of `divisor` but never down by a tenth.

    The rule of the MobileNets' authors.
    """
    wanted = filters * factor
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded


@final
@dataclass(frozen=True)
class Conv:
    """One convolution of a residual branch: K filters of R x R, R odd, its step and its groups."""

    filters: int
    kernel_size: int
    strides: int = 1
    groups: int = 1


def basic(filters: int, strides: int = 1) -> tuple[Conv, ...]:
    """The branch of ResNet-18 and -34: two convolutions of 3x3."""
    return Conv(filters, 3, strides), Conv(filters, 3)


def bottleneck(
    filters: int, strides: int = 1, width: int | None = None, groups: int = 1, early: bool = False
) -> tuple[Conv, ...]:
    """The branch of deeper networks: 1x1 to fewer channels, 3x3 among these, 1x1 to 4 `filters`.

    Args:
        filters: a quarter of the channels that come out.
        strides: of the block.
        width: channels of the 3x3 convolution; `filters` when None, more in wide networks.
        groups: of the 3x3 convolution; above 1 in ResNeXt.
        early: the first 1x1 convolution strides, as in the paper; else the 3x3 one.
    """
    width = filters if width is None else width
    first, second = (strides, 1) if early else (1, strides)
    return Conv(width, 1, first), Conv(width, 3, second, groups), Conv(4 * filters, 1)


def residual(
    x: Tensor,
    branch: Sequence[Conv],
    shortcut: str = "auto",
    padding: str = "same",
    *,
    name: str,
    norm: Norm = TORCH,
    use_bias: bool = False,
    excite: Callable[[Tensor], Tensor] | None = None,
    projection_size: int = 1,
) -> Tensor:
    """relu(F(x) + shortcut(x)): a residual block. He et al. 2015, arXiv:1512.03385, section 3.

    F is the branch, with batch normalization after each convolution and relu between them. Where
    the last gamma and beta of F are zero, the block gives relu(x): it has shut itself down.

    The shortcut has to arrive at the size of F(x). With "same" padding only strides shrink the
    maps; with "valid" padding every filter larger than one pixel does as well. In the paper's
    words, shortcut "identity" is option A, "auto" option B and "projection" option C:

    - "identity" has no weights. It is x itself; where F shrinks the maps, x is cropped to the
      pixels that lie in the middle of what F sees, and takes every n-th of them; where F adds
      channels, these are zero.
    - "projection" is a convolution with a normalization of its own. With "valid" padding its filter
      is as large as the receptive field of F, so that it shrinks the maps by just as much.
    - "auto" is x itself where F keeps its shape, else the projection.

    Args:
        x: (N, H, W, C).
        branch: the convolutions of F, such as `basic(64)` or `bottleneck(64, strides=2)`.
        shortcut: "identity", "projection" or "auto".
        padding: "same" pads (R - 1) / 2 pixels on all sides, "valid" none.
        name: of the block; layers are called `<name>.conv1`, `<name>.bn1`, `<name>.downsample.0`, …
        norm: the normalizations.
        use_bias: whether convolutions have biases, which the normalizations make superfluous.
        excite: what is done to F(x) before the sum, such as `squeeze_excite`.
        projection_size: R of the projection with "same" padding.

    Returns:
        (N, P, Q, K) with the K filters of the last convolution.

    Raises:
        ArgumentError: an unknown word, or an identity shortcut to fewer channels.
        ShapeError: maps smaller than the filters; a crop where H and W are not known.
    """
    arguments.one_of(name, "shortcut", shortcut, ("auto", "identity", "projection"))
    arguments.one_of(name, "padding", padding, ("same", "valid"))
    same = padding == "same"

    def normalized(x: Tensor, conv: Conv, names: tuple[str, str]) -> Tensor:
        size, pads = conv.kernel_size, conv.kernel_size // 2 if same else 0
        return conv_bn(
            x,
            conv.filters,
            size,
            conv.strides,
            pads,
            names=names,
            groups=conv.groups,
            norm=norm,
            use_bias=use_bias,
        )

    y = x
    for index, conv in enumerate(branch, 1):
        y = normalized(y, conv, (f"{name}.conv{index}", f"{name}.bn{index}"))
        if index < len(branch):
            y = Activation("relu", name=f"{name}.relu{index}")(y)
    if excite is not None:
        y = excite(y)

    filters = branch[-1].filters
    field, strides = receptive_field(branch)
    keeps_shape = strides == 1 and (same or field == 1) and x.shape[-1] == filters
    if shortcut == "projection" or (shortcut == "auto" and not keeps_shape):
        projection = Conv(filters, projection_size if same else field, strides)
        x = normalized(x, projection, (f"{name}.downsample.0", f"{name}.downsample.1"))
    else:
        x = _identity(x, filters, strides, 1 if same else field, name)
    y = Add(name=f"{name}.add")([y, x])
    result: Tensor = Activation("relu", name=f"{name}.relu")(y)
    return result


def receptive_field(branch: Sequence[Conv]) -> tuple[int, int]:
    """Size and step of the one filter that sees as much as the branch."""
    field = strides = 1
    for conv in branch:
        field += (conv.kernel_size - 1) * strides
        strides *= conv.strides
    return field, strides


def _identity(x: Tensor, filters: int, strides: int, field: int, name: str) -> Tensor:
    """x at the pixels that filters of size `field` are centred on, and channels of zeros."""
    added = filters - int(x.shape[-1] or 0)
    if added < 0:
        raise ArgumentError(
            f"{name}: found an identity shortcut from {x.shape[-1]} channels to {filters}, "
            'expected no fewer channels; use shortcut="projection"'
        )
    if field > 1:
        x = Cropping2D(field // 2, name=f"{name}.crop")(x)
    if strides > 1:
        x = MaxPooling2D(1, strides=strides, name=f"{name}.subsample")(x)
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, added))) if added else x


def stages(
    x: Tensor,
    block: Callable[[Tensor, int, int, str], Tensor],
    filters: Sequence[int],
    depths: Sequence[int],
    names: str = "layer{stage}.{block}",
) -> Tensor:
    """Blocks one after the other, in stages between which the maps shrink to half.

    Args:
        x: (N, H, W, C).
        block: draws a block from (x, filters, strides, name).
        filters: of each stage.
        depths: number of blocks of each stage.
        names: of the blocks; stages count from 1, blocks from 0.
    """
    for stage, (width, depth) in enumerate(zip(filters, depths, strict=True)):
        for index in range(depth):
            strides = 2 if stage > 0 and index == 0 else 1
            x = block(x, width, strides, names.format(stage=stage + 1, block=index))
    return x


def squeeze_excite(x: Tensor, name: str, ratio: int = 16) -> Tensor:
    """Each channel weighted by what all channels hold on average. Hu et al. 2017, arXiv:1709.01507.

    Args:
        x: (N, H, W, C).
        name: of the block; its two Dense layers, drawn as 1x1 convolutions, are `<name>.fc1` and
            `<name>.fc2`.
        ratio: the first of them has C / ratio outputs.
    """
    channels = int(x.shape[-1] or 0)
    weights = GlobalAveragePooling2D(keepdims=True, name=f"{name}.squeeze")(x)
    weights = Conv2D(channels // ratio, 1, activation="relu", name=f"{name}.fc1")(weights)
    weights = Conv2D(channels, 1, activation="sigmoid", name=f"{name}.fc2")(weights)
    y: Tensor = Multiply(name=f"{name}.scale")([x, weights])
    return y
