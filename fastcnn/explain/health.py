# SPDX-License-Identifier: Apache-2.0
"""Whether a map can be trusted, in plain sentences.

softmax         it is the derivative of a probability, which vanishes where the network is sure
dead            nothing comes back, or NaN
saturated       nearly all units of a layer are where their slope is 0
randomization   it stays the same when the network forgets what it has learned
incomplete      attributions that ought to add up to the score do not
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from fastcnn import arguments, ops
from fastcnn.autodiff import gradients
from fastcnn.errors import ShapeError
from fastcnn.explain.cascade import Method, cascade, correlation, signed
from fastcnn.explain.network import Network, draw
from fastcnn.explain.pixels import (
    COMPLETE,
    baseline_of,
    incompleteness,
    integrated_gradients,
    saliency,
)
from fastcnn.explain.plans import Explained, Graph, Recipe, plan_of
from fastcnn.explain.rules import Gradient
from fastcnn.explain.targets import predicted
from fastcnn.graph import Array, Tensor, topological
from fastcnn.models import Model
from fastcnn.ops.elementwise_unary import Differentiable

# A unit is shut where its slope is below this, a layer where so many of its units are.
SHUT, NEARLY_ALL = 1e-3, 0.99
# Mean rank correlation from which on maps do not notice that the network forgets.
ALIKE = 0.5
# Maps are the same where their correlation is above this.
SAME = 0.99


@final
@dataclass(frozen=True)
class Finding:
    """One reason not to trust a map.

    Attributes:
        kind: "softmax", "dead", "saturated", "randomization" or "incomplete".
        sentence: what was found, and what to do.
    """

    kind: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@final
@dataclass(frozen=True)
class Health:
    """What `check` found.

    Attributes:
        findings: reasons not to trust the maps; none where they passed.
        similarity: mean rank correlation of the maps with themselves once weights are shuffled,
            from the last layer down to the one named; empty where it was not asked for.
        shut: for each layer with an activation the part of its units whose slope is 0.
    """

    findings: tuple[Finding, ...]
    similarity: Mapping[str, float] = field(default_factory=dict)
    shut: Mapping[str, float] = field(default_factory=dict)

    @property
    def trustworthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        if self.trustworthy:
            return "Nothing speaks against this map."
        return "\n".join(finding.sentence for finding in self.findings)


def check(
    model: Model,
    x: Any,
    target: Any = None,
    method: Method | None = None,
    *,
    attributions: Any = None,
    randomize: bool = True,
    stages: int = 8,
    seed: int = 0,
    **keywords: Any,
) -> Health:
    """Look for reasons not to trust a map.

    Args:
        model, x, target: as for `saliency`.
        method: what makes maps: one of `fastcnn.explain`, or any function of (model, x, target);
            `saliency` when None.
        attributions: maps that were made elsewhere, of the images' size; those of `method` when
            None.
        randomize: shuffle the weights of a copy of the model, layer by layer from the scores down,
            and look whether the maps of `method` change. Attributions without a method cannot be
            made again.
        stages: into how many steps that is cut at most.
        seed: of the shuffling.
        keywords: further arguments of `method`.

    Returns:
        Findings that read as sentences when printed.

    Raises:
        ShapeError: attributions that do not fit the images.
    """
    arguments.integer("explain.check", "stages", stages, 1)
    explained = Explained(model, x, target, output=keywords.get("output", 0))
    fixed = target if target is not None else predicted(explained.scores())
    again = saliency if method is None and attributions is None else method
    made = (
        attributions
        if again is None or attributions is not None
        else again(model, x, fixed, **keywords)
    )
    maps = np.asarray(made[0] if isinstance(made, tuple) else made)
    if maps.shape[:1] != explained.x.shape[:1]:
        raise ShapeError(
            f"explain.check: found maps of shape {maps.shape} for images {explained.x.shape}, "
            "expected one for each"
        )
    shut = _shut(explained)
    findings = [
        *_softmax(explained, maps, keywords, attributions is not None),
        *_dead(maps),
        *_saturated(shut),
    ]
    if again is integrated_gradients and maps.shape == explained.x.shape:
        findings += _incomplete(explained, maps, keywords.get("baseline", 0.0))
    similarity: dict[str, float] = {}
    if randomize and again is not None:
        similarity = cascade(explained, fixed, signed(again, keywords), stages, seed)
        findings += _unmoved(similarity)
    mean = {layer: float(parts.mean()) for layer, parts in shut.items()}
    return Health(tuple(findings), similarity, mean)


def _images(numbers: Array) -> str:
    listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"image {listed}" if len(numbers) == 1 else f"images {listed}"


# --- softmax -------------------------------------------------------------------------------------


def _softmax(
    explained: Explained, maps: Array, keywords: Mapping[str, Any], given: bool
) -> list[Finding]:
    of_output = Explained(
        explained.model, explained.x, explained.wanted, False, explained.kind["output"]
    )
    raw, scores = of_output.scores(), explained.scores()
    squashed = not np.array_equal(raw, scores)
    if not squashed:
        if raw.ndim == 2 and raw.shape[1] > 1 and raw.min() >= 0 and _sums_to_one(raw):
            return [
                Finding(
                    "softmax",
                    "The scores are probabilities, and no softmax at the end of the model can be "
                    "left out: their gradients vanish where the network is sure; explain the "
                    "tensor before them.",
                )
            ]
        return []
    if given and maps.shape in (explained.x.shape, explained.x.shape[:-1]):
        probability = of_output.back(Gradient())[0]
        logit = explained.back_from(explained.x, Gradient())[0]
        found = _likeness(maps, probability) > max(SAME, _likeness(maps, logit))
    else:
        found = keywords.get("logits") is False
    if not found:
        return []
    p = (raw * explained.wanted).reshape(len(raw), -1).sum(axis=1)
    surest = int(p.argmax())
    return [
        Finding(
            "softmax",
            "The map is the gradient of a probability, not of a logit: it mixes in all other "
            f"classes and vanishes where the network is sure (image {surest}: p = {p[surest]:.4f}, "
            f"so p (1 - p) = {p[surest] * (1 - p[surest]):.1e}); explain logits.",
        )
    ]


def _sums_to_one(scores: Array) -> bool:
    return bool(np.allclose(scores.sum(axis=1), 1, atol=1e-4))


def _likeness(maps: Array, gradient: Array) -> float:
    """Correlation of maps with a gradient, in the form that the maps have; the least of all."""
    if maps.ndim == gradient.ndim:
        forms = [gradient, np.abs(gradient)]
    else:
        forms = [np.abs(gradient).max(axis=-1), np.abs(gradient).mean(axis=-1)]
    return max(min(map(correlation, maps, form)) for form in forms)


# --- dead and saturated --------------------------------------------------------------------------


def _dead(maps: Array) -> list[Finding]:
    flat = maps.reshape(len(maps), -1)
    broken = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    empty = np.flatnonzero((flat == 0).all(axis=1))
    findings = []
    if len(broken):
        findings.append(
            Finding(
                "dead",
                f"The map of {_images(broken)} holds NaN or infinity: look for them in the image "
                "and in the weights.",
            )
        )
    if len(empty):
        findings.append(
            Finding(
                "dead",
                f"The map of {_images(empty)} is 0 everywhere: nothing comes back from the score "
                "to the pixels, which does not mean that no pixel matters; try occlusion.",
            )
        )
    return findings


@final
@dataclass(frozen=True, kw_only=True)
class Slopes(Recipe):
    """(x) -> for each activation on the way the part of its units that are shut (N,)."""

    def graph(self, network: Network) -> Graph:
        """One output per activation."""
        return [], [_part_shut(t) for t in _activations_before(network.scores)]


def _activations_before(scores: Tensor) -> list[Tensor]:
    """Outputs of the activations between image and scores."""
    return [
        node.outputs[0]
        for node in topological([scores])
        if isinstance(node.op, Differentiable) and node.layer and node.inputs[0].ndim > 1
    ]


def _part_shut(activation: Tensor) -> Tensor:
    x = activation.node.inputs[0]
    # Made in the run: constants of this size would stay in memory for every activation.
    ones = ops.add(ops.multiply(x, 0.0), 1.0)
    (slope,) = gradients(activation, [x], ones)
    assert slope is not None
    shut = ops.greater(SHUT, ops.abs(slope))
    part: Tensor = ops.mean(shut, axis=tuple(range(1, shut.ndim)))
    return part


def _shut(explained: Explained) -> dict[str, Array]:
    """By layer, the part of units of each image that are shut (N,)."""
    recipe = Slopes(**explained.kind)
    plan = plan_of(explained.model, explained.spec, recipe)
    network = draw(explained.model, explained.spec, **explained.kind)
    names = [t.node.layer for t in _activations_before(network.scores)]
    return dict(zip(names, plan.run(explained.x), strict=True))


def _saturated(shut: Mapping[str, Array]) -> list[Finding]:
    findings = []
    for layer, parts in shut.items():
        where = np.flatnonzero(parts >= NEARLY_ALL)
        if len(where):
            findings.append(
                Finding(
                    "saturated",
                    f"Layer '{layer}': {parts[where].min():.1%} or more of its units have a slope "
                    f"of 0 for {_images(where)}, so hardly anything comes back through it; try "
                    "integrated_gradients or occlusion.",
                )
            )
    return findings


# --- completeness --------------------------------------------------------------------------------


def _incomplete(explained: Explained, maps: Array, baseline: Any) -> list[Finding]:
    error = incompleteness(explained, baseline_of(explained.x, baseline), maps)
    where = np.flatnonzero(error > COMPLETE)
    if not len(where):
        return []
    return [
        Finding(
            "incomplete",
            f"The attributions of {_images(where)} miss score(x) - score(baseline) by up to "
            f"{error.max():.1%}; give more steps, or steps=None.",
        )
    ]


# --- cascading randomization ---------------------------------------------------------------------


def _unmoved(similarity: Mapping[str, float]) -> list[Finding]:
    if not similarity:
        return []
    mean = float(np.mean(list(similarity.values())))
    if mean < ALIKE:
        return []
    layer, first = next(iter(similarity.items()))
    return [
        Finding(
            "randomization",
            "The map shows little of what the network has learned: with weights shuffled from the "
            f"scores down it stays alike (rank correlation {first:.2f} after layer '{layer}', "
            f"{mean:.2f} in the mean of all steps, expected below {ALIKE}), as the edges of the "
            "image would; use saliency, integrated_gradients or grad_cam.",
        )
    ]
