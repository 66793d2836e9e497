# SPDX-License-Identifier: Apache-2.0
"""Windows sliding over an image: padding forms, resolved pads and output sizes.

One axis at a time: `size` input pixels, a window of `window` taps `dilation` pixels apart that
moves by `stride`, and pads `(before, after)`. A size of None (not known yet) gives None.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from operator import index
from typing import Any

from fastcnn.errors import ArgumentError, ShapeError

Pads = tuple[int, int]
AxisPadding = str | Pads  # "same", "same_lower" or (before, after)
Padding = tuple[AxisPadding, AxisPadding]  # of the height and of the width
AXES = ("height", "width")


def positive(value: Any, what: str) -> int:
    """`value` as an integer of at least 1, or an ArgumentError naming `what`."""
    number = _integer(value)
    if number is None or number < 1:
        raise ArgumentError(f"{what} is {value!r}, expected an integer of at least 1; try {what}=1")
    return number


def pair(value: Any, what: str) -> tuple[int, int]:
    """(vertical, horizontal) from one positive integer or two; ArgumentError names `what`."""
    both = (value, value) if _integer(value) is not None else _items(value)
    numbers = [_integer(v) for v in both]
    if len(numbers) != 2 or any(n is None or n < 1 for n in numbers):
        raise ArgumentError(
            f"{what} is {value!r}, expected one integer of at least 1 or a pair of them; "
            f"try {what}=1 or {what}=(1, 2)"
        )
    return numbers[0], numbers[1]  # type: ignore[return-value]


def normalize_padding(padding: Any) -> Padding:
    """The padding of each axis, from any of the forms that users write.

    Args:
        padding: "valid" (none), "same" (as much as makes output = ceil(input / stride), any odd
            pixel at the bottom and right, the TensorFlow rule), "same_lower" (odd pixel at the top
            and left, as ONNX), an integer for all sides, or ((top, bottom), (left, right)).

    Returns:
        For height and width: "same", "same_lower" or (before, after).

    Raises:
        ArgumentError: any other form, or a negative number.
    """
    if isinstance(padding, str) and padding.lower() in ("valid", "same", "same_lower"):
        word = padding.lower()
        return ((0, 0), (0, 0)) if word == "valid" else (word, word)
    number = _integer(padding)
    if number is not None and number >= 0:
        return ((number, number), (number, number))
    sides = [_axis_padding(axis) for axis in _items(padding)]
    if len(sides) != 2 or None in sides:
        raise ArgumentError(
            f'padding is {padding!r}, expected "valid", "same", "same_lower", an integer of '
            "at least 0, or ((top, bottom), (left, right)); try padding=1 or "
            "padding=((0, 1), (0, 1))"
        )
    return sides[0], sides[1]  # type: ignore[return-value]


def _axis_padding(value: Any) -> AxisPadding | None:
    if isinstance(value, str):
        return value if value in ("same", "same_lower") else None
    numbers = [_integer(v) for v in _items(value)]
    if len(numbers) != 2 or any(n is None or n < 0 for n in numbers):
        return None
    return numbers[0], numbers[1]  # type: ignore[return-value]


def _integer(value: Any) -> int | None:
    """An integer of any type (not a bool), else None."""
    if isinstance(value, bool):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def _items(value: Any) -> Sequence[Any]:
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def extent(window: int, dilation: int = 1) -> int:
    """Pixels that a dilated window covers from its first tap to its last."""
    return (window - 1) * dilation + 1


def resolve_pads(
    padding: AxisPadding, size: int, window: int, stride: int, dilation: int = 1
) -> Pads:
    """(before, after) of one axis; "same" needs the input's size.

    With "same", output = ceil(size / stride), total = max((output - 1) * stride + extent - size, 0)
    and the odd pixel goes after; before with "same_lower".
    """
    if not isinstance(padding, str):
        return padding
    output = -(-size // stride)
    total = max((output - 1) * stride + extent(window, dilation) - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if padding == "same" else (large, small)


def output_size(
    size: int | None,
    window: int,
    stride: int,
    dilation: int = 1,
    padding: AxisPadding = (0, 0),
    axis: str = "height",
    what: str = "kernel",
) -> int | None:
    """floor((size + before + after - extent) / stride) + 1; None where `size` is None.

    Args:
        axis, what: words for the error: along which axis, and what slides ("kernel", "window").

    Raises:
        ShapeError: the input is empty, or the dilated window is larger than the padded input.
    """
    if size is None:
        return None
    if size < 1:
        raise ShapeError(f"the input's {axis} is {size}, expected at least 1; give a larger image")
    before, after = resolve_pads(padding, size, window, stride, dilation)
    room = size + before + after - extent(window, dilation)
    if room < 0:
        dilated = f" ({extent(window, dilation)} with dilation {dilation})" if dilation > 1 else ""
        raise ShapeError(
            f"the {what}'s {axis} {window}{dilated} is larger than the input's {size} padded by "
            f"{before} and {after}; try a smaller {what}, padding='same' or a larger input"
        )
    return room // stride + 1


def conv_output_size(
    n: int | None, k: int, stride: int = 1, dilation: int = 1, pads: AxisPadding | int = (0, 0)
) -> int | None:
    """Output pixels of a convolution along one axis: floor((n + 2p - k) / s) + 1.

    Args:
        n: input pixels; None (not known) gives None.
        k: taps of the filter.
        stride: step of the filter.
        dilation: distance of its taps.
        pads: p on both sides, (before, after), or "valid", "same", "same_lower".

    Raises:
        ShapeError: the dilated filter is larger than the padded input.
        ArgumentError: a size, stride or dilation below 1, or a padding of another form.
    """
    both = normalize_padding((pads, pads) if isinstance(pads, tuple) else pads)
    k, stride, dilation = (
        positive(k, "k"),
        positive(stride, "stride"),
        positive(dilation, "dilation"),
    )
    return output_size(n, k, stride, dilation, both[0], axis="size")


def divisors(number: int) -> list[int]:
    """Divisors of `number` above 1, ascending."""
    return [d for d in range(2, number + 1) if number % d == 0]


def require_groups(groups: int, channels: int | None, filters: int | None) -> None:
    """ShapeError unless `groups` divides the input channels and the filters (None: not known)."""
    common = gcd(channels or 0, filters or 0)
    for what, count in (("input channels", channels), ("filters", filters)):
        if count is not None and count % groups:
            choices = " or ".join(str(d) for d in divisors(common)[:2]) or "1"
            raise ShapeError(
                f"groups (={groups}) must divide {what} (={count}); try groups={choices}"
            )
