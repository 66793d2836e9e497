# SPDX-License-Identifier: Apache-2.0
"""Which score of each image is explained, and how maps of colours become maps of pixels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Spec


def wanted_scores(target: Any, scores: Spec) -> Array:
    """1 at the score that is explained and 0 elsewhere, in the shape of the scores.

    Args:
        target: a class for all images, a sequence of one class per image, for scores of more axes
            (N, ..., K) a tuple of positions (..., k) or a list of one per image, or an array of
            floats in the shape of the scores, which are then weighed by it.
        scores: spec of the scores.

    Raises:
        ArgumentError: a class that does not exist, or not one per image.
    """
    sizes = scores.sizes
    if isinstance(target, np.ndarray) and target.dtype.kind == "f":
        if target.shape != sizes:
            raise ShapeError(
                f"explain: found weights of scores of shape {target.shape}, expected {sizes}"
            )
        return np.ascontiguousarray(target, scores.dtype)
    places = _places(target, sizes)
    wanted = np.zeros(sizes, scores.dtype)
    for sample, place in enumerate(places):
        if len(place) != len(sizes) - 1 or not all(
            0 <= at < size for at, size in zip(place, sizes[1:], strict=True)
        ):
            raise ArgumentError(
                f"explain: found target {place if len(place) > 1 else place[0]} for scores of "
                f"shape {sizes}, expected {_expected(sizes)}"
            )
        wanted[(sample, *place)] = 1
    return wanted


def _expected(sizes: Sequence[int]) -> str:
    if len(sizes) == 2:
        return f"a class from 0 to {sizes[1] - 1}"
    return f"a tuple of {len(sizes) - 1} positions below {tuple(sizes[1:])}"


def _places(target: Any, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """One position per image."""
    try:
        if isinstance(target, tuple) and len(sizes) > 2:
            return [tuple(map(operator.index, target))] * sizes[0]
        if np.ndim(target) == 0:
            return [(operator.index(target),)] * sizes[0]
        places = [
            tuple(map(operator.index, t)) if np.ndim(t) else (operator.index(t),) for t in target
        ]
    except (TypeError, ValueError):
        raise ArgumentError(
            f"explain: found target={target!r}, expected {_expected(sizes)}, or one per image"
        ) from None
    if len(places) != sizes[0]:
        raise ArgumentError(
            f"explain: found {len(places)} targets for {sizes[0]} images, expected one for all or "
            "one for each"
        )
    return places


def require_classes(sizes: Sequence[int]) -> None:
    """ArgumentError unless scores are (N, K): of those of more axes none is the prediction."""
    if len(sizes) != 2:
        raise ArgumentError(
            f"explain: the scores have shape {tuple(sizes)}, of which none is the prediction; "
            f"give target as {_expected(sizes)}"
        )


def predicted(scores: Array) -> Array:
    """The class of each image with the highest score (N, K) -> (N,).

    Raises:
        ArgumentError: scores of more axes.
    """
    require_classes(scores.shape)
    classes: Array = scores.argmax(axis=1)
    return classes


CHANNELS = ("max", "mean", None)


def reduce_channels(attributions: Array, channel: str | None) -> Array:
    """Maps (N, ..., C) as they are (None), or absolute values over the channels (N, ...).

    Simonyan et al. 2013, section 3.1, take the largest; the mean is smoother.
    """
    arguments.one_of("explain", "channel", channel, CHANNELS)
    if channel is None:
        return attributions
    sizes: Array = np.abs(attributions)
    if sizes.ndim < 3:
        return sizes  # features (N, C) have no channels
    reduced: Array = sizes.max(axis=-1) if channel == "max" else sizes.mean(axis=-1)
    return reduced
