# SPDX-License-Identifier: Apache-2.0
"""Which positions of an axis an op reads: windows, their transposes, resizing, shifts.

Positions are whole numbers without bounds: what lies outside of the input is padding, and whoever
knows the input's size leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import final

import numpy as np

from fastcnn.graph import Array

# In the place of a position: there is none.
NOWHERE = np.iinfo(np.int64).min


@final
@dataclass(frozen=True)
class Reading:
    """Along one axis, the input positions that each output position depends on.

    Attributes:
        outputs, inputs: `outputs` positions further, all that is read lies `inputs` further.
        sources: output positions (n,) -> input positions (n, taps), NOWHERE where a tap has none.
    """

    outputs: int
    inputs: int
    sources: Callable[[Array], Array]


def window(stride: int, pad: int, taps: int, dilation: int = 1) -> Reading:
    """A window of `taps` positions, `dilation` apart, that moves by `stride`."""
    steps = np.arange(taps) * dilation - pad
    return Reading(1, stride, lambda p: p[:, None] * stride + steps)


def shift(offset: int) -> Reading:
    """Position p reads p + offset: slices, padding, parts of a concatenation."""
    return window(1, -offset, 1)


def spread(stride: int, pad: int, taps: int, dilation: int = 1) -> Reading:
    """The transpose of `window`: position p reads every window that covers it."""
    steps = np.arange(taps) * dilation - pad

    def sources(p: Array) -> Array:
        begins = p[:, None] - steps
        return np.where(begins % stride == 0, begins // stride, NOWHERE)

    return Reading(stride, 1, sources)


def nearest(size_in: int, size_out: int) -> Reading:
    """Resizing that takes the pixel in which an output's centre lies."""
    return Reading(
        *_ratio(size_in, size_out), lambda p: (2 * p[:, None] + 1) * size_in // (2 * size_out)
    )


def bilinear(size_in: int, size_out: int, align_corners: bool) -> Reading:
    """Resizing that mixes the two pixels around an output's centre; one, where it hits that."""

    def sources(p: Array) -> Array:
        if align_corners:
            place, unit = p * (size_in - 1), max(size_out - 1, 1)
        else:
            place, unit = (2 * p + 1) * size_in - size_out, 2 * size_out
        low = place // unit
        return np.stack([low, np.where(place % unit, low + 1, NOWHERE)], axis=1)

    if align_corners:
        return Reading(*_ratio(size_in - 1, max(size_out - 1, 1)), sources)
    return Reading(*_ratio(size_in, size_out), sources)


def bins(size_in: int, size_out: int) -> Reading:
    """Adaptive pooling: bin p covers floor(p H / P) to ceil((p + 1) H / P)."""

    def sources(p: Array) -> Array:
        begin, end = p * size_in // size_out, -(-(p + 1) * size_in // size_out)
        places = begin[:, None] + np.arange(-(-size_in // size_out) + 1)
        return np.where(places < end[:, None], places, NOWHERE)

    return Reading(*_ratio(size_in, size_out), sources)


def _ratio(size_in: int, size_out: int) -> tuple[int, int]:
    common = gcd(size_in, size_out)
    return size_out // common, size_in // common
