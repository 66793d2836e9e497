# SPDX-License-Identifier: Apache-2.0
"""The norm family: batch, group, layer and local response normalisation.

The channels are the last axis. Statistics are accurate for data whose mean dwarfs its deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.errors import ArgumentError
from fastcnn.graph import Op
from fastcnn.ops._apply import FLOATS, apply, as_operands
from fastcnn.ops.norm_batch import OPS as BATCH
from fastcnn.ops.norm_batch import BatchNormInference, BatchNormTrain
from fastcnn.ops.norm_group import OPS as GROUP
from fastcnn.ops.norm_group import GroupNorm, LayerNorm
from fastcnn.ops.norm_local import OPS as LOCAL
from fastcnn.ops.norm_local import LocalResponseNorm


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float = 1e-3) -> Any:
    """Batch normalisation with the statistics of this batch, as in training.

    Args:
        x: (N, ..., C) float tensor.
        gamma, beta: (C,) scale and offset.
        epsilon: added to the variance.

    Returns:
        (y, mean, variance): y as x; mean and biased variance are (C,) and carry no gradient.

    Raises:
        ShapeError: fewer than two dimensions, an empty input, or gamma or beta of another shape.
    """
    return apply(BatchNormTrain(float(epsilon)), x, gamma, beta)


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    axis: int = -1,
    offset: Any = None,
    scale: Any = None,
    epsilon: float = 1e-3,
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset with given statistics.

    Args:
        x: (..., C) float tensor.
        mean, variance: (C,).
        axis: the channel axis; only the last one.
        offset, scale: (C,); zeros and ones when None.
        epsilon: added to the variance.

    Raises:
        ArgumentError: another axis than the last.
        ShapeError: a statistic that is not one value per channel.
    """
    x, mean, variance = as_operands((x, mean, variance))
    if axis not in (-1, x.ndim - 1):
        raise ArgumentError(
            f"ops.batch_normalization: axis is {axis}, expected -1 (channels last) for an input of "
            f"{x.ndim} dimensions; move the channels to the end with ops.transpose"
        )
    scale = _vector_like(mean, 1.0) if scale is None else scale
    offset = _vector_like(mean, 0.0) if offset is None else offset
    return apply(BatchNormInference(float(epsilon)), x, scale, offset, mean, variance)


def _vector_like(vector: Any, value: float) -> Any:
    """An array of the shape and float type of `vector`."""
    dtype = str(vector.dtype)
    return np.full(vector.shape, value, dtype if dtype in FLOATS else "float32")


def layer_norm(
    x: Any, gamma: Any, beta: Any, axis: int | Sequence[int] = -1, epsilon: float = 1e-3
) -> Any:
    """Layer normalisation over trailing axes of each sample.

    Args:
        x: float tensor.
        gamma, beta: scale and offset, of the shape of the normalised axes.
        axis: the last axis, or several trailing ones such as (1, 2, 3) or (-2, -1).
        epsilon: added to the variance.

    Raises:
        ArgumentError: axes that are not the trailing ones.
        ShapeError: gamma or beta of another shape.
    """
    x, gamma, beta = as_operands((x, gamma, beta))
    axes = [axis] if isinstance(axis, int) else list(axis)
    found = sorted(a + x.ndim if a < 0 else a for a in axes)
    if not found or found != list(range(x.ndim - len(found), x.ndim)):
        raise ArgumentError(
            f"ops.layer_norm: axis is {axis}, expected trailing axes of an input of {x.ndim} "
            "dimensions; try axis=-1 or axis=(-2, -1)"
        )
    return apply(LayerNorm(len(found), float(epsilon)), x, gamma, beta)[0]


def group_norm(x: Any, gamma: Any, beta: Any, groups: int = 32, epsilon: float = 1e-3) -> Any:
    """Group normalisation: every sample and group of neighbouring channels on its own.

    Args:
        x: (N, ..., C) float tensor.
        gamma, beta: (C,) scale and offset.
        groups: a divisor of C; C itself is instance norm, 1 is layer norm over all but the batch.
        epsilon: added to the variance.

    Raises:
        ShapeError: groups that do not divide the channels, or gamma or beta of another shape.
    """
    return apply(GroupNorm(int(groups), float(epsilon)), x, gamma, beta)[0]


def local_response_norm(
    x: Any, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """x / (k + alpha / size * (sum of x**2 over `size` channels around)) ** beta.

    alpha multiplies the mean of the squares, as in Caffe and PyTorch; the AlexNet paper (and
    TensorFlow) let it multiply their sum, so its k=2, alpha=1e-4 is alpha=5e-4 here.

    Args:
        x: (N, ..., C) float tensor.
        size: channels in the window [c - size // 2, c + (size - 1) // 2].
        alpha, beta, k: as in the formula; k > 0.

    Raises:
        ArgumentError: size below 1, or numbers that let the denominator reach zero.
    """
    return apply(LocalResponseNorm(int(size), float(alpha), float(beta), float(k)), x)


OPS: tuple[type[Op], ...] = (*BATCH, *GROUP, *LOCAL)
