# SPDX-License-Identifier: Apache-2.0
"""Plans: the values of the graph, state written at the end or not at all."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcnn import ops
from fastcnn.autodiff import evaluate, gradients
from fastcnn.backends import threads
from fastcnn.errors import ArgumentError, DtypeError, KernelMissing, NonFiniteError, ShapeError
from fastcnn.graph import Parameter, Tensor, constant, placeholder
from fastcnn.passes import fuse_convolutions, fuse_updates
from fastcnn.plan import Arena, Plan

Array = np.ndarray[Any, Any]
BACKENDS = ["cpu", "reference"]
X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2


def parameter(name: str, *values: float) -> Parameter:
    return Parameter(name, np.array(values, np.float32))


def leaf(*shape: int, name: str = "x") -> Tensor:
    return placeholder(shape, name=name)


# --- values ------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Tensor], list[Tensor], list[tuple[Parameter, Tensor]]]:
    """Inputs, outputs and updates of a random graph of (3, 4) tensors with state and views."""
    inputs = [leaf(3, 4, name=f"x{i}") for i in range(2)]
    state = [
        Parameter(f"p{i}", np.linspace(-1, 1 + i, 12, dtype=np.float32).reshape(3, 4))
        for i in range(3)
    ]
    pool = [*inputs, *(p.tensor for p in state), constant(np.full((3, 4), 0.5, np.float32))]
    pick = st.integers(0, 1000)

    def some() -> Tensor:
        return pool[draw(pick) % len(pool)]

    steps = {
        "add": lambda: ops.add(some(), some()),
        "maximum": lambda: ops.maximum(some(), some()),
        "relu": lambda: ops.relu(some()),
        "view": lambda: ops.reshape(ops.reshape(some(), (4, 3)), (3, 4)),
        "turn": lambda: ops.reshape(ops.transpose(some()), (3, 4)),
        "average": lambda: ops.ema_update(some(), some(), 0.5),
        "row": lambda: ops.broadcast_to(ops.slice(some(), (1, 0), (1, 4)), (3, 4)),
        "rows": lambda: ops.concat(
            [ops.slice(some(), (1, 0), (2, 4)), ops.slice(some(), (0, 0), (1, 4))], axis=0
        ),
        "columns": lambda: ops.concat(
            [ops.slice(some(), (0, 1), (3, 3)), ops.slice(some(), (0, 0), (3, 1))]
        ),
    }
    for _ in range(draw(st.integers(1, 12))):
        pool.append(steps[draw(st.sampled_from(sorted(steps)))]())
    outputs = [some() for _ in range(draw(st.integers(0, 4)))]
    return inputs, outputs, [(p, some()) for p in state if draw(st.booleans())]


@settings(max_examples=150)
@given(graphs(), st.sampled_from(BACKENDS), st.booleans())
def test_equals_node_by_node_evaluation(graph: Any, backend: str, joint: bool) -> None:
    inputs, outputs, updates = graph
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 4)).astype(np.float32) for _ in inputs]
    wanted = evaluate([*outputs, *(t for _, t in updates)], dict(zip(inputs, arrays, strict=True)))
    wanted = [w.copy() for w in wanted]
    kept = [a.copy() for a in arrays]
    if joint:
        made = fuse_updates(outputs, [t for _, t in updates])
        updates = [(p, t) for (p, _), t in zip(updates, made, strict=True)]
    found = Plan(inputs, outputs, updates, backend=backend).run(*arrays)
    found += [p.value for p, _ in updates]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_may_be_inputs_state_views_and_duplicates(backend: str) -> None:
    x, p = leaf(2, 3), parameter("p", 1, 2)
    y = ops.relu(x)
    flat = ops.reshape(y, (6,))
    outputs = [x, p.tensor, constant(np.float32([7])), y, flat, y, ops.reshape(x, (3, 2))]
    found = Plan([x], outputs, backend=backend).run(X)
    relu = np.maximum(X, 0)
    wanted = [X, [1, 2], [7], relu, relu.ravel(), relu, X.reshape(3, 2)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    found[0][...] = 99
    found[1][...] = 99
    found[3][...] = 99
    np.testing.assert_array_equal(found[4], relu.ravel())
    np.testing.assert_array_equal(found[5], relu)
    np.testing.assert_array_equal(p.value, [1, 2])
    assert X[0, 0] == -2


def test_results_are_fresh_arrays() -> None:
    x = leaf(2, 3)
    plan = Plan([x], [ops.relu(x)])
    first = plan.run(X)[0]
    second = plan.run(X + 1)[0]
    np.testing.assert_array_equal(first, np.maximum(X, 0))
    np.testing.assert_array_equal(second, np.maximum(X + 1, 0))


def test_an_array_in_another_memory_order_is_taken_as_it_reads() -> None:
    x = leaf(2, 3)
    array = np.asfortranarray(X)
    np.testing.assert_array_equal(Plan([x], [ops.relu(x)]).run(array)[0], np.maximum(X, 0))


def foreign(array: Array) -> list[Array]:
    """The same values in the other byte order, and one byte off the alignment of elements."""
    block = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    block[...] = array
    return [array.astype(array.dtype.newbyteorder("S")), block]


@pytest.mark.parametrize("array", foreign(X), ids=["swapped", "unaligned"])
def test_an_array_of_another_form_is_taken_as_it_reads(array: Array) -> None:
    x = leaf(2, 3)
    np.testing.assert_array_equal(Plan([x], [ops.relu(x)]).run(array)[0], np.maximum(X, 0))
    np.testing.assert_array_equal(ops.relu(array), np.maximum(X, 0))
    np.testing.assert_array_equal(Plan([x], [ops.add(x, array)]).run(X)[0], X + X)


def test_a_constant_does_not_follow_its_array() -> None:
    x, array = leaf(2, 3), X.copy()
    plan = Plan([x], [ops.add(x, array)])
    array += 1
    np.testing.assert_array_equal(plan.run(X)[0], X + X)


@pytest.mark.parametrize(
    "value", [*foreign(X), np.asfortranarray(X), np.frombuffer(X.tobytes(), np.float32)]
)
def test_a_weight_that_kernels_cannot_write_is_refused(value: Array) -> None:
    weight = Parameter("w", value)
    with pytest.raises(ArgumentError, match="make the parameter of numpy"):
        Plan([], [ops.negative(weight)])


def test_a_chain_runs_in_place() -> None:
    x = leaf(64, 64)
    y = x
    for _ in range(10):
        y = ops.relu(y)
    assert Plan([x], [ops.sum(y)]).arena_bytes <= 2 * 64 * 64 * 4


def test_a_convolution_takes_the_place_of_its_residual() -> None:
    image, weight = leaf(1, 16, 16, 32), Parameter("w", np.ones((1, 1, 32, 32), np.float32))
    x = ops.relu(image)
    y = ops.relu(ops.add(ops.conv2d(x, weight.tensor), x))  # x is convolved: it must stay
    z = ops.relu(ops.add(ops.conv2d(ops.max_pool2d(x, 3, 1, "same"), weight.tensor), x))
    arenas = [Plan([image], fuse_convolutions([ops.sum(t)])).arena_bytes for t in (y, z)]
    assert arenas[0] >= 2 * 16 * 16 * 32 * 4
    assert arenas[1] < arenas[0] + 16 * 16 * 32 * 4


@pytest.mark.parametrize(("columns", "apart"), [(64, True), (1 << 16, False)])
def test_small_outputs_leave_memory_alone_that_was_just_read(columns: int, apart: bool) -> None:
    """Of a chain of pools, whether an output lies where the last but one read its input."""
    x = leaf(1, 8, columns, 1)
    y: Tensor = x
    for _ in range(5):
        y = ops.avg_pool2d(y, (3, 3), (1, 1), "same")
    plan = Plan([x], [ops.sum(y)])
    pools = [call for call in plan.calls if call.op == "avg_pool2d"]
    assert len(pools) == 5
    for before, after in pairwise(pools[1:]):
        assert (after.outputs[0].offset != before.inputs[0].offset) == apart


@pytest.mark.parametrize("axis", [0, 1])
def test_state_may_become_its_own_parts_in_another_order(axis: int) -> None:
    """What is written over state is not read from it afterwards, nor written before its turn."""
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    weight = Parameter("w", value.copy())
    begin, size = [0, 0], [3, 4]
    begin[axis], size[axis] = 1, size[axis] - 1
    first = [3, 4]
    first[axis] = 1
    parts = [ops.slice(weight.tensor, begin, size), ops.slice(weight.tensor, (0, 0), first)]
    Plan([], [], [(weight, ops.concat(parts, axis=axis))]).run()
    np.testing.assert_array_equal(weight.value, np.roll(value, -1, axis))


def test_a_training_plan_takes_memory_at_once() -> None:
    weight = Parameter("w", np.ones((1, 8, 64, 1), np.float32))
    y: Tensor = weight.tensor
    for _ in range(5):
        y = ops.avg_pool2d(y, (3, 3), (1, 1), "same")
    assert Plan([], [], [(weight, y)]).arena_bytes == 2 * weight.value.nbytes


# --- state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_updates_read_the_state_before_the_run(backend: str) -> None:
    p, q, r = parameter("p", 1, 2), parameter("q", 3, 4), parameter("r", 5, 6)
    updates = [(p, q.tensor), (q, p.tensor), (r, ops.add(p.tensor, r.tensor))]
    Plan([], [], updates, backend=backend).run()
    np.testing.assert_array_equal([p.value, q.value, r.value], [[3, 4], [1, 2], [6, 8]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_view_of_other_state_is_copied_before_that_state_changes(backend: str) -> None:
    p, q = Parameter("p", np.zeros((2, 1), np.float32)), parameter("q", 3, 4)
    updates = [(q, ops.add(q.tensor, 1.0)), (p, ops.reshape(q.tensor, (2, 1)))]
    Plan([], [], updates, backend=backend).run()
    np.testing.assert_array_equal(p.value, [[3], [4]])
    np.testing.assert_array_equal(q.value, [4, 5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_tensor_may_update_two_weights(backend: str) -> None:
    p, q = parameter("p", 1, 2), parameter("q", 3, 4)
    new = ops.add(p.tensor, q.tensor)
    Plan([], [], [(p, new), (q, new)], backend=backend).run()
    np.testing.assert_array_equal([p.value, q.value], [[4, 6], [4, 6]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_output_may_depend_on_new_state(backend: str) -> None:
    total = parameter("total", 10)
    x = leaf(1)
    new = ops.add(total.tensor, x)
    outputs = [ops.multiply(new, 2.0), total.tensor, new]
    found = Plan([x], outputs, [(total, new)], backend=backend).run(np.float32([5]))
    np.testing.assert_array_equal(found, [[30], [10], [15]])
    np.testing.assert_array_equal(total.value, [15])


@pytest.mark.parametrize("backend", BACKENDS)
def test_updates_may_build_on_each_other(backend: str) -> None:
    p, q = parameter("p", 1), parameter("q", 100)
    new_p = ops.add(p.tensor, 1.0)
    Plan([], [], [(p, new_p), (q, ops.add(new_p, q.tensor))], backend=backend).run()
    np.testing.assert_array_equal([p.value, q.value], [[2], [102]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_guard_that_is_not_an_output_is_computed(backend: str) -> None:
    x, p = leaf(3), parameter("p", 1, 2, 3)
    plan = Plan([x], [], [(p, ops.add(p.tensor, x))], guard=ops.sum(x), backend=backend)
    with pytest.raises(NonFiniteError, match="no weight was changed"):
        plan.run(np.float32([1, np.inf, 0]))
    np.testing.assert_array_equal(p.value, [1, 2, 3])
    plan.run(np.float32([1, 1, 1]))
    np.testing.assert_array_equal(p.value, [2, 3, 4])


def test_new_state_is_made_in_its_place() -> None:
    p, g = parameter("p", *range(1000)), leaf(1000)
    plan = Plan([g], [], [(p, ops.subtract(p.tensor, g))])
    address = p.value.ctypes.data
    plan.run(np.ones(1000, np.float32))
    assert [call.op for call in plan.calls] == ["subtract"]
    assert plan.arena_bytes == 0
    assert p.value.ctypes.data == address
    np.testing.assert_array_equal(p.value, np.arange(1000) - 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_updates_that_read_each_others_weights_see_the_old_ones(backend: str) -> None:
    """Two that swap, a ring of three, and one that builds on the new value of the first."""
    names = "abcdef"
    a, b, c, d, e, f = (parameter(name, i + 1.0, 10.0 * i) for i, name in enumerate(names))
    new_f = ops.add(f.tensor, 1.0)
    updates = [
        (a, ops.multiply(b.tensor, a.tensor)),
        (b, ops.add(a.tensor, b.tensor)),
        (c, ops.add(d.tensor, 1.0)),
        (d, ops.add(e.tensor, 1.0)),
        (e, ops.add(c.tensor, 1.0)),
        (f, new_f),
    ]
    old = {p.name: p.numpy() for p, _ in updates}
    last = ops.multiply(ops.add(new_f, 0.5), f.tensor)
    g = parameter("g", 0.0, 0.0)
    Plan([], [], [*updates, (g, last)], backend=backend).run()
    np.testing.assert_array_equal(a.value, old["a"] * old["b"])
    np.testing.assert_array_equal(b.value, old["a"] + old["b"])
    np.testing.assert_array_equal(c.value, old["d"] + 1)
    np.testing.assert_array_equal(d.value, old["e"] + 1)
    np.testing.assert_array_equal(e.value, old["c"] + 1)
    np.testing.assert_array_equal(f.value, old["f"] + 1)
    np.testing.assert_array_equal(g.value, (old["f"] + 1.5) * old["f"])


def test_gradients_are_dropped_as_their_updates_take_them() -> None:
    """Ten equal layers: the arena holds what forward kept, and few gradients of weights."""
    x = leaf(4, 256)
    weights = [Parameter(f"w{i}", np.eye(256, dtype=np.float32)) for i in range(10)]
    y: Tensor = x
    for weight in weights:
        y = ops.relu(ops.matmul(y, weight.tensor))
    loss = ops.sum(y)
    found = gradients(loss, weights)
    step = [
        (w, ops.sgd_update(w, g, leaf(2, name="n"))) for w, g in zip(weights, found, strict=True)
    ]
    numbers = [t for _, new in step for t in new.node.inputs[:1]]
    plan = Plan([x, *numbers], [loss], step, guard=loss)
    assert plan.arena_bytes < 2 * weights[0].value.nbytes
    calls = [call.op for call in plan.calls]
    assert calls.index("check_finite") < calls.index("sgd_update")
    assert calls.index("sgd_update") < len(calls) // 2


def test_writes_are_counted() -> None:
    p, q, x = parameter("p", 1), parameter("q", 1), leaf(1)
    plan = Plan([x], [q.tensor], [(p, ops.add(p.tensor, x))], guard=x)
    plan.run(np.float32([1]))
    list(plan.step(np.float32([1])))
    with pytest.raises(NonFiniteError):
        plan.run(np.float32([np.nan]))
    assert (p.version, q.version) == (2, 0)


def test_many_threads_meet_after_a_stop() -> None:
    before = threads.get_num_threads()
    threads.set_num_threads(3)
    try:
        x, p = leaf(5000), Parameter("p", np.zeros(5000, np.float32))
        y = x
        for _ in range(5):
            y = ops.add(y, 1.0)
        plan = Plan([x], [y], [(p, ops.add(p.tensor, y))], guard=y)
        for _ in range(200):
            with pytest.raises(NonFiniteError):
                plan.run(np.full(5000, np.nan, np.float32))
    finally:
        threads.set_num_threads(before)
    assert not p.value.any()


# --- stepping and printing ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_step_yields_every_call_with_its_outputs(backend: str) -> None:
    x = leaf(2, 3)
    y = ops.relu(x)
    z = ops.add(y, 1.0)
    plan = Plan([x], [ops.multiply(z, 2.0)], backend=backend)
    steps = list(plan.step(X))
    assert [call.op for call, _, _ in steps] == ["relu", "add", "multiply"]
    relu = np.maximum(X, 0)
    for (_, outputs, seconds), wanted in zip(steps, [relu, relu + 1, 2 * relu + 2], strict=True):
        np.testing.assert_array_equal(outputs[0], wanted)
        assert seconds >= 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_timing_calls_runs_each_of_them_once(backend: str) -> None:
    weight = parameter("w", 1.0, 2.0)
    x = leaf(2)
    plan = Plan([x], [ops.exp(x)], [(weight, ops.add(weight.tensor, x))], backend=backend)
    seconds = plan.time_calls(np.ones(2, np.float32))
    assert len(seconds) == len(plan.calls)
    assert all(0 < taken < 60 for taken in seconds)
    np.testing.assert_array_equal(weight.value, [2.0, 3.0])


def test_an_abandoned_step_frees_the_plan() -> None:
    x = leaf(2, 3)
    plan = Plan([x], [ops.relu(ops.add(x, 1.0))])
    steps = plan.step(X)
    next(steps)
    steps.close()
    np.testing.assert_array_equal(plan.run(X)[0], np.maximum(X + 1, 0))


def test_a_step_left_after_a_write_has_counted_it() -> None:
    x, p = leaf(2, 3), Parameter("p", np.zeros((2, 3), np.float32))
    q = Parameter("q", np.zeros((2, 3), np.float32))
    plan = Plan([x], [], [(p, ops.add(x, 1.0)), (q, ops.add(x, 2.0))])
    steps = plan.step(X)
    next(steps)
    steps.close()
    assert q.value.any()  # updates come as gradients do, the last weight's first
    assert not p.value.any()
    assert q.version == 1


def test_prints_a_row_per_call_and_the_memory() -> None:
    x = leaf(2, 3)
    plan = Plan([x], [ops.sum(ops.relu(x), axis=1)])
    lines = str(plan).splitlines()
    assert len(lines) == 1 + len(plan.calls) + 1
    assert all(part in lines[1] for part in ("f32_relu", "float32[2, 3]", "24"))
    assert lines[-1].startswith("arena ")
    assert "scratch" in lines[-1]
    assert plan.kernels[0] == "f32_relu"


# --- wrong calls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ([], ShapeError, "takes 1 inputs but was given 0"),
        ([X, X], ShapeError, "takes 1 inputs but was given 2"),
        ([X[:, :2]], ShapeError, r"input 'x' has shape \(2, 2\), expected \(2, 3\)"),
        ([X.astype(np.float64)], DtypeError, "input 'x' has dtype float64, expected float32"),
        ([X.astype(object)], DtypeError, "input 'x' has dtype object, expected float32"),
    ],
)
def test_wrong_inputs_leave_the_state(arrays: list[Array], error: Any, message: str) -> None:
    x, p = leaf(2, 3), Parameter("p", np.ones((2, 3), np.float32))
    plan = Plan([x], [x], [(p, ops.add(p.tensor, x))])
    with pytest.raises(error, match=message):
        plan.run(*arrays)
    assert (p.value == 1).all()
    assert p.version == 0
    plan.run(X)
    np.testing.assert_array_equal(p.value, X + 1)


def test_a_second_input_of_the_wrong_shape_leaves_the_state() -> None:
    x, y = leaf(3, name="x"), leaf(3, name="y")
    p = parameter("p", 1, 1, 1)
    plan = Plan([x, y], [], [(p, ops.add(x, y))])
    with pytest.raises(ShapeError, match="input 'y'"):
        plan.run(np.zeros(3, np.float32), np.zeros(4, np.float32))
    np.testing.assert_array_equal(p.value, [1, 1, 1])


def test_wrong_graphs() -> None:
    x, y, p = leaf(2, 3), leaf(2, 3, name="y"), parameter("p", 1, 2)
    with pytest.raises(ArgumentError, match="not among the plan's inputs"):
        Plan([x], [ops.add(x, y)])
    with pytest.raises(ShapeError, match=r"weight 'p' is float32\(2\) but its update is"):
        Plan([x], [], [(p, ops.relu(x))])
    with pytest.raises(ArgumentError, match="two updates of weight 'p'"):
        Plan([], [], [(p, ops.add(p.tensor, 1.0)), (p, p.tensor)])
    batch = placeholder((None, 3))
    with pytest.raises(ShapeError, match="not fully known"):
        Plan([batch], [ops.relu(batch)])
    double = placeholder((3,), "float64")
    with pytest.raises(KernelMissing, match="use float32"):
        Plan([double], [ops.relu(double)])
    np.testing.assert_array_equal(p.value, [1, 2])


# --- memory that plans share -------------------------------------------------------------------


def chain(rows: int, arena: Arena) -> Plan:
    """y = relu(2 x + 1) + x, whose inner values lie in the arena."""
    x = leaf(rows, 8)
    return Plan([x], [ops.add(ops.relu(ops.add(ops.multiply(x, 2.0), 1.0)), x)], arena=arena)


def test_plans_may_share_an_arena_that_grows() -> None:
    arena = Arena()
    plans = {rows: chain(rows, arena) for rows in (4, 400, 40)}
    for rows in (4, 400, 40, 4):
        x = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
        (found,) = plans[rows].run(x)
        np.testing.assert_allclose(found, np.maximum(2 * x + 1, 0) + x, rtol=1e-6)
    assert arena.memory(0).nbytes == max(plan.arena_bytes for plan in plans.values()) > 0


# --- the work of planning ----------------------------------------------------------------------


def calls_to_plan(layers: int) -> int:
    """Python calls that compiling a chain of so many layers with updates takes."""
    x, updates = leaf(4, 8), []
    y: Tensor = x
    for i in range(layers):
        p = Parameter(f"p{i}", np.ones((4, 8), np.float32))
        y = ops.relu(ops.add(y, p.tensor))
        updates.append((p, ops.ema_update(p.tensor, y, 0.5)))
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        Plan([x], [y], updates)
    finally:
        sys.setprofile(None)
    return calls


def test_planning_takes_time_in_proportion_to_the_graph() -> None:
    assert calls_to_plan(200) < 5 * calls_to_plan(50)
