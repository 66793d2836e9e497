# SPDX-License-Identifier: Apache-2.0
"""Optimizer steps against a transcription of Keras 3's formulas; in place and guarded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.drawing import add_node
from fastcnn.errors import ArgumentError, DtypeError, NonFiniteError, ShapeError
from fastcnn.graph import Parameter, Tensor, placeholder
from fastcnn.ops.update import (
    AdagradUpdate,
    AdamUpdate,
    MomentumUpdate,
    RMSpropUpdate,
    SGDUpdate,
    Update,
)
from fastcnn.plan import Plan

Array = np.ndarray[Any, Any]
LR, DECAY, STEPS, SIZE = 0.05, 0.02, 3, 1037
EPSILON = 1e-7


# --- Keras' formulas, one step of each in float64: s holds the slots in order --------------------


def sgd(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    return w - LR * g


def momentum(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.9 * s[0] - LR * g
    return w + s[0]


def nesterov(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.9 * s[0] - LR * g
    return w + 0.9 * s[0] - LR * g


def rmsprop(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.8 * s[0] + 0.2 * g**2
    return w - LR * g / np.sqrt(s[0] + EPSILON)


def rmsprop_all(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.8 * s[0] + 0.2 * g**2
    s[1] = 0.8 * s[1] + 0.2 * g
    s[2] = 0.5 * s[2] + LR * g / np.sqrt(s[0] - s[1] ** 2 + 1e-3)
    return w - s[2]


def rmsprop_momentum(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.8 * s[0] + 0.2 * g**2
    s[1] = 0.5 * s[1] + LR * g / np.sqrt(s[0] + EPSILON)
    return w - s[1]


def alpha(t: int) -> float:
    return float(LR * np.sqrt(1 - 0.99**t) / (1 - 0.9**t))


def adam(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.9 * s[0] + 0.1 * g
    s[1] = 0.99 * s[1] + 0.01 * g**2
    return w - alpha(t) * s[0] / (np.sqrt(s[1]) + EPSILON)


def amsgrad(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = 0.9 * s[0] + 0.1 * g
    s[1] = 0.99 * s[1] + 0.01 * g**2
    s[2] = np.maximum(s[2], s[1])
    return w - alpha(t) * s[0] / (np.sqrt(s[2]) + EPSILON)


def adagrad(w: Array, g: Array, t: int, s: list[Array]) -> Array:
    s[0] = s[0] + g**2
    return w - LR * g / np.sqrt(s[0] + EPSILON)


@dataclass(frozen=True)
class Rule:
    """An op, the formula it must follow, what its slots begin with, and its step size."""

    op: Callable[[bool], Update]
    formula: Callable[[Array, Array, int, list[Array]], Array]
    start: float = 0.0
    step: Callable[[int], float] = lambda t: LR

    def __str__(self) -> str:
        return self.formula.__name__


RULES = [
    Rule(lambda d: SGDUpdate(d), sgd),
    Rule(lambda d: MomentumUpdate(0.9, False, d), momentum),
    Rule(lambda d: MomentumUpdate(0.9, True, d), nesterov),
    Rule(lambda d: RMSpropUpdate(0.8, 0.0, EPSILON, False, d), rmsprop),
    Rule(lambda d: RMSpropUpdate(0.8, 0.5, EPSILON, False, d), rmsprop_momentum),
    Rule(lambda d: RMSpropUpdate(0.8, 0.5, 1e-3, True, d), rmsprop_all),
    Rule(lambda d: AdamUpdate(0.9, 0.99, EPSILON, False, d), adam, step=alpha),
    Rule(lambda d: AdamUpdate(0.9, 0.99, EPSILON, True, d), amsgrad, step=alpha),
    Rule(lambda d: AdagradUpdate(EPSILON, d), adagrad, start=0.1),
]


class Trained:
    """A parameter with its slots and a plan of one step of `rule`: gradient and numbers in."""

    def __init__(self, rule: Rule, decay: bool, backend: str, dtype: str) -> None:
        op = rule.op(decay)
        rng = np.random.default_rng(0)
        self.weight = Parameter("w", rng.standard_normal(SIZE).astype(dtype))
        self.slots = [Parameter(s, np.full(SIZE, rule.start, dtype)) for s in op.slots]
        g, numbers = placeholder((SIZE,), dtype, "g"), placeholder((2,), dtype, "numbers")
        state = [self.weight, *self.slots]
        node = add_node(op, [numbers, self.weight.tensor, g, *(s.tensor for s in self.slots)])
        updates = list(zip(state, node.outputs, strict=True))
        self.plan = Plan([g, numbers], [], updates, guard=ops.sum(g), backend=backend)
        self.state = state

    def bits(self) -> list[bytes]:
        return [p.value.tobytes() for p in self.state]


def gradients() -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(SIZE) for _ in range(STEPS)]


@pytest.mark.parametrize(("backend", "dtype"), [("cpu", "float32"), ("reference", "float64")])
@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_three_steps_follow_keras(rule: Rule, decay: bool, backend: str, dtype: str) -> None:
    trained = Trained(rule, decay, backend, dtype)
    assert len(trained.plan.calls) == 3, "the sum, its check and one call in place"
    w = trained.weight.value.astype(np.float64)
    slots = [s.value.astype(np.float64) for s in trained.slots]
    for t, g in enumerate(gradients(), 1):
        g = g.astype(dtype)
        trained.plan.run(g, np.array([rule.step(t), LR * DECAY], dtype))
        if decay:
            w = w - w * DECAY * LR
        w = rule.formula(w, g.astype(np.float64), t, slots)
        rtol = 2e-5 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(trained.weight.value, w, rtol=rtol, atol=rtol)
        for slot, wanted in zip(trained.slots, slots, strict=True):
            np.testing.assert_allclose(slot.value, wanted, rtol=rtol, atol=rtol)
    assert trained.plan.arena_bytes <= 64
    assert [p.version for p in trained.state] == [STEPS] * len(trained.state)


@pytest.mark.parametrize(("backend", "dtype"), [("cpu", "float32"), ("reference", "float64")])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_loss_that_is_not_finite_touches_nothing(
    rule: Rule, bad: float, backend: str, dtype: str
) -> None:
    trained = Trained(rule, True, backend, dtype)
    numbers = np.array([LR, LR * DECAY], dtype)
    first, second, _ = (g.astype(dtype) for g in gradients())
    trained.plan.run(first, numbers)
    before = trained.bits()
    poisoned = second.copy()
    poisoned[SIZE // 2] = bad
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        trained.plan.run(poisoned, numbers)
    assert trained.bits() == before
    trained.plan.run(second, numbers)
    assert trained.bits() != before


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_state_is_written_only_at_the_end(backend: str) -> None:
    """Gradients and outputs see the weights from before the step, however the graph is ordered."""
    w = Parameter("w", np.array([1, 2, 3], np.float32))
    v = Parameter("v", np.zeros(3, np.float32))
    x, numbers = placeholder((3,), name="x"), placeholder((2,), name="numbers")
    g = ops.multiply(w.tensor, x)
    node = add_node(MomentumUpdate(0.5), [numbers, w.tensor, g, v.tensor])
    updates: list[tuple[Parameter, Tensor]] = list(zip((w, v), node.outputs, strict=True))
    loss = ops.sum(ops.multiply(w.tensor, w.tensor))
    plan = Plan([x, numbers], [loss, w.tensor, g], updates, guard=loss, backend=backend)
    ops_in_order = [call.op for call in plan.calls]
    assert ops_in_order.index("check_finite") < ops_in_order.index("momentum_update")
    assert ops_in_order[-1] == "momentum_update"
    found = plan.run(np.float32([1, 1, 2]), np.float32([0.1, 0]))
    np.testing.assert_array_equal(found[0], 14)
    np.testing.assert_array_equal(found[1], [1, 2, 3])
    np.testing.assert_array_equal(found[2], [1, 2, 6])
    np.testing.assert_allclose(w.value, [0.9, 1.8, 2.4], rtol=1e-6)
    np.testing.assert_allclose(v.value, [-0.1, -0.2, -0.6], rtol=1e-6)


def test_ema() -> None:
    found = ops.ema_update(np.float32([1, 2]), np.float32([3, 6]), 0.75)
    np.testing.assert_allclose(found, [1.5, 3], rtol=1e-6)
    with pytest.raises(ShapeError, match="expected equal shapes"):
        ops.ema_update(np.zeros(2, np.float32), np.zeros(3, np.float32), 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_by_norm(dtype: Any) -> None:
    x = np.array([[3, -4]], dtype)
    np.testing.assert_allclose(ops.clip_by_norm(x, 1.0), [[0.6, -0.8]], rtol=1e-6)
    np.testing.assert_array_equal(ops.clip_by_norm(x, 5.0), x)
    np.testing.assert_array_equal(ops.clip_by_norm(x * 0, 1.0), x * 0)
    both = ops.clip_by_global_norm([x, np.array([12], dtype)], 6.5)
    np.testing.assert_allclose(both[0], x / 2, rtol=1e-6)
    np.testing.assert_allclose(both[1], [6], rtol=1e-6)
    assert ops.clip_by_global_norm([], 1.0) == []
    for found in (ops.clip_by_norm(x, 1.0), *both):
        assert found.dtype == dtype
    with pytest.raises(ArgumentError, match="found clipnorm=0"):
        ops.clip_by_norm(x, 0)


def test_wrong_inputs() -> None:
    w, numbers = placeholder((3,)), placeholder((2,))
    with pytest.raises(ShapeError, match="found 3 inputs, expected 5: numbers, the parameter, the"):
        add_node(AdamUpdate(), [numbers, w, w])
    with pytest.raises(ShapeError, match=r"found 4 inputs, expected 7: .* of each of 2 weights"):
        add_node(MomentumUpdate(weights=2), [numbers, w, w, w])
    with pytest.raises(ShapeError, match=r"numbers of shape \(3,\)"):
        add_node(SGDUpdate(), [w, w, w])
    with pytest.raises(ShapeError, match=r"found shape \(4,\) for velocity"):
        add_node(MomentumUpdate(), [numbers, w, w, placeholder((4,))])
    with pytest.raises(ShapeError, match=r"found shape \(3,\) for the gradient beside .* \(2,\)"):
        add_node(SGDUpdate(weights=2), [numbers, w, w, numbers, w])
    with pytest.raises(DtypeError, match="one float type"):
        add_node(SGDUpdate(), [placeholder((2,), "float64"), w, w])


def test_functions_run_at_once_and_agree_with_the_reference_formulas() -> None:
    w, g = np.float32([1.0, -2.0]), np.float32([0.5, 0.25])
    numbers = np.float32([0.1, 0.01])
    np.testing.assert_allclose(ops.sgd_update(w, g, numbers), w - 0.1 * g, rtol=1e-6)
    decayed = ops.sgd_update(w, g, numbers, decay=True)
    np.testing.assert_allclose(decayed, w * 0.99 - 0.1 * g, rtol=1e-6)
    new, velocity = ops.sgd_update(w, g, numbers, np.float32([1, 1]), momentum=0.9)
    np.testing.assert_allclose(velocity, 0.9 - 0.1 * g, rtol=1e-6)
    np.testing.assert_allclose(new, w + velocity, rtol=1e-6)
    zero = np.zeros(2, np.float32)
    new, m, v = ops.adam_update(w, g, numbers, zero, zero)
    np.testing.assert_allclose(m, 0.1 * g, rtol=1e-5)
    np.testing.assert_allclose(v, 0.001 * g * g, rtol=1e-4)
    np.testing.assert_allclose(new, w - 0.1 * m / (np.sqrt(v) + 1e-7), rtol=1e-5)
    new, square = ops.rmsprop_update(w, g, numbers, zero)
    np.testing.assert_allclose(square, 0.1 * g * g, rtol=1e-5)
    new, total = ops.adagrad_update(w, g, numbers, zero)
    np.testing.assert_allclose(total, g * g, rtol=1e-6)
