# SPDX-License-Identifier: Apache-2.0
"""Derived weights are those of the weights as they are, whoever writes them and whoever asks."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, layers, ops
from fastcnn.graph import Parameter, Tensor
from fastcnn.models import derived
from fastcnn.models.derived import DerivedWeights

SHAPE = (1, 8, 8, 16)


def image() -> Any:
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def test_weights_of_a_layer_outside_the_model_are_followed() -> None:
    conv = layers.Conv2D(16, 3, padding="same", use_bias=False)
    conv.build(SHAPE)
    x = Input(SHAPE[1:])
    model = Model(x, ops.conv2d(x, conv.kernel, padding="same"))
    before = model.predict_on_batch(image())
    conv.kernel.assign(2 * conv.kernel.numpy())
    np.testing.assert_allclose(model.predict_on_batch(image()), 2 * before, rtol=1e-5)


def doubled(parameter: Parameter) -> Tensor:
    tensor: Tensor = ops.multiply(parameter.tensor, 2.0)
    return tensor


def value(leaf: Tensor) -> Any:
    parameter: Parameter = leaf.node.op.parameter
    return parameter.value


def test_only_what_follows_from_a_changed_weight_is_computed(monkeypatch: Any) -> None:
    a, b = (Parameter(n, np.ones(2, np.float32)) for n in "ab")
    weights = DerivedWeights("cpu")
    runs = []
    run = derived.Plan.run
    monkeypatch.setattr(derived.Plan, "run", lambda plan: runs.append(plan) or run(plan))
    leaves = []
    for parameter in (a, b):
        leaves.append(weights.stand_in(doubled(parameter)))
        weights.refresh()
    assert weights.stand_in(doubled(a)) is leaves[0]
    weights.refresh()
    assert len(runs) == 2
    b.assign([3, 4])
    weights.refresh()
    assert len(runs) == 3
    assert [list(value(leaf)) for leaf in leaves] == [[2, 2], [6, 8]]


def test_what_a_plan_adds_while_another_refreshes_is_computed(monkeypatch: Any) -> None:
    a, b = (Parameter(n, np.ones(2, np.float32)) for n in "ab")
    weights = DerivedWeights("cpu")
    leaves = [weights.stand_in(doubled(a))]
    thread = threading.Thread(target=lambda: leaves.append(weights.stand_in(doubled(b))))
    plan = derived.Plan

    def slow(*args: Any, **kwargs: Any) -> Any:
        made = plan(*args, **kwargs)
        if thread.ident is None:
            thread.start()
            thread.join(0.2)
        return made

    monkeypatch.setattr(derived, "Plan", slow)
    weights.refresh()
    thread.join()
    weights.refresh()
    assert [list(value(leaf)) for leaf in leaves] == [[2, 2], [2, 2]]


def test_a_refresh_that_was_interrupted_is_done_again(monkeypatch: Any) -> None:
    weights = DerivedWeights("cpu")
    leaf = weights.stand_in(doubled(Parameter("a", np.ones(2, np.float32))))
    with monkeypatch.context() as patch:
        patch.setattr(derived.Plan, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            weights.refresh()
    weights.refresh()
    assert list(value(leaf)) == [2, 2]


def interrupted(plan: Any) -> None:
    raise KeyboardInterrupt
