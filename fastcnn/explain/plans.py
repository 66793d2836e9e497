# SPDX-License-Identifier: Apache-2.0
"""Plans that run forward and back: what is computed for a map, compiled once per model and shape.

A recipe says what; it is the key under which the model keeps the plan. Gradients of weights are
never computed: nothing that a plan returns depends on them, so they are not among its calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import ops, passes
from fastcnn.autodiff import gradients
from fastcnn.errors import ArgumentError, NotDifferentiableError
from fastcnn.explain.network import Network, draw, images_of
from fastcnn.explain.rules import Gradient, Way
from fastcnn.explain.targets import predicted, require_classes, wanted_scores
from fastcnn.graph import Array, Spec, Tensor, placeholder
from fastcnn.models import Model
from fastcnn.models.derived import DerivedWeights
from fastcnn.plan import Plan

Graph = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """What to compute: abstract.

    Attributes:
        logits: explain what stands before a softmax or sigmoid at the end.
        output: which of the model's outputs.
        layer: name or path of the layer that is looked at.
    """

    logits: bool = True
    output: int = 0
    layer: str | None = None

    @abstractmethod
    def graph(self, network: Network) -> Graph:
        """Inputs beside the image, and outputs."""


@final
@dataclass(frozen=True, kw_only=True)
class Scores(Recipe):
    """(x) -> scores."""

    def graph(self, network: Network) -> Graph:
        """Forward only."""
        return [], [network.scores]


@final
@dataclass(frozen=True, kw_only=True)
class Activations(Recipe):
    """(x) -> the layer's output."""

    def graph(self, network: Network) -> Graph:
        """Forward only, and no further than the layer."""
        assert network.layer is not None
        return [], [network.layer]


@final
@dataclass(frozen=True, kw_only=True)
class Backward(Recipe):
    """(x, wanted scores) -> what comes back to the image, scores.

    With a layer: what comes back to its output, scores, its output. With `best`, the highest score
    of each image is wanted, and there is no second input.
    """

    way: Way
    best: bool = False

    def graph(self, network: Network) -> Graph:
        """Back from the scores."""
        scores = network.scores
        to = network.image if network.layer is None else network.layer
        if self.best:
            require_classes(scores.spec.sizes)
            classes = scores.spec.sizes[1]
            wanted, given = ops.one_hot(ops.argmax(scores), classes, scores.dtype), []
        else:
            wanted = placeholder(scores.spec.sizes, scores.dtype, "wanted")
            given = [wanted]
        self.way.check(scores, to)
        seed = self.way.seed(wanted, scores)
        (back,) = gradients(scores, [to], seed, self.way.rules())
        outputs = [_reached(back, "the score"), scores]
        return given, outputs if network.layer is None else [*outputs, network.layer]


@final
@dataclass(frozen=True, kw_only=True)
class Projection(Recipe):
    """(x, channels (N, K)) -> what comes back to the image from channels of a layer, its output.

    Attributes:
        way: how.
        strongest: from the strongest unit of the channels alone, or from all of them.
    """

    way: Way
    strongest: bool = True

    def graph(self, network: Network) -> Graph:
        """Activations are the seed, as in Zeiler and Fergus 2013, section 2.1."""
        layer = network.layer
        assert layer is not None
        sizes = layer.spec.sizes
        channels = placeholder((sizes[0], sizes[-1]), layer.dtype, "channels")
        kept = ops.reshape(channels, (sizes[0], *(1 for _ in sizes[1:-1]), sizes[-1]))
        seed = ops.multiply(layer, kept)
        if self.strongest and layer.ndim > 2:
            largest = ops.max(layer, axis=tuple(range(1, layer.ndim - 1)), keepdims=True)
            seed = ops.multiply(seed, ops.equal(layer, largest))
        (back,) = gradients(layer, [network.image], seed, self.way.rules())
        return [channels], [_reached(back, f"layer '{network.layer_path}'"), layer]


@final
@dataclass(frozen=True, kw_only=True)
class Ascent(Recipe):
    """(x, wanted channels (N, K)) -> gradient of their mean over pixels, that mean (N,)."""

    def graph(self, network: Network) -> Graph:
        """The mean over a layer's pixels, so that maps of any size have one height to climb."""
        seen = network.scores if network.layer is None else network.layer
        channels = seen
        if seen.ndim > 2:
            channels = ops.mean(seen, axis=tuple(range(1, seen.ndim - 1)))
        wanted = placeholder(channels.spec.sizes, seen.dtype, "wanted")
        height = ops.sum(ops.multiply(channels, wanted), axis=-1)
        (back,) = gradients(height, [network.image], None, Gradient().rules())
        return [wanted], [_reached(back, network.layer_path or "the score"), height]


def _reached(back: Tensor | None, start: str) -> Tensor:
    if back is None:
        raise NotDifferentiableError(
            f"explain: {start} does not depend on the image; look for a layer that is left out"
        )
    return back


class ExplainingPlan:
    """A recipe, compiled for one model and one shape of images."""

    def __init__(
        self,
        model: Model,
        spec: Spec,
        recipe: Recipe,
        backend: str,
        derived: DerivedWeights,
        algorithms: passes.Algorithms,
    ) -> None:
        network = draw(model, spec, recipe.logits, recipe.output, recipe.layer)
        given, outputs = recipe.graph(network)
        if backend == "cpu":
            outputs = passes.turn_convolutions(passes.to_depthwise(outputs))
            outputs = passes.fuse_convolutions(outputs, algorithms=algorithms)
        outputs = passes.hoist(outputs, derived.stand_in)
        self._derived = derived
        self.scores = network.scores.spec
        self.layer = None if network.layer is None else network.layer.spec
        self.layer_path = network.layer_path
        self.plan = Plan([network.image, *given, network.rng], outputs, backend=backend)

    def run(self, *arrays: Array) -> list[Array]:
        """Outputs as fresh arrays; layers that draw at random draw the same in every run."""
        self._derived.refresh()
        return self.plan.run(*arrays, np.zeros(4, np.uint32))


def plan_of(model: Model, spec: Spec, recipe: Recipe) -> ExplainingPlan:
    """The plan of a recipe; kept by the model for the last few."""
    return model.keep_plan(
        recipe,
        [spec],
        lambda *shared: ExplainingPlan(model, spec, recipe, *shared),
    )


class Explained:
    """A batch of images in front of a model, and which of its scores is asked about.

    Args:
        model, x: as `images_of` takes them.
        target: as `wanted_scores` takes it; None for the highest score of each image.
        logits, output: as in `Recipe`.
    """

    def __init__(
        self, model: Model, x: Any, target: Any = None, logits: bool = True, output: int = 0
    ) -> None:
        self.model = model
        self.x, self.spec = images_of(model, x)
        self.kind: dict[str, Any] = {"logits": logits, "output": output}
        self._target = target
        self._wanted: Array | None = None

    def scores(self, x: Array | None = None) -> Array:
        """All scores of the images, or of others of their shape."""
        plan = plan_of(self.model, self.spec, Scores(**self.kind))
        return plan.run(self.x if x is None else x)[0]

    @property
    def wanted(self) -> Array:
        """1 at the score of each image that is explained: the same for all that is run."""
        if self._wanted is None:
            recipe = Scores(**self.kind)
            spec = plan_of(self.model, self.spec, recipe).scores
            target = predicted(self.scores()) if self._target is None else self._target
            self._wanted = wanted_scores(target, spec)
        return self._wanted

    def score(self, x: Array | None = None) -> Array:
        """The score that is explained, of each image (N,)."""
        scores = self.scores(x) * self.wanted
        summed: Array = scores.reshape(len(scores), -1).sum(axis=1)
        return summed

    def back(self, way: Way, layer: str | None = None) -> list[Array]:
        """What comes back, scores, and the layer's output where one is named."""
        if self._target is None and self._wanted is None:
            recipe = Backward(way=way, best=True, layer=layer, **self.kind)
            return plan_of(self.model, self.spec, recipe).run(self.x)
        return self.back_from(self.x, way, layer)

    def back_from(self, x: Array, way: Way, layer: str | None = None) -> list[Array]:
        """The same for other images of this shape and these wanted scores."""
        recipe = Backward(way=way, layer=layer, **self.kind)
        plan = plan_of(self.model, self.spec, recipe)
        if self._wanted is None and self._target is not None:
            self._wanted = wanted_scores(self._target, plan.scores)
        return plan.run(x, self.wanted)


def channel_mask(channel: Any, spec: Spec, where: str) -> Array:
    """(N, K) with 1 at the channel of each image; one for all or one for each.

    Raises:
        ArgumentError: the layer has no such channel.
    """
    flat = Spec((spec.sizes[0], spec.sizes[-1]), spec.dtype)
    try:
        return wanted_scores(channel, flat)
    except ArgumentError:
        raise ArgumentError(
            f"{where}: found channel={channel!r}, expected one from 0 to {spec.sizes[-1] - 1}, or "
            f"one for each of {spec.sizes[0]} images"
        ) from None
