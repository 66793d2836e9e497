# SPDX-License-Identifier: Apache-2.0
"""Optimizers against NumPy transcriptions of their papers, through plans; schedules by formula."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest

from fastcnn import optimizers
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Parameter, placeholder
from fastcnn.optimizers import schedules
from fastcnn.plan import Plan

SHAPES = {"conv/kernel": (3, 3, 2, 5), "conv/bias": (5,)}


class Run:
    """Two weights and a plan that updates them by gradients given at every step."""

    def __init__(self, optimizer, dtype="float64"):
        rng = np.random.default_rng(1)
        self.optimizer = optimizer
        self.dtype = dtype
        self.weights = [
            Parameter(name, rng.standard_normal(shape).astype(dtype), path=name)
            for name, shape in SHAPES.items()
        ]
        optimizer.build(self.weights)
        leaves = [placeholder(shape, dtype) for shape in SHAPES.values()]
        numbers = placeholder((2,), dtype)
        updates = optimizer.updates(list(zip(leaves, self.weights, strict=True)), numbers)
        backend = "cpu" if dtype == "float32" else "reference"
        self.plan = Plan([*leaves, numbers], [], updates, backend=backend)

    def step(self, gradients):
        arrays = [g.astype(self.dtype) for g in gradients]
        self.plan.run(*arrays, self.optimizer.numbers().astype(self.dtype))
        self.optimizer.after_step()

    @property
    def values(self):
        return [w.numpy() for w in self.weights]


def gradients_of(step):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(shape) * 2 for shape in SHAPES.values()]


# Each is a function of (weight, gradient, state, step from 1, rate) that returns the new weight.


def sgd(w, g, state, t, lr, momentum=0.0, nesterov=False):
    v = state["v"] = momentum * state.get("v", 0) - lr * g
    return w + (momentum * v - lr * g if nesterov else v)


def rmsprop(w, g, state, t, lr, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    s = state["s"] = rho * state.get("s", 0) + (1 - rho) * g**2
    if centered:
        a = state["a"] = rho * state.get("a", 0) + (1 - rho) * g
        s = s - a**2
    v = state["v"] = momentum * state.get("v", 0) + lr * g / np.sqrt(s + epsilon)
    return w - v


def adam(w, g, state, t, lr, b1=0.9, b2=0.999, epsilon=1e-7, amsgrad=False):
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
    if amsgrad:
        v = state["x"] = np.maximum(state.get("x", 0), v)
    alpha = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
    return w - alpha * m / (np.sqrt(v) + epsilon)


def adagrad(w, g, state, t, lr, initial=0.1, epsilon=1e-7):
    a = state["a"] = state.get("a", initial) + g**2
    return w - lr * g / np.sqrt(a + epsilon)


FORMULAS = {
    "sgd": (optimizers.SGD, sgd, {}, {}),
    "momentum": (optimizers.SGD, sgd, {"momentum": 0.9}, {"momentum": 0.9}),
    "nesterov": (
        optimizers.SGD,
        sgd,
        {"momentum": 0.8, "nesterov": True},
        {"momentum": 0.8, "nesterov": True},
    ),
    "rmsprop": (optimizers.RMSprop, rmsprop, {}, {}),
    "rmsprop_all": (
        optimizers.RMSprop,
        rmsprop,
        {"rho": 0.8, "momentum": 0.5, "centered": True, "epsilon": 1e-3},
        {"rho": 0.8, "momentum": 0.5, "centered": True, "epsilon": 1e-3},
    ),
    "adam": (optimizers.Adam, adam, {}, {}),
    "amsgrad": (
        optimizers.Adam,
        adam,
        {"beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-3, "amsgrad": True},
        {"b1": 0.7, "b2": 0.8, "epsilon": 1e-3, "amsgrad": True},
    ),
    "adagrad": (optimizers.Adagrad, adagrad, {}, {}),
    "adagrad_initial": (
        optimizers.Adagrad,
        adagrad,
        {"initial_accumulator_value": 0.5},
        {"initial": 0.5},
    ),
}


def transcribed(formula, weights, rates, decay=0.0, transform=None, **arguments):
    weights = [w.astype("float64") for w in weights]
    states = [{} for _ in weights]
    for t, lr in enumerate(rates, 1):
        gradients = gradients_of(t)
        if transform is not None:
            gradients = transform(gradients)
        for i, (g, state) in enumerate(zip(gradients, states, strict=True)):
            weights[i] = formula(weights[i] * (1 - lr * decay), g, state, t, lr, **arguments)
    return weights


def trained(run, steps):
    for t in range(1, steps + 1):
        run.step(gradients_of(t))
    return run.values


@pytest.mark.parametrize("case", FORMULAS)
@pytest.mark.parametrize("decay", [None, 0.3])
def test_formula(case, decay):
    cls, formula, ours, theirs = FORMULAS[case]
    run = Run(cls(learning_rate=0.05, weight_decay=decay, **ours))
    expected = transcribed(formula, run.values, [0.05] * 6, decay or 0.0, **theirs)
    for found, wanted in zip(trained(run, 6), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", FORMULAS)
def test_cpu_kernels_follow_the_formula(case):
    cls, formula, ours, theirs = FORMULAS[case]
    run = Run(cls(learning_rate=0.05, weight_decay=0.1, **ours), "float32")
    expected = transcribed(formula, run.values, [0.05] * 6, 0.1, **theirs)
    for found, wanted in zip(trained(run, 6), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


def test_adamw_is_adam_with_decay():
    run = Run(optimizers.AdamW())
    expected = transcribed(adam, run.values, [0.001] * 3, 0.004)
    for found, wanted in zip(trained(run, 3), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def _by_value(gradients):
    return [np.clip(g, -0.5, 0.5) for g in gradients]


def _by_norm(gradients):
    return [g / max(1.0, np.linalg.norm(g) / 3.0) for g in gradients]


def _by_global_norm(gradients):
    norm = math.sqrt(sum((g**2).sum() for g in gradients))
    return [g / max(1.0, norm / 3.0) for g in gradients]


@pytest.mark.parametrize(
    ("arguments", "transform"),
    [
        ({"clipvalue": 0.5}, _by_value),
        ({"clipnorm": 3.0}, _by_norm),
        ({"global_clipnorm": 3.0}, _by_global_norm),
        ({"global_clipnorm": 1e6}, None),
    ],
)
def test_clipping(arguments, transform):
    run = Run(optimizers.SGD(0.1, **arguments))
    expected = transcribed(sgd, run.values, [0.1] * 3, transform=transform)
    for found, wanted in zip(trained(run, 3), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_clipping_of_zero_gradients_stays_finite():
    run = Run(optimizers.SGD(0.1, global_clipnorm=1.0), "float32")
    before = run.values
    run.step([np.zeros(shape) for shape in SHAPES.values()])
    for found, wanted in zip(run.values, before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_schedules_and_new_rates_need_no_new_plan():
    schedule = schedules.ExponentialDecay(0.1, 2, 0.5)
    run = Run(optimizers.SGD(schedule))
    rates = [schedule(t) for t in range(3)]
    expected = transcribed(sgd, run.values, [*rates, 0.7])
    trained(run, 3)
    assert run.optimizer.current_learning_rate() == schedule(3)
    run.optimizer.learning_rate = 0.7
    assert run.optimizer.learning_rate == 0.7
    run.step(gradients_of(4))
    for found, wanted in zip(run.values, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert run.optimizer.iterations == 4


def test_exclusion_from_decay():
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias$"])
    run = Run(optimizer)
    before = run.values
    run.step([np.zeros(shape) for shape in SHAPES.values()])
    np.testing.assert_allclose(run.values[0], before[0] * 0.95)
    np.testing.assert_array_equal(run.values[1], before[1])
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    kernel = Parameter("k", np.ones(3))
    optimizer.exclude_from_weight_decay([kernel])
    optimizer.build([kernel])
    found = optimizer.updates(
        [(placeholder((3,), "float64"), kernel)], placeholder((2,), "float64")
    )
    assert not found[0][1].node.op.decay


# --- moving averages ----------------------------------------------------------------------------


def test_ema_starts_with_the_first_weights_and_follows():
    run = Run(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8))
    average = None
    for t in range(1, 5):
        run.step(gradients_of(t))
        now = run.values
        pairs = zip(average or now, now, strict=True)
        average = [0.8 * a + 0.2 * w for a, w in pairs]
    state = run.optimizer.state()
    np.testing.assert_allclose(state["conv/kernel/average"], average[0])
    run.optimizer.swap_ema()
    np.testing.assert_allclose(run.values[1], average[1])
    run.optimizer.swap_ema()
    np.testing.assert_array_equal(run.values[1], now[1])
    run.optimizer.finalize_variable_values()
    np.testing.assert_allclose(run.values[0], average[0])


def test_finalizing_averages_that_are_shown_keeps_them():
    run = Run(optimizers.SGD(0.1, use_ema=True))
    trained(run, 3)
    run.optimizer.swap_ema()
    shown = run.values
    run.optimizer.finalize_variable_values()
    for found, wanted in zip(run.values, shown, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_ema_overwrites_every_so_many_steps():
    run = Run(optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2))
    run.step(gradients_of(1))
    one = run.values
    run.step(gradients_of(2))
    assert (run.values[0] != one[0]).any()
    np.testing.assert_array_equal(run.values[0], run.optimizer.state()["conv/kernel/average"])


def test_without_ema_there_is_nothing_to_swap():
    run = Run(optimizers.SGD(0.1))
    before = run.values
    run.optimizer.finalize_variable_values()
    np.testing.assert_array_equal(run.values[0], before[0])
    with pytest.raises(ArgumentError, match="use_ema=True"):
        run.optimizer.swap_ema()


# --- state --------------------------------------------------------------------------------------

STATEFUL = [
    (optimizers.SGD, {}, []),
    (optimizers.SGD, {"momentum": 0.9}, ["velocity"]),
    (optimizers.Adam, {"amsgrad": True, "use_ema": True}, ["m", "v", "v_max", "average"]),
    (optimizers.RMSprop, {"centered": True}, ["mean_square", "mean_gradient"]),
    (optimizers.Adagrad, {}, ["accumulator"]),
]


@pytest.mark.parametrize(("cls", "arguments", "slots"), STATEFUL)
def test_state_continues_a_run(cls, arguments, slots):
    run = Run(cls(0.1, **arguments))
    trained(run, 3)
    state = run.optimizer.state()
    assert list(state) == [f"{name}/{slot}" for name in SHAPES for slot in slots]
    resumed = Run(cls(0.1, **arguments))
    for weight, value in zip(resumed.weights, run.values, strict=True):
        weight.assign(value)
    resumed.optimizer.load_state(state)
    resumed.optimizer.iterations = run.optimizer.iterations
    for t in (4, 5):
        run.step(gradients_of(t))
        resumed.step(gradients_of(t))
    for found, wanted in zip(resumed.values, run.values, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_wrong_state_changes_nothing():
    run = Run(optimizers.Adam())
    trained(run, 2)
    before = run.optimizer.state()
    wrong = {name: value + 1 for name, value in before.items()}
    wrong["conv/bias/m"] = np.zeros(7)
    wrong["extra"] = np.zeros(1)
    del wrong["conv/bias/v"]
    with pytest.raises(ShapeError, match=r"missing 'conv/bias/v'.*unexpected 'extra'.*\(7,\)"):
        run.optimizer.load_state(wrong)
    for name, value in run.optimizer.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_building_again_keeps_known_slots():
    run = Run(optimizers.Adam())
    trained(run, 2)
    before = run.optimizer.state()
    new = Parameter("head/kernel", np.zeros(4), path="head/kernel")
    run.optimizer.build([*run.weights, new])
    state = run.optimizer.state()
    np.testing.assert_array_equal(state["conv/kernel/m"], before["conv/kernel/m"])
    assert not state["head/kernel/m"].any()


def test_weights_of_one_name_get_slots_of_their_own():
    optimizer = optimizers.SGD(momentum=0.9)
    optimizer.build([Parameter("kernel", np.zeros(2)), Parameter("kernel", np.zeros(2))])
    assert len(optimizer.state()) == 2


def test_unknown_weights_are_refused():
    optimizer = optimizers.SGD()
    optimizer.build([Parameter("a", np.zeros(2))])
    pair = (placeholder((2,), "float64"), Parameter("b", np.zeros(2)))
    with pytest.raises(ArgumentError, match="weight 'b'"):
        optimizer.updates([pair], placeholder((2,), "float64"))


# --- configs and arguments ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_names_and_configs_round_trip(name):
    optimizer = optimizers.get(name)
    assert type(optimizer) is optimizers.OPTIMIZERS[name]
    copy = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    assert copy.get_config() == optimizer.get_config()


def test_configs_keep_schedules():
    optimizer = optimizers.SGD(schedules.CosineDecay(0.1, 100, warmup_target=0.2), 0.9)
    copy = optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(optimizer))))
    assert copy.momentum == 0.9
    assert copy.learning_rate(17) == optimizer.learning_rate(17)


KERAS_DEFAULTS = {
    "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, "name": "SGD"},
    "rmsprop": {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7},
    "adam": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "adamw": {"learning_rate": 0.001, "weight_decay": 0.004, "amsgrad": False},
    "adagrad": {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7},
}


@pytest.mark.parametrize("name", sorted(KERAS_DEFAULTS))
def test_defaults_are_those_of_keras(name):
    config = optimizers.get(name).get_config()
    expected = {"use_ema": False, "ema_momentum": 0.99, "clipnorm": None, **KERAS_DEFAULTS[name]}
    assert {key: config[key] for key in expected} == expected
    assert list(config) == list(inspect.signature(optimizers.OPTIMIZERS[name]).parameters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate=-1"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"learning_rate": math.nan}, "finite"),
        ({"momentum": 1.5}, "momentum"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "one kind of clipping"),
        ({"clipnorm": 0}, "clipnorm"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"use_ema": True, "ema_momentum": 2}, "ema_momentum"),
        ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps"),
        ({"gradient_accumulation_steps": 2.5}, "gradient_accumulation_steps"),
        ({"loss_scale_factor": 2.0}, "loss_scale_factor"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        optimizers.SGD(**arguments)


def test_bad_rates_and_identifiers():
    optimizer = optimizers.SGD(lambda step: float("nan"))
    with pytest.raises(ArgumentError, match="finite"):
        optimizer.numbers()
    with pytest.raises(ArgumentError, match="LearningRateSchedule"):
        optimizer.get_config()
    optimizer = optimizers.SGD(0.5)
    with pytest.raises(ArgumentError, match="learning_rate"):
        optimizer.learning_rate = -1
    assert optimizer.learning_rate == 0.5
    with pytest.raises(ArgumentError, match="iterations"):
        optimizer.iterations = -1
    for identifier in ("adm", 3, None, {"class_name": "Nope"}):
        with pytest.raises(ArgumentError, match="adagrad, adam, adamw"):
            optimizers.get(identifier)


# --- schedules ----------------------------------------------------------------------------------


def half_cosine(x):
    return 0.5 * (1 + math.cos(math.pi * x))


SCHEDULES = {
    "exponential": (schedules.ExponentialDecay(0.1, 10, 0.5), lambda t: 0.1 * 0.5 ** (t / 10)),
    "staircase": (
        schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True),
        lambda t: 0.1 * 0.5 ** (t // 10),
    ),
    "step": (schedules.StepDecay(0.1, 10), lambda t: 0.1 * 0.1 ** (t // 10)),
    "piecewise": (
        schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1]),
        lambda t: 1.0 if t <= 10 else 0.5 if t <= 20 else 0.1,
    ),
    "polynomial": (
        schedules.PolynomialDecay(0.1, 20, 0.01, power=2.0),
        lambda t: 0.09 * (1 - min(t, 20) / 20) ** 2 + 0.01,
    ),
    "polynomial_cycle": (
        schedules.PolynomialDecay(0.1, 20, 0.01, cycle=True),
        lambda t: 0.09 * (1 - t / (20 * max(1, math.ceil(t / 20)))) + 0.01,
    ),
    "inverse": (schedules.InverseTimeDecay(0.1, 10, 2.0), lambda t: 0.1 / (1 + 2 * t / 10)),
    "inverse_staircase": (
        schedules.InverseTimeDecay(0.1, 10, 2.0, staircase=True),
        lambda t: 0.1 / (1 + 2 * (t // 10)),
    ),
    "cosine": (
        schedules.CosineDecay(0.1, 20, alpha=0.1),
        lambda t: 0.1 * (0.9 * half_cosine(min(t, 20) / 20) + 0.1),
    ),
    "cosine_warmup": (
        schedules.CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=5),
        lambda t: 0.1 * t / 5 if t < 5 else 0.1 * half_cosine(min(t - 5, 20) / 20),
    ),
    "one_cycle": (
        schedules.OneCycle(1.0, 40),
        lambda t: (
            0.04 + 0.96 * (1 - half_cosine(t / 10))
            if t < 10
            else 1e-5 + (1 - 1e-5) * half_cosine(min((t - 10) / 30, 1))
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    schedule, formula = SCHEDULES[name]
    for step in range(60):
        assert schedule(step) == pytest.approx(formula(step), rel=1e-12, abs=1e-15)
    assert isinstance(schedule(3), float)
    copy = schedules.deserialize(json.loads(json.dumps(schedules.serialize(schedule))))
    assert [copy(t) for t in range(60)] == [schedule(t) for t in range(60)]


def test_restarts():
    schedule = schedules.CosineDecayRestarts(1.0, 10, t_mul=2.0, m_mul=0.5, alpha=0.1)
    for step in range(70):
        start, length, factor = (
            (0, 10, 1) if step < 10 else (10, 20, 0.5) if step < 30 else (30, 40, 0.25)
        )
        expected = 0.9 * factor * half_cosine((step - start) / length) + 0.1
        assert schedule(step) == pytest.approx(expected)
    even = schedules.CosineDecayRestarts(1.0, 10, t_mul=1.0, m_mul=0.5)
    for step in range(50):
        assert even(step) == pytest.approx(0.5 ** (step // 10) * half_cosine(step % 10 / 10))


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.ExponentialDecay(0.1, 0, 0.5),
        lambda: schedules.ExponentialDecay(-0.1, 10, 0.5),
        lambda: schedules.StepDecay(0.1, 0.5),
        lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]),
        lambda: schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3]),
        lambda: schedules.CosineDecay(0.1, -1),
        lambda: schedules.CosineDecayRestarts(0.1, 10, t_mul=0.5),
        lambda: schedules.OneCycle(0.1, 0),
        lambda: schedules.OneCycle(0.1, 10, pct_start=2),
        lambda: schedules.deserialize("cosine"),
    ],
)
def test_bad_schedules(make):
    with pytest.raises(ArgumentError):
        make()
