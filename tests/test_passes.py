# SPDX-License-Identifier: Apache-2.0
"""Passes keep the outputs' values, and do what they are for."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import Input, Model, layers
from fastcnn.graph import Spec, topological
from fastcnn.models.lowering import lower
from fastcnn.passes import fold_batch_norm, hoist
from fastcnn.plan import Plan

SPEC = [Spec((2, 8, 8, 3))]


def network(between: Any = None) -> Model:
    x = Input((8, 8, 3))
    y = layers.Conv2D(6, 3, use_bias=True, bias_initializer="random_normal")(x)
    if between is not None:
        y = between(y)
    y = layers.BatchNormalization(beta_initializer="random_normal")(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(layers.ReLU()(y))
    y = layers.BatchNormalization(gamma_initializer="random_uniform")(y)
    model = Model(x, y)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.5, 2.0, weight.shape))
        elif "mean" in weight.name:
            weight.assign(rng.standard_normal(weight.shape))
    return model


def values(inputs: Any, outputs: Any, x: Any) -> Any:
    return Plan(inputs, outputs).run(x)[0]


def names(outputs: Any) -> list[str]:
    return [node.op.name for node in topological(outputs)]


def test_folding_keeps_values_and_removes_the_norms() -> None:
    lowered = lower(network(), SPEC, training=False)
    folded = fold_batch_norm(lowered.outputs)
    assert names(lowered.outputs).count("batch_norm_inference") == 2
    assert names(folded).count("batch_norm_inference") == 0
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    np.testing.assert_allclose(
        values(lowered.inputs, folded, x),
        values(lowered.inputs, lowered.outputs, x),
        rtol=2e-4,
        atol=2e-5,
    )


def test_a_norm_after_something_else_is_kept() -> None:
    lowered = lower(network(layers.MaxPooling2D(2, 1)), SPEC, training=False)
    assert names(fold_batch_norm(lowered.outputs)).count("batch_norm_inference") == 1


def test_a_convolution_with_two_readers_is_not_folded() -> None:
    x = Input((8, 8, 3))
    y = layers.Conv2D(6, 3)(x)
    model = Model(x, layers.Add()([y, layers.BatchNormalization()(y)]))
    lowered = lower(model, SPEC, training=False)
    assert "batch_norm_inference" in names(fold_batch_norm(lowered.outputs))


def test_hoisting_leaves_only_what_depends_on_inputs() -> None:
    lowered = lower(network(), SPEC, training=False)
    folded = fold_batch_norm(lowered.outputs)
    parts = hoist(folded)
    assert len(parts.prologue) == len(parts.inputs) > 0
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    fixed = Plan([], parts.prologue).run()
    main = Plan([*lowered.inputs, *parts.inputs], parts.outputs)
    np.testing.assert_array_equal(main.run(x, *fixed)[0], values(lowered.inputs, folded, x))
    assert "rsqrt" not in {call.op for call in main.calls}


def test_predict_sees_new_weights() -> None:
    model = network()
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    before = model.predict_on_batch(x)
    model.set_weights([w * 0.5 for w in model.get_weights()])
    after = model.predict_on_batch(x)
    assert not np.allclose(before, after)
    fresh = network()
    fresh.set_weights(model.get_weights())
    np.testing.assert_array_equal(fresh.predict_on_batch(x), after)
