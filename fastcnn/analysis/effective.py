# SPDX-License-Identifier: Apache-2.0
"""The effective receptive field: how much each input pixel moves a unit, measured by gradients.

Source: W. Luo, Y. Li, R. Urtasun and R. Zemel, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", arXiv:1701.04128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.analysis.field import Box, ReceptiveField, fields_of
from fastcnn.analysis.lookup import AnyModel, output_of
from fastcnn.autodiff import gradients
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, placeholder
from fastcnn.plan import Plan

# Of the largest value: two standard deviations of a Gaussian, as in the paper.
THRESHOLD = 1 - 0.9545


@final
@dataclass(frozen=True)
class EffectiveField:
    """How strongly one unit depends on each input position.

    Attributes:
        field: the theoretical field of the layer.
        unit: position of the unit in the layer's output.
        box: the theoretical box of that unit.
        influence: (H, W) or (W,): root mean square of the unit's gradient for that position, over
            samples and channels; the largest is 1. All zeros where nothing moves the unit.
    """

    field: ReceptiveField
    unit: tuple[int, ...]
    box: Box
    influence: Array

    @property
    def size(self) -> float:
        """Side of a square of as many positions as are above 4.55 % of the largest influence."""
        seen = int((self.influence > THRESHOLD).sum())
        return float(seen ** (1 / self.influence.ndim))

    @property
    def share(self) -> float:
        """`size` over the side of the theoretical box; 0 where that is empty."""
        area = float(np.prod([side.stop - side.start for side in self.box]))
        return self.size / area ** (1 / self.influence.ndim) if area else 0.0

    def __str__(self) -> str:
        sides = " x ".join(str(side.stop - side.start) for side in self.box)
        return (
            f"unit {self.unit} of layer '{self.field.layer}' depends on {sides} pixels, and above "
            f"{THRESHOLD:.2%} of the strongest on as many as {self.size:.1f} squared "
            f"({self.share:.0%} of the side)"
        )


def effective_receptive_field(
    model: AnyModel,
    layer: Any = None,
    unit: Sequence[int] | None = None,
    images: Any = None,
    input_shape: Any = None,
    samples: int = 8,
    seed: int = 0,
) -> EffectiveField:
    """Measure how much each pixel moves one unit of a layer.

    For every sample the channels of the unit are added up with random signs and differentiated for
    the input, so that the mean of squares is that over all channels, none of which cancel.

    Args:
        model: a model of one input.
        layer: a layer, its path or its unique name; the model's output when None.
        unit: position (row, column) in the layer's output; the middle one when None.
        images: samples (N, H, W, C) to measure on, as the model takes them; normal noise when None.
        input_shape: shape of one sample; that of the images or the model's own when None.
        samples: number of noise images.
        seed: of noise and signs.

    Raises:
        ArgumentError: no such layer or unit, sizes that are not known, or several inputs.
    """
    rng = np.random.default_rng(seed)
    x = None if images is None else np.asarray(images)
    shape = input_shape if x is None else x.shape[1:]
    count = (
        arguments.integer("effective_receptive_field", "samples", samples) if x is None else len(x)
    )
    if count < 1:
        raise ArgumentError(f"effective_receptive_field: found {count} samples, expected some")
    graph = model.graph(shape, batch=count)
    if len(graph.inputs) != 1:
        raise ArgumentError(
            f"model '{model.name}' has {len(graph.inputs)} inputs; the effective field is measured "
            "for models of one"
        )
    path, tensor = output_of(model, graph, layer)
    (field,) = fields_of(graph, [(path, tensor)])
    place = tuple(d // 2 for d in field.output_size) if unit is None else tuple(unit)
    box = field.box(place)
    source = graph.inputs[0]
    if x is None:
        x = rng.standard_normal(source.spec.sizes)
    dy = placeholder(tensor.spec.sizes, tensor.dtype, "dy")
    (dx,) = gradients(tensor, [source], dy)
    if dx is None:
        return EffectiveField(field, place, box, np.zeros(field.input_size))
    plan = Plan(
        [source, graph.trace.rng, dy],
        [dx],
        backend="cpu" if source.dtype == "float32" else "reference",
    )
    signs = np.zeros(tensor.spec.sizes, tensor.dtype)
    at: tuple[Any, ...] = (slice(None), *place)
    signs[at] = rng.choice((-1, 1), signs[at].shape)
    (found,) = plan.run(x.astype(source.dtype, copy=False), np.zeros(4, np.uint32), signs)
    influence = np.sqrt(np.square(found.astype(np.float64)).mean(axis=(0, -1)))
    largest = influence.max()
    return EffectiveField(field, place, box, influence / largest if largest else influence)
