# SPDX-License-Identifier: Apache-2.0
"""What is computed here from the same numbers as in PyTorch, and how the two are compared."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from fastcnn import Model, Plan, ops
from fastcnn.autodiff import gradients as symbolic_gradients
from fastcnn.graph import Parameter, Spec, placeholder
from fastcnn.losses import SparseCategoricalCrossentropy
from fastcnn.models.lowering import lower
from fastcnn.models.state import entries

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

# Some gradients are 0 in exact numbers, as that of a bias in front of a batch normalization is, and
# rounding leaves something of them: none is held to be smaller than this part of the largest.
SMALLEST = 1e-4


def images(batch: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    """Standard normal images (N, H, W, C)."""
    random = np.random.default_rng([seed, batch, height, width])
    return random.standard_normal((batch, height, width, channels), np.float32)


def labels(batch: int, classes: int, seed: int = 0) -> Array:
    """Class numbers (N,)."""
    return np.random.default_rng([seed, batch]).integers(0, classes, batch).astype(np.int32)


def logits(model: Model, x: Array) -> Array:
    """The first output (N, classes) in inference; others are those of auxiliary heads."""
    found: Any = model.predict_on_batch(x)
    scores: Array = found[0] if isinstance(found, list) else found
    return scores


def gradients(model: Model, x: Array, y: Array) -> Arrays:
    """Gradient of the mean cross-entropy, summed over outputs of logits, by each trainable weight.

    Names and layouts are those of `state_dict()`.
    """
    lowered = lower(model, [Spec(x.shape)], training=True)
    target = placeholder(y.shape, "int32")
    entropy = SparseCategoricalCrossentropy(from_logits=True)
    loss = reduce(ops.add, [entropy(target, output) for output in lowered.outputs])
    weights = model.trainable_weights
    found = symbolic_gradients(loss, weights)
    inputs = [*lowered.inputs, target, lowered.trace.rng]
    values = Plan(inputs, found).run(x, y, np.zeros(4, np.uint32))
    by_weight = dict(zip(map(id, weights), values, strict=True))
    return {
        name: replace(e, parameter=Parameter(name, by_weight[id(e.parameter)])).outward()
        for name, e in entries(model).items()
        if id(e.parameter) in by_weight
    }


def of_largest(found: Array, expected: Array) -> float:
    """Largest deviation, relative to the largest entry of what is expected."""
    assert found.shape == expected.shape
    return magnitude(found - expected) / magnitude(expected)


def deviations(found: Arrays, expected: Arrays) -> dict[str, float]:
    """For each parameter the largest deviation, relative to the largest entry of its gradient."""
    assert set(found) == set(expected)
    largest = {name: magnitude(g) for name, g in expected.items()}
    floor = SMALLEST * max(largest.values())
    return {
        name: magnitude(found[name] - g) / max(largest[name], floor) for name, g in expected.items()
    }


def magnitude(array: Array) -> float:
    """The largest absolute value."""
    return float(max(array.max(), -array.min()))


def forget(model: Model) -> None:
    """Set all weights and statistics to 0."""
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape, weight.dtype))


def assert_same(found: Arrays, expected: Arrays) -> None:
    """The same names and the same bits."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
