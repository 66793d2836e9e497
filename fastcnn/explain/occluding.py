# SPDX-License-Identifier: Apache-2.0
"""Covering a part of the image and looking how much the score falls: no gradient is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn.errors import ArgumentError
from fastcnn.explain.pixels import baseline_of
from fastcnn.explain.plans import Explained
from fastcnn.explain.targets import reduce_channels
from fastcnn.graph import Array
from fastcnn.models import Model
from fastcnn.ops.geometry import pair


def occlusion(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    window: Any = None,
    strides: Any = None,
    baseline: Any = 0.0,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """How much the score falls when a window of the image is covered.

    Windows cover all channels. Where several cover a pixel, it gets the mean of what they did.

    Args:
        model, x, target, channel, logits, output: as for `saliency`.
        window: pixels, one number or (height, width); an eighth of the image when None.
        strides: steps of the window; half of it when None.
        baseline: what covers: a number, an image or images.

    Returns:
        (N, H, W, C), the same for all channels; positive where the score needs the pixel.

    Raises:
        ArgumentError: a window or stride that is no positive integer, or larger than the image.

    Source: M. D. Zeiler and R. Fergus, arXiv:1311.2901, section 4.2.
    """
    explained = Explained(model, x, target, logits, output)
    x = explained.x
    if x.ndim != 4:
        raise ArgumentError(
            f"explain.occlusion: found images of shape {x.shape}, expected (N, H, W, C)"
        )
    eighth = tuple(max(1, pixels // 8) for pixels in x.shape[1:3])
    size = eighth if window is None else pair(window, "window")
    steps = tuple(max(1, w // 2) for w in size) if strides is None else pair(strides, "strides")
    for covered, step, pixels in zip(size, steps, x.shape[1:3], strict=True):
        if covered > pixels or step > covered:
            raise ArgumentError(
                f"explain.occlusion: found window={size} and strides={steps} for images of "
                f"{x.shape[1]}x{x.shape[2]}, expected a window within the image and steps not "
                "longer than it, so that every pixel is covered"
            )
    cover = baseline_of(x, baseline)
    whole = explained.score().astype(np.float64)
    falls, times = np.zeros(x.shape[:3]), np.zeros(x.shape[1:3])
    for rows in _places(x.shape[1], size[0], steps[0]):
        for columns in _places(x.shape[2], size[1], steps[1]):
            covered = x.copy()
            covered[:, rows, columns] = cover[:, rows, columns]
            falls[:, rows, columns] += (whole - explained.score(covered))[:, None, None]
            times[rows, columns] += 1
    maps = (falls / times)[..., None].astype(x.dtype)
    return reduce_channels(np.repeat(maps, x.shape[3], axis=3), channel)


def _places(pixels: int, window: int, step: int) -> Iterator[slice]:
    """Windows from the first pixel on, until the last is covered; the last may be cut short."""
    for number in range(math.ceil((pixels - window) / step) + 1):
        yield slice(number * step, min(number * step + window, pixels))
