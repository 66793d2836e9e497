# SPDX-License-Identifier: Apache-2.0
"""The team of threads: after a fork, under several Python threads, and when sizes change."""

from __future__ import annotations

import platform
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastcnn import Model, Sequential, layers, ops
from fastcnn.backends import cpu, threads
from fastcnn.backends.calls import Call, Slot
from fastcnn.errors import DtypeError, NonFiniteError, ShapeError
from fastcnn.graph import Parameter, placeholder
from fastcnn.models.model import PLANS_KEPT
from fastcnn.plan import Plan

TIMEOUT = 60  # seconds; a hang is the failure these tests look for


@pytest.fixture(autouse=True)
def restore_threads() -> Any:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def network(filters: int) -> Sequential:
    return Sequential(
        [
            layers.Input((9, 9, 3)),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


FORK = """
    import os, sys, time
    import numpy as np
    from fastcnn import Sequential, layers, ops
    from fastcnn.backends import threads
    threads.set_num_threads(3)
    x = np.random.default_rng(0).standard_normal((40, 9, 9, 3))
    kernel = np.ones((3, 3, 3, 8))
    x32 = x.astype("float32")
    model = Sequential([layers.Input((9, 9, 3)), layers.Conv2D(8, 3), layers.BatchNormalization()])

    def work():
        return model.predict(x32, verbose=0), ops.conv2d(x, kernel)  # kernels, reference

    wanted = work()
    child = os.fork()
    if child == 0:
        found = work()
        os._exit(0 if all((a == b).all() for a, b in zip(found, wanted)) else 3)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            work()  # and the parent goes on
            sys.exit(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    os.kill(child, 9)
    sys.exit("the child hangs")
"""


def test_a_forked_child_predicts() -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr


def test_threads_share_a_model() -> None:
    threads.set_num_threads(2)
    model = network(8)
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((6, 9, 9, 3), dtype=np.float32) for _ in range(8)]
    wanted = [model.predict(x, verbose=0) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda x: model.predict(x, verbose=0), batches * 5, timeout=TIMEOUT)
        for one, other in zip(found, wanted * 5, strict=True):
            np.testing.assert_array_equal(one, other)


def first_uses(model: Sequential, x: Any, sizes: list[int]) -> list[Any]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda n: model.predict(x[:n], verbose=0), sizes, timeout=TIMEOUT))


def test_threads_may_be_the_first_to_use_a_model() -> None:
    """Building, planning and forgetting old plans happen while other threads want the same."""
    x = np.random.default_rng(0).standard_normal((14, 6, 6, 3), dtype=np.float32)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(12):
            chain = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
            model = Sequential([*chain, layers.Dense(3)])
            for result in first_uses(model, x, list(range(1, 15)) * 2):
                np.testing.assert_allclose(result[0], model.predict(x[:1], verbose=0)[0], atol=1e-6)
    finally:
        sys.setswitchinterval(before)


def test_threads_run_models_side_by_side() -> None:
    threads.set_num_threads(3)
    x = np.random.default_rng(0).standard_normal((20, 9, 9, 3), dtype=np.float32)
    models = [network(filters) for filters in (4, 8, 16, 17)]
    wanted = [model.predict(x, verbose=0) for model in models]

    def repeat(model: Sequential) -> list[Any]:
        return [model.predict(x, verbose=0) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for results, want in zip(pool.map(repeat, models, timeout=TIMEOUT), wanted, strict=True):
            for found in results:
                np.testing.assert_array_equal(found, want)


def test_the_team_grows_and_shrinks() -> None:
    x = np.random.default_rng(0).standard_normal((7, 13, 13, 5), dtype=np.float32)
    kernel = np.ones((3, 3, 5, 6), np.float32)
    wanted = None
    for count in (1, 3, 2, 7, 1, 16, 4):
        threads.set_num_threads(count)
        found = ops.conv2d(x, kernel, padding="same").tobytes()
        assert wanted in (None, found), f"{count} threads give other bits"
        wanted = found


def test_every_item_is_taken_whoever_is_late() -> None:
    """More threads than cores: some come when the others have taken what was theirs."""
    x = np.random.default_rng(0).standard_normal((2, 31, 29, 16), dtype=np.float32)
    inputs = layers.Input((31, 29, 16))
    outputs = layers.Conv2D(48, 3, strides=2, padding="same")(inputs)
    outputs = layers.Conv2D(32, 1, activation="relu")(outputs)
    model = Model(inputs, outputs)
    threads.set_num_threads(1)
    wanted = model.predict_on_batch(x).tobytes()
    for count in (2, 3, 8):
        threads.set_num_threads(count)
        for _ in range(100):
            assert model.predict_on_batch(x).tobytes() == wanted, f"on {count} threads"


def call(macs: int, nbytes: int = 64) -> Call:
    slot = Slot(1, 0, (nbytes // 4,), "float32")
    return Call("relu", {}, (slot,), (), lambda x: x, macs=macs)


def test_calls_are_worth_threads_by_their_shape(monkeypatch: Any) -> None:
    monkeypatch.setattr(cpu, "THREAD_NS", 2000.0)
    monkeypatch.setattr(cpu, "TEAM_NS", 40000.0)
    small, large, wide = call(1000), call(10**7), call(0, 10**6)
    assert cpu.worth_threads([small] * 9) == [1] * 9, "a small program wakes nobody"
    one, many, some = cpu.worth_threads([small, large, wide])
    assert one == 1
    assert many > some > 2
    assert cpu.worth_threads([call(10**15)]) == [threads.MAX_THREADS]
    assert cpu.worth_threads([]) == []


def mixed(width: int) -> tuple[Plan, Parameter, Any]:
    """Calls worth one thread, a few and all, in turns; a guard in the middle of them."""
    x = placeholder((4, 24, 24, 8), name="x")
    loss = placeholder((), name="loss")
    weight = Parameter("w", np.ones((4, 8), np.float32))
    kernel = np.random.default_rng(1).standard_normal((3, 3, 8, 8), dtype=np.float32)
    y = x
    for i in range(width):
        y = ops.conv2d(y, ops.multiply(kernel, 0.1), padding="same")
        row = ops.mean(y, axis=(1, 2))
        y = ops.relu(ops.add(y, ops.mean(row, axis=0))) if i % 2 else y
    row = ops.mean(y, axis=(1, 2))
    plan = Plan([x, loss], [row], [(weight, ops.add(weight.tensor, row))], guard=loss)
    return plan, weight, np.random.default_rng(2).standard_normal((4, 24, 24, 8), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_teams_of_several_sizes_meet(count: int, monkeypatch: Any) -> None:
    threads.set_num_threads(1)
    plan, _, x = mixed(5)
    zero, nan = np.float32(0).reshape(()), np.float32(np.nan).reshape(())
    wanted = plan.run(x, zero)[0]
    threads.set_num_threads(count)
    monkeypatch.setattr(cpu, "TEAM_NS", 0.0)
    monkeypatch.setattr(cpu, "THREAD_NS", 3000.0)
    plan, weight, _ = mixed(5)
    worth = set(cpu.worth_threads(plan.calls))
    assert min(worth) == 1
    assert len(worth) > 2, "the calls are not of several sizes"
    for _ in range(10):
        before = weight.numpy()
        with pytest.raises(NonFiniteError):
            plan.run(x, nan)  # what follows the guard does not run, and nobody waits for it
        np.testing.assert_array_equal(weight.value, before)
        np.testing.assert_array_equal(plan.run(x, zero)[0], wanted)
        assert (weight.value != before).any()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flushes on x86-64")
@pytest.mark.parametrize("count", [1, 3])
def test_denormals_are_flushed_in_every_thread_and_nowhere_else(count: int) -> None:
    threads.set_num_threads(count)
    tiny = np.full((64, 64, 64), 1e-40, np.float32)
    assert (tiny > 0).all()
    assert not ops.multiply(tiny, np.ones((), np.float32)).any()
    assert (tiny * np.float32(0.5) > 0).all(), "NumPy's own arithmetic has changed"


def test_plans_of_varying_shapes_are_bounded() -> None:
    chain = [layers.Conv2D(2, 3, padding="same"), layers.GlobalAveragePooling2D()]
    model = Sequential([layers.Input((None, 5, 3)), *chain])
    for size in range(4, 104):
        x = np.ones((1, size, 5, 3), np.float32)
        wanted = model.predict_on_batch(x)
        np.testing.assert_array_equal(model.predict_on_batch(x), wanted)
    assert len(model._plans._plans) == PLANS_KEPT
    assert len(model._plans._found) <= 64


def test_what_was_seen_before_is_checked_again_when_it_changes() -> None:
    model = network(4)
    x = np.ones((2, 9, 9, 3), np.float32)
    wanted = model.predict_on_batch(x)
    for other in (x.astype(np.float64), x.astype(">f4"), np.asfortranarray(x), x[::1, ::-1]):
        np.testing.assert_array_equal(model.predict_on_batch(other), wanted)
    with pytest.raises(ShapeError, match="found shape"):
        model.predict_on_batch(x[:, :8])
    with pytest.raises(DtypeError, match="found dtype uint8"):
        model.predict_on_batch(x.astype(np.uint8))
    first = model.predict_on_batch(x)
    assert model.predict_on_batch(x) is not first
    model.layers[-1].weights[-1].assign(np.full(5, 7.0))
    assert not np.array_equal(model.predict_on_batch(x), wanted)
    np.testing.assert_array_equal(first, wanted)


def test_memory_of_big_pages_is_cut_without_overlaps() -> None:
    memory = cpu.BigPages()
    sizes = [memory.LEAST, memory.LEAST + 1, 1000, memory.SIZE // 2, memory.SIZE // 2, 5]
    taken = [memory.empty(nbytes) for nbytes in [*sizes, memory.SIZE + 1]]
    assert [array.nbytes for array in taken] == [*sizes, memory.SIZE + 1]
    assert all(array.ctypes.data % 64 == 0 for array in taken)
    for i, array in enumerate(taken):
        array[:] = i
    assert all((array == i).all() for i, array in enumerate(taken))
    assert taken[0].base is taken[1].base  # one array behind both
    assert taken[2].base is not taken[0].base
