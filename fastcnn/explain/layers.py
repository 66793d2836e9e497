# SPDX-License-Identifier: Apache-2.0
"""Maps through a layer: where its channels speak for a class, and what a channel has seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.explain.network import images_of, layer_name
from fastcnn.explain.pixels import guided_backprop
from fastcnn.explain.plans import Explained, Projection, channel_mask, plan_of
from fastcnn.explain.rules import Deconvnet, Gradient
from fastcnn.explain.targets import reduce_channels
from fastcnn.graph import Array
from fastcnn.models import Model


def grad_cam(
    model: Model,
    x: Any,
    target: Any = None,
    layer: Any = "auto",
    *,
    resize: bool = True,
    relu: bool = True,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """Channels of a layer, weighed by the mean gradient of the score at each.

    Args:
        model, x, target, logits, output: as for `saliency`.
        layer: a layer, its name or path ("block/conv"); "auto" is the last whose maps are larger
            than one pixel.
        resize: enlarge to the images' size, bilinearly.
        relu: keep only what speaks for the class.

    Returns:
        (N, H, W), or (N, P, Q) of the layer's size.

    Raises:
        ArgumentError: no such layer, or one that several layers are called by.
        ShapeError: the layer makes no maps.

    Source: R. R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, equations 1 and 2.
    """
    found, gradient, explained = _at_layer(model, x, target, layer, logits, output)
    weights = gradient.mean(axis=(1, 2), keepdims=True)
    return _finished((found * weights).sum(axis=3), explained, resize, relu)


def grad_cam_plus_plus(
    model: Model,
    x: Any,
    target: Any = None,
    layer: Any = "auto",
    *,
    resize: bool = True,
    relu: bool = True,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """Grad-CAM that finds several objects of a class: pixels are weighed before they are averaged.

    Derivatives of higher order are those of exp(score), which is a product of the first.
    Arguments, result and errors as for `grad_cam`.

    Source: A. Chattopadhyay et al., "Grad-CAM++", arXiv:1710.11063, equations 10 and 19.
    """
    found, gradient, explained = _at_layer(model, x, target, layer, logits, output)
    square = gradient**2
    sums = found.sum(axis=(1, 2), keepdims=True)
    below = 2 * square + sums * square * gradient
    alpha = np.divide(square, below, out=np.zeros_like(square), where=below != 0)
    weights = (alpha * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)
    return _finished((found * weights).sum(axis=3), explained, resize, relu)


def guided_grad_cam(
    model: Model,
    x: Any,
    target: Any = None,
    layer: Any = "auto",
    channel: str | None = None,
    *,
    logits: bool = True,
    output: int = 0,
) -> Array:
    """Guided back-propagation where Grad-CAM is: their product.

    Arguments and errors as for `grad_cam` and `saliency`. Source: arXiv:1610.02391, section 3.2.
    """
    kind: dict[str, Any] = {"logits": logits, "output": output}
    where = grad_cam(model, x, target, layer, **kind)
    what = guided_backprop(model, x, target, **kind)
    return reduce_channels(what * where[..., None], channel)


def _at_layer(
    model: Model, x: Any, target: Any, layer: Any, logits: bool, output: int
) -> tuple[Array, Array, Explained]:
    """A layer's maps, the gradient of the score at them, and the question."""
    explained = Explained(model, x, target, logits, output)
    name = layer_name(layer)
    gradient, _, found = explained.back(Gradient(), layer=name)
    if found.ndim != 4:
        raise ShapeError(
            f"explain.grad_cam: layer '{name}' makes {found.shape}, expected maps (N, P, Q, K); "
            "choose a convolutional or pooling layer, or layer='auto'"
        )
    return found, gradient, explained


def _finished(maps: Array, explained: Explained, resize: bool, relu: bool) -> Array:
    maps = np.maximum(maps, 0) if relu else maps
    if not resize:
        return maps
    return enlarged(maps, explained.x.shape[1:3])


def enlarged(maps: Array, size: tuple[int, ...]) -> Array:
    """Maps (N, P, Q) at another size, bilinearly."""
    big: Array = ops.resize(np.ascontiguousarray(maps[..., None]), size, interpolation="bilinear")
    return big[..., 0]


def deconvnet(
    model: Model,
    x: Any,
    layer: Any,
    channel: Any,
    *,
    unit: str = "strongest",
) -> Array:
    """What a channel of a layer has seen: its activation carried back to the pixels.

    The network runs forward; all of the layer is set to 0 but the channel's strongest unit; then
    the layers are undone one by one: rectified, filtered by the transposed filters, unpooled to
    where maxima were found, by the recorded switches. Where windows of a pooling overlap and share
    a maximum, what comes back is added up.

    Args:
        model: of one input.
        x: images (N, H, W, C), as the model takes them.
        layer: a layer, its name or path.
        channel: of the layer; one for all images, or one for each.
        unit: "strongest", or "all" units of the channel.

    Returns:
        (N, H, W, C), signed; all 0 where the channel sees nothing.

    Raises:
        ArgumentError: no such layer, channel or unit.

    Source: M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks",
    arXiv:1311.2901, section 2.1 and figure 2.
    """
    if unit not in ("strongest", "all"):
        raise ArgumentError(
            f"explain.deconvnet: found unit={unit!r}, expected 'strongest' or 'all'"
        )
    array, spec = images_of(model, x)
    recipe = Projection(way=Deconvnet(), strongest=unit == "strongest", layer=layer_name(layer))
    plan = plan_of(model, spec, recipe)
    assert plan.layer is not None
    return plan.run(array, channel_mask(channel, plan.layer, "explain.deconvnet"))[0]
