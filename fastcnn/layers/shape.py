# SPDX-License-Identifier: Apache-2.0
"""Layers that pad, crop, resize and reorder images (N, H, W, C) and rows (N, W, C)."""

from __future__ import annotations

from typing import Any, final

from fastcnn import arguments, ops
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers.base import Layer
from fastcnn.ops.geometry import pair, positive

Sides = tuple[tuple[int, int], tuple[int, int]]


def sides_2d(value: Any, what: str) -> Sides:
    """((top, bottom), (left, right)) from an integer, (rows, columns), or itself."""
    if isinstance(value, int):
        value = (value, value)
    try:
        rows, columns = value
        found = tuple(sides_1d(side, what) for side in (rows, columns))
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{what} is {value!r}, expected an integer, (rows, columns), or "
            "((top, bottom), (left, right))"
        ) from None
    return found[0], found[1]


def sides_1d(value: Any, what: str) -> tuple[int, int]:
    """(before, after) from an integer or itself."""
    sides = arguments.integers("layer", what, value, 0)
    if len(sides) != (2 if isinstance(value, (tuple, list)) else 1):
        raise ArgumentError(f"{what} is {value!r}, expected an integer or (before, after)")
    return sides[0], sides[-1]


@final
class ZeroPadding2D(Layer):
    """Zeros around an image."""

    def __init__(
        self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.padding = sides_2d(padding, "padding")

    def call(self, x: Any) -> Any:
        """(N, H + top + bottom, W + left + right, C)."""
        return ops.pad(x, ((0, 0), *self.padding, (0, 0)))


@final
class ZeroPadding1D(Layer):
    """Zeros before and after a row."""

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.padding = sides_1d(padding, "padding")

    def call(self, x: Any) -> Any:
        """(N, W + left + right, C)."""
        return ops.pad(x, ((0, 0), self.padding, (0, 0)))


@final
class Cropping2D(Layer):
    """Cuts pixels off the sides of an image."""

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.cropping = sides_2d(cropping, "cropping")

    def call(self, x: Any) -> Any:
        """(N, H - top - bottom, W - left - right, C)."""
        return crop(x, (*self.cropping,))


@final
class Cropping1D(Layer):
    """Cuts pixels off both ends of a row."""

    def __init__(
        self, cropping: Any = (1, 1), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.cropping = sides_1d(cropping, "cropping")

    def call(self, x: Any) -> Any:
        """(N, W - left - right, C)."""
        return crop(x, (self.cropping,))


def crop(x: Any, cropping: tuple[tuple[int, int], ...]) -> Any:
    """Cut the axes after the batch; sizes must be known there."""
    sizes = x.shape[1 : 1 + len(cropping)]
    if x.ndim != len(cropping) + 2:
        raise ShapeError(
            f"cannot crop {cropping} from an input of shape {x.shape}; expected "
            f"{len(cropping) + 2} axes, the batch first and the channels last"
        )
    if None in sizes or any(s - b - a < 1 for s, (b, a) in zip(sizes, cropping, strict=True)):
        raise ShapeError(
            f"cannot crop {cropping} from an input of shape {x.shape}; its sizes must be known and "
            "larger than what is cut off"
        )
    return ops.crop(x, ((0, 0), *cropping, (0, 0)))


@final
class UpSampling2D(Layer):
    """Repeats (or interpolates) rows and columns `size` times."""

    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.size = pair(size, "size")
        self.interpolation = interpolation

    def call(self, x: Any) -> Any:
        """(N, H size, W size, C)."""
        if x.ndim != 4 or None in x.shape[1:3]:
            raise ShapeError(
                f"UpSampling2D found an input of shape {x.shape}, expected (N, H, W, C) with H "
                "and W known; fix the input's size"
            )
        height, width = (d * s for d, s in zip(x.shape[1:3], self.size, strict=True))
        return ops.resize(x, (height, width), interpolation=self.interpolation)


@final
class UpSampling1D(Layer):
    """Repeats the elements of a row `size` times."""

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive(size, "size")

    def call(self, x: Any) -> Any:
        """(N, W size, C)."""
        if x.ndim != 3 or x.shape[1] is None:
            raise ShapeError(f"UpSampling1D found shape {x.shape}, expected (N, W, C) with W known")
        y = ops.resize(ops.expand_dims(x, 1), (1, x.shape[1] * self.size), interpolation="nearest")
        return ops.squeeze(y, 1)


@final
class Resizing(Layer):
    """Resizes images to (height, width), half-pixel centres."""

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.height, self.width = positive(height, "height"), positive(width, "width")
        self.interpolation = interpolation

    def call(self, x: Any) -> Any:
        """(N, height, width, C) in the layer's float type."""
        x = x if x.dtype == self.dtype else ops.cast(x, self.dtype)
        return ops.resize(x, (self.height, self.width), interpolation=self.interpolation)


@final
class ChannelShuffle(Layer):
    """Deals the channels of `groups` groups out one by one. Zhang et al. 2017 (ShuffleNet)."""

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = positive(groups, "groups")

    def call(self, x: Any) -> Any:
        """Same shape."""
        return ops.channel_shuffle(x, self.groups)
