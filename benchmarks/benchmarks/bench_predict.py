# SPDX-License-Identifier: Apache-2.0
"""Latency and memory of inference."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from .common import NETWORKS, THREADS, batch, compiled, use_threads

BATCHES = [1, 32]


class Predict:
    params = [list(NETWORKS), BATCHES, THREADS]
    param_names = ["network", "batch", "threads"]

    def setup(self, network: str, count: int, threads: int) -> None:
        use_threads(threads)
        self.model = compiled(network)
        self.x, _ = batch(network, count)
        self.model.predict_on_batch(self.x)  # plans

    def time_predict_on_batch(self, network: str, count: int, threads: int) -> None:
        self.model.predict_on_batch(self.x)


class PredictMemory:
    params = [list(NETWORKS), BATCHES]
    param_names = ["network", "batch"]

    def setup(self, network: str, count: int) -> None:
        use_threads(1)
        self.x, _ = batch(network, count)

    def peakmem_predict_on_batch(self, network: str, count: int) -> None:
        compiled(network).predict_on_batch(self.x)


class Overhead:
    """What `predict_on_batch` takes beyond the kernels: the same calls are run bare beside it."""

    unit = "microseconds"

    def setup(self) -> None:
        use_threads(1)
        self.model = compiled("lenet5")
        self.x, _ = batch("lenet5", 1)
        self.model.predict_on_batch(self.x)
        self.program = program_of(self.model.plan(self.x.shape))

    def track_lenet5(self) -> float:
        whole = bare = float("inf")
        for _ in range(20):
            whole = min(whole, least_seconds(lambda: self.model.predict_on_batch(self.x)))
            bare = min(bare, least_seconds(self.program))
        return 1e6 * (whole - bare)


def program_of(plan: Any) -> Callable[[], Any]:
    """One C call that runs the kernels of `plan`, bound as they were last."""
    program = getattr(plan, "_program", None)
    inner = getattr(program, "_program", None)
    if inner is None:
        raise NotImplementedError("this version keeps its program elsewhere")
    return functools.partial(inner.run, 0, len(plan.calls), 1)


def least_seconds(step: Callable[[], Any], count: int = 200) -> float:
    """Least time of one of `count` runs."""
    least = float("inf")
    for _ in range(count):
        begin = time.perf_counter()
        step()
        least = min(least, time.perf_counter() - begin)
    return least
