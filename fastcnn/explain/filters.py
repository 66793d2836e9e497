# SPDX-License-Identifier: Apache-2.0
"""What units look for, whatever the image: filters, images that excite them, patches that did."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fastcnn import analysis, arguments
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.explain.network import images_of, layer_name
from fastcnn.explain.plans import Activations, Ascent, channel_mask, plan_of
from fastcnn.explain.targets import wanted_scores
from fastcnn.graph import Array, Spec
from fastcnn.layers import Conv2D
from fastcnn.models import Model

Floats = npt.NDArray[np.float64]


def filter_grid(model: Model, layer: Any = None, limit: int = 64) -> Floats:
    """The filters of a convolution side by side, as one image.

    Filters over one or three channels are drawn as such, each brought to 0 … 1 with 0 at mid-grey
    where it has values of both signs; those over more channels as the mean over them.

    Args:
        model: a built model.
        layer: a `Conv2D` or its name; the first of the model when None.
        limit: largest number of filters.

    Returns:
        (height, width, 1) or (height, width, 3) in 0 … 1, a line of white between filters.

    Raises:
        ArgumentError: there is no such convolution.
    """
    kernel = _convolution(model, layer).kernel.value.astype(np.float64)
    if kernel.shape[2] not in (1, 3):
        kernel = kernel.mean(axis=2, keepdims=True)
    filters = kernel.transpose(3, 0, 1, 2)[: arguments.integer("filter_grid", "limit", limit, 1)]
    bound = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return grid(0.5 + filters / np.where(bound > 0, 2 * bound, 1))


def _convolution(model: Model, layer: Any) -> Conv2D:
    if isinstance(layer, Conv2D):
        return layer
    found = dict(_convolutions(model))
    if layer is None and found:
        return next(iter(found.values()))
    matches = [p for p in found if layer in (p, p.rpartition("/")[2])]
    if len(matches) != 1:
        raise ArgumentError(
            f"explain.filter_grid: model '{model.name}' has {len(matches)} convolutions called "
            f"{layer!r}, expected one; it has {', '.join(found) or 'none'}"
        )
    return found[matches[0]]


def _convolutions(owner: Any, before: str = "") -> list[tuple[str, Conv2D]]:
    found = []
    for layer in owner.sublayers:
        path = before + layer.name
        if isinstance(layer, Conv2D) and layer.built:
            found.append((path, layer))
        found += _convolutions(layer, f"{path}/")
    return found


def grid(pictures: npt.NDArray[Any], columns: int | None = None) -> Floats:
    """Pictures (n, h, w, c) in 0 … 1 as one (H, W, c), a white line around each."""
    n, h, w, c = pictures.shape
    across = columns or math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    sheet = np.ones((down * (h + 1) + 1, across * (w + 1) + 1, c))
    for number, picture in enumerate(pictures):
        top, left = (number // across) * (h + 1) + 1, (number % across) * (w + 1) + 1
        sheet[top : top + h, left : left + w] = picture
    return sheet


def maximize_activation(
    model: Model,
    target: Any = None,
    layer: Any = None,
    channel: Any = None,
    *,
    start: Any = None,
    input_shape: Sequence[int] | None = None,
    steps: int = 128,
    step: float = 0.05,
    decay: float = 0.01,
    blur: float = 0.5,
    jitter: int = 2,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Array:
    """An image that excites a class or a channel: gradient ascent from noise.

    Every step goes `step` of the value range along the gradient over its root mean square, shrinks
    the image towards the middle of the range, moves it by a few pixels at random and now and then
    blurs it; without these the images are noise to the eye.

    Args:
        model: of one input.
        target: class, of which the logit is climbed; or
        layer, channel: a layer and its channel, whose mean is climbed.
        start: image (H, W, C) to begin with; noise around the middle of the range when None.
        input_shape: (H, W, C); the model's own when None.
        steps: number of steps.
        step: length of a step, as a part of the range.
        decay: part by which the image shrinks at each step.
        blur: standard deviation of the blur in pixels, every fourth step; 0 for none.
        jitter: most pixels that the image moves.
        value_range: smallest and largest value of a pixel.
        seed: equal seeds give equal images.

    Returns:
        (H, W, C), within the range.

    Raises:
        ArgumentError: not exactly one of target and layer, or values out of range.

    Source: K. Simonyan et al., arXiv:1312.6034, section 2; D. Erhan et al., "Visualizing
    Higher-Layer Features of a Deep Network", 2009; J. Yosinski et al., arXiv:1506.06579.
    """
    where = "explain.maximize_activation"
    if (target is None) == (layer is None) or (layer is None) != (channel is None):
        raise ArgumentError(f"{where}: give either target, or layer and channel")
    arguments.integer(where, "steps", steps, 1)
    arguments.integer(where, "jitter", jitter)
    arguments.positive(where, "step", step)
    arguments.fraction(where, "decay", decay)
    arguments.non_negative(where, "blur", blur)
    low, high = (arguments.number(where, "value_range", bound) for bound in value_range)
    middle, half = (low + high) / 2, (high - low) / 2
    random = np.random.Generator(np.random.Philox(arguments.integer(where, "seed", seed)))
    shape = _shape(model, start, input_shape)
    image = middle + 0.2 * half * random.standard_normal(shape)
    if start is not None:
        image = np.array(start, np.float64)
    _, spec = images_of(model, np.zeros((1, *shape), model.dtype))
    plan = plan_of(model, spec, Ascent(layer=None if layer is None else layer_name(layer)))
    if layer is None:
        wanted = wanted_scores(target, Spec((1, plan.scores.sizes[-1]), spec.dtype))
    else:
        assert plan.layer is not None
        wanted = channel_mask(channel, plan.layer, where)
    for number in range(steps):
        moves = tuple(random.integers(-jitter, jitter + 1, 2)) if jitter else (0, 0)
        moved = np.roll(image, moves, (0, 1))
        gradient, _ = plan.run(np.ascontiguousarray(moved[None], spec.dtype), wanted)
        uphill = np.roll(gradient[0].astype(np.float64), (-moves[0], -moves[1]), (0, 1))
        strength = math.sqrt(float(np.square(uphill).mean()))
        if strength > 0:
            image += step * 2 * half * uphill / strength
        image = middle + (1 - decay) * (image - middle)
        if blur and number % 4 == 3 and number + 1 < steps:
            image = _blurred(image, blur)
        image = np.clip(image, low, high)
    return image.astype(spec.dtype)


def _shape(model: Model, start: Any, given: Sequence[int] | None) -> tuple[int, ...]:
    if start is not None:
        found: tuple[Any, ...] = np.shape(start)
    elif given is not None:
        found = tuple(given)
    else:
        found = tuple(model.inputs[0].shape[1:]) if model.inputs else (None,)
    if len(found) != 3 or None in found:
        raise ShapeError(
            f"explain.maximize_activation: found images of shape {found}, expected (H, W, C); give "
            "input_shape"
        )
    return found


def _blurred(image: Floats, deviation: float) -> Floats:
    """A Gaussian blur along rows and columns; borders are mirrored."""
    reach = max(1, math.ceil(3 * deviation))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        ends = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(image, ends, mode="edge")
        size = image.shape[axis]
        image = sum(
            tap * padded.take(range(at, at + size), axis=axis) for at, tap in enumerate(taps)
        )
    return image


@final
@dataclass(frozen=True)
class Patch:
    """What a unit saw when it was excited.

    Attributes:
        activation: of the unit.
        image: number of the image in the data.
        unit: (row, column) in the layer's map.
        box: what the unit sees of the image, as slices.
        pixels: the image there (h, w, C).
    """

    activation: float
    image: int
    unit: tuple[int, int]
    box: tuple[slice, slice]
    pixels: Array


def top_patches(
    model: Model,
    layer: Any,
    channel: int,
    data: Any,
    count: int = 9,
    *,
    batch_size: int = 32,
) -> list[Patch]:
    """The patches of images that excited a channel most, one of each image.

    Args:
        model: of one input.
        layer: a layer that makes maps, its name or path.
        channel: of the layer.
        data: images (N, H, W, C), as the model takes them.
        count: how many patches.
        batch_size: images that are run together.

    Returns:
        At most `count` patches, the strongest first; of equals the earlier image.

    Raises:
        ArgumentError: no such layer or channel.
        ShapeError: the layer makes no maps.

    Source: M. D. Zeiler and R. Fergus, arXiv:1311.2901, figure 2.
    """
    where = "explain.top_patches"
    arguments.integer(where, "count", count, 1)
    arguments.integer(where, "batch_size", batch_size, 1)
    name = layer_name(layer)
    images, _ = images_of(model, data)
    found: list[tuple[float, int, tuple[int, int]]] = []
    path = name
    for begin in range(0, len(images), batch_size):
        batch = images[begin : begin + batch_size]
        plan = plan_of(model, Spec(batch.shape, batch.dtype.name), Activations(layer=name))
        path = plan.layer_path
        maps = plan.run(batch)[0]
        _require_maps(maps, channel, name)
        chosen = maps[..., channel].reshape(len(maps), -1)
        for number, at in enumerate(chosen.argmax(axis=1)):
            row, column = divmod(int(at), maps.shape[2])
            found.append((float(chosen[number, at]), begin + number, (row, column)))
        found = heapq.nsmallest(count, found, key=lambda item: (-item[0], item[1]))
    field = analysis.receptive_field(model, path, images.shape[1:])
    boxes = [field.box(unit) for _, _, unit in found]
    return [
        Patch(activation, image, unit, (box[0], box[1]), images[image][box])
        for (activation, image, unit), box in zip(found, boxes, strict=True)
    ]


def _require_maps(maps: Array, channel: int, layer: str) -> None:
    if maps.ndim != 4:
        raise ShapeError(
            f"explain.top_patches: layer '{layer}' makes {maps.shape}, expected maps (N, P, Q, K)"
        )
    if not 0 <= arguments.integer("explain.top_patches", "channel", channel) < maps.shape[3]:
        raise ArgumentError(
            f"explain.top_patches: found channel={channel}, but layer '{layer}' has "
            f"{maps.shape[3]}; count from 0"
        )
