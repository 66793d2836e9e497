# SPDX-License-Identifier: Apache-2.0
"""A copy of a model forgets what it has learned, layer by layer from the scores down.

A map that does not notice shows the image, not the network.

Source: J. Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.explain.pixels import FIRST_STEPS, integrated_gradients
from fastcnn.explain.plans import Explained
from fastcnn.graph import Array, Parameter, Spec, State, topological
from fastcnn.models import Model
from fastcnn.models.lowering import lower

Method = Callable[..., Any]


def signed(method: Method, keywords: Mapping[str, Any]) -> Method:
    """The method with signs, where it can: sizes alone are alike wherever there is an image."""
    known = inspect.signature(method).parameters
    given = dict(keywords)
    if "channel" in known:
        given["channel"] = None
    if "relu" in known:
        given["relu"] = False
    if method is integrated_gradients:
        given.setdefault("steps", FIRST_STEPS)  # a shuffled network may never be complete

    def run(model: Model, x: Any, target: Any) -> Array:
        made = method(model, x, target, **given)
        return np.asarray(made[0] if isinstance(made, tuple) else made)

    return run


def cascade(
    explained: Explained, target: Any, method: Method, stages: int, seed: int
) -> dict[str, float]:
    """Mean rank correlation after each stage, by the last layer whose weights were shuffled."""
    forgetful = copy.deepcopy(explained.model)
    layers = _from_scores_down(forgetful, explained.spec, explained.kind["output"])
    random = np.random.Generator(np.random.Philox(arguments.integer("explain.check", "seed", seed)))
    names, similarity, begin = list(layers), {}, 0
    maps = method(explained.model, explained.x, target)
    for end in np.linspace(0, len(names), min(stages, len(names)) + 1).astype(int)[1:]:
        for parameter in [p for name in names[begin:end] for p in layers[name]]:
            shuffled = random.permuted(parameter.value.reshape(-1))
            parameter.assign(shuffled.reshape(parameter.shape))
        begin = end
        found = method(forgetful, explained.x, target)
        alike = [rank_correlation(*pair) for pair in zip(maps, found, strict=True)]
        similarity[names[end - 1]] = float(np.mean(alike))
    return similarity


def _from_scores_down(model: Model, spec: Spec, output: int) -> dict[str, list[Parameter]]:
    """Trainable weights by layer, those next to the scores first."""
    lowered = lower(model, [spec], training=False)
    layers: dict[str, list[Parameter]] = {}
    seen = set()
    for node in reversed(topological([lowered.outputs[output]])):
        for tensor in node.inputs:
            leaf = tensor.node.op
            if isinstance(leaf, State) and leaf.parameter.trainable and id(leaf) not in seen:
                seen.add(id(leaf))
                layers.setdefault(node.layer, []).append(leaf.parameter)
    return layers


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's; 0 where one of them is the same everywhere."""
    return correlation(_ranks(a), _ranks(b))


def _ranks(values: Array) -> Array:
    """Ranks, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values.reshape(-1), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    return ranks


def correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one of them is the same everywhere."""
    a, b = (v.reshape(-1).astype(np.float64) for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else 0.0
