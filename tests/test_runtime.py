# SPDX-License-Identifier: Apache-2.0
"""The team of threads: after a fork, under several Python threads, and when sizes change."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastcnn import Sequential, layers, ops
from fastcnn.backends import threads

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
