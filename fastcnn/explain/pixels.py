# SPDX-License-Identifier: Apache-2.0
"""Maps over the pixels: what comes back to the image from the score of a class.

All take a batch of images and a target for each, and return arrays shaped like the images, or
without the channels where `channel` says how to reduce them. Scores are logits, also of a model
that ends in softmax: the gradient of a probability vanishes as soon as the network is sure.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.explain.plans import Explained
from fastcnn.explain.rules import Deconvnet, Gradient, Guided, Relevance, Way
from fastcnn.explain.targets import reduce_channels
from fastcnn.graph import Array
from fastcnn.models import Model

# Steps of integrated gradients: doubled from the first until complete, at most to the second.
FIRST_STEPS, LAST_STEPS = 32, 512
COMPLETE = 0.01


def scores(model: Model, x: Any, *, logits: bool = True, output: int = 0) -> Array:
    """The scores that are explained: logits (N, K), also of a model that ends in softmax.

    Arguments and errors as for `saliency`.
    """
    return Explained(model, x, None, logits, output).scores()


def saliency(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = "max",
    *,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """The gradient of a class score at the pixels, in five steps.

    1. Run the images forward. 2. Take the scores of all classes, before any softmax. 3. Let the
    derivative be 1 at the class and 0 at all others. 4. Carry it back to the image. 5. Draw its
    size: `show`.

    Args:
        model: of one input.
        x: images (N, H, W, C), as the model takes them.
        target: a class, or one per image; the highest score of each when None. Scores of more axes
            want tuples of positions.
        channel: "max" or "mean" of the absolute values over the channels, or None for the gradient
            itself.
        logits: False differentiates the probabilities of a model that ends in softmax or sigmoid.
        output: which output of a model of several.

    Returns:
        (N, H, W); with `channel=None` (N, H, W, C), signed.

    Raises:
        ArgumentError: a target, channel or output that does not exist, or a model of several
            inputs.
        ShapeError, DtypeError: images that do not fit the model.

    Source: K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks",
    arXiv:1312.6034, section 3.
    """
    return _carried_back(model, x, target, channel, Gradient(), logits, output)


def guided_backprop(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """The gradient, of which rectifiers let pass only what is positive, where they were open.

    Sharp, but near to an edge detector: see `check`. Arguments and errors as for `saliency`; signed
    values (N, H, W, C) unless `channel` reduces them.

    Source: J. T. Springenberg et al., "Striving for Simplicity", arXiv:1412.6806, section 3.4.
    """
    return _carried_back(model, x, target, channel, Guided(), logits, output)


def deconvolution(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """The score of a class carried back as a deconvnet does: rectified where activations were.

    `deconvnet` begins at a unit of a layer instead. Arguments and errors as for `saliency`.

    Source: M. D. Zeiler and R. Fergus, arXiv:1311.2901, section 2.1.
    """
    return _carried_back(model, x, target, channel, Deconvnet(), logits, output)


def input_x_gradient(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """Pixel times gradient: the score's first-order change if the pixel were 0.

    Arguments and errors as for `saliency`.

    Source: A. Shrikumar et al., "Not Just a Black Box", arXiv:1605.01713.
    """
    explained = Explained(model, x, target, logits, output)
    return reduce_channels(explained.x * explained.back(Gradient())[0], channel)


def lrp(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    epsilon: float = 1e-6,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """Layer-wise relevance propagation with the epsilon rule: the score shared out to the pixels.

    Batch norms are folded into convolutions first. Where no layer has a bias, relevances add up to
    the score, less what epsilon absorbs.

    Args:
        model, x, target, channel, logits, output: as for `saliency`.
        epsilon: how far denominators stay from 0; larger values absorb weak relevance.

    Raises:
        UnsupportedError: an op without a rule, which is named.

    Source: S. Bach et al., "On Pixel-Wise Explanations", PLOS ONE 10(7), e0130140 (2015), eq. 58.
    """
    way = Relevance(arguments.non_negative("explain.lrp", "epsilon", epsilon))
    return _carried_back(model, x, target, channel, way, logits, output)


def _carried_back(
    model: Model, x: Any, target: Any, channel: str | None, way: Way, logits: bool, output: int
) -> Array:
    reduce_channels(np.zeros(1), channel)
    return reduce_channels(Explained(model, x, target, logits, output).back(way)[0], channel)


SMOOTHING = ("smoothgrad", "smoothgrad_sq", "vargrad")


def smooth_grad(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = "max",
    *,
    samples: int = 50,
    noise: float = 0.15,
    kind: str = "smoothgrad",
    seed: int = 0,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """The mean gradient of noisy copies of the images.

    Args:
        model, x, target, channel, logits, output: as for `saliency`.
        samples: number of copies.
        noise: standard deviation, as a part of each image's range of values.
        kind: "smoothgrad" (mean), "smoothgrad_sq" (mean square) or "vargrad" (variance).
        seed: equal seeds draw equal noise.

    Source: D. Smilkov et al., "SmoothGrad", arXiv:1706.03825; J. Adebayo et al., "Local Explanation
    Methods for Deep Neural Networks Lack Sensitivity to Parameter Values", arXiv:1810.03307.
    """
    where = "explain.smooth_grad"
    arguments.integer(where, "samples", samples, 1)
    arguments.non_negative(where, "noise", noise)
    explained = Explained(model, x, target, logits, output)
    deviation = noise * _ranges(explained.x)
    maps = (
        explained.back_from(noisy, Gradient())[0]
        for noisy in noisy_copies(explained.x, deviation, samples, seed)
    )
    return reduce_channels(over_samples(maps, kind), channel)


def _ranges(x: Array) -> Array:
    """Largest less smallest value of each image, (N, 1, ..., 1)."""
    axes = tuple(range(1, x.ndim))
    spread: Array = x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True)
    return spread


def noisy_copies(x: Array, deviation: Any, samples: int, seed: int) -> Iterator[Array]:
    """So many copies of x, each with normal noise of its own."""
    generator = np.random.Generator(np.random.Philox(arguments.integer("explain", "seed", seed)))
    for _ in range(samples):
        noise = generator.standard_normal(x.shape, np.float32)
        yield (x + deviation * noise).astype(x.dtype)


def over_samples(maps: Iterator[Array], kind: str) -> Array:
    """Mean, mean square or variance of maps, in float64 on the way."""
    arguments.one_of("explain.smooth_grad", "kind", kind, SMOOTHING)
    first = next(maps)
    total, squares, count = first.astype(np.float64), np.square(first, dtype=np.float64), 1
    for found in maps:
        total += found
        squares += np.square(found, dtype=np.float64)
        count += 1
    mean, square = total / count, squares / count
    chosen = {"smoothgrad": mean, "smoothgrad_sq": square, "vargrad": square - mean * mean}[kind]
    return chosen.astype(first.dtype)


def integrated_gradients(
    model: Model,
    x: Any,
    target: Any = None,
    channel: str | None = None,
    *,
    baseline: Any = 0.0,
    steps: int | None = None,
    return_completeness: bool = False,
    logits: bool = True,
    output: int = 0,
) -> Any:
    """The gradient averaged on the straight way from a baseline to the image, times the difference.

    Attributions add up to score(x) - score(baseline). How nearly they do is the sum's relative
    error, which `return_completeness` returns too.

    Args:
        model, x, target, channel, logits, output: as for `saliency`; attributions are only complete
            with `channel=None`.
        baseline: a number, an image (H, W, C) or images (N, H, W, C) that stand for nothing to see.
        steps: points of the Gauss-Legendre rule on the way; None doubles them from 32 to at most
            512, until the error is below 1 % for every image, and warns if it stays above.
        return_completeness: return (attributions, error of each image (N,)).

    Raises:
        ShapeError: the baseline does not fit the images.

    Source: M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks",
    arXiv:1703.01365.
    """
    explained = Explained(model, x, target, logits, output)
    start = baseline_of(explained.x, baseline)
    for count in _step_counts(steps):
        found = _integral(explained, start, count)
        error = incompleteness(explained, start, found)
        if error.max() <= COMPLETE:
            break
    else:
        if steps is None:
            warnings.warn(
                f"explain.integrated_gradients: with {count} steps the attributions miss "
                f"score(x) - score(baseline) by {error.max():.1%}, expected less than "
                f"{COMPLETE:.0%}; give more steps or another baseline",
                stacklevel=2,
            )
    reduced = reduce_channels(found, channel)
    return (reduced, error) if return_completeness else reduced


def _step_counts(steps: int | None) -> Iterator[int]:
    """The number given, or doubled numbers to try one after the other."""
    if steps is not None:
        yield arguments.integer("explain.integrated_gradients", "steps", steps, 1)
        return
    count = FIRST_STEPS
    while count <= LAST_STEPS:
        yield count
        count *= 2


def baseline_of(x: Array, baseline: Any) -> Array:
    """The baseline in the shape of the images."""
    start = np.asarray(baseline)
    if start.dtype.kind not in "fiub":
        raise ArgumentError(f"explain: found baseline={baseline!r}, expected numbers")
    try:
        return np.ascontiguousarray(np.broadcast_to(start.astype(x.dtype), x.shape))
    except ValueError:
        raise ShapeError(
            f"explain: found a baseline of shape {start.shape} for images {x.shape}, expected a "
            "number, one image or one per image"
        ) from None


def _integral(explained: Explained, start: Array, steps: int) -> Array:
    """Sum of weighted gradients on the way, times the way."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    way = explained.x - start
    total = np.zeros(way.shape, np.float64)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = start + way.dtype.type(point) * way
        total += weight * explained.back_from(at, Gradient())[0]
    return (way * total).astype(way.dtype)


def incompleteness(explained: Explained, start: Array, found: Array) -> Array:
    """|sum of attributions - score difference| / |score difference| of each image."""
    sums = found.reshape(len(found), -1).sum(axis=1, dtype=np.float64)
    rise = explained.score().astype(np.float64) - explained.score(start)
    error: Array = np.abs(sums - rise) / np.maximum(np.abs(rise), np.finfo(found.dtype).tiny)
    return np.where(sums == rise, 0.0, error)
