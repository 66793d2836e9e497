# SPDX-License-Identifier: Apache-2.0
"""Latency and memory of inference."""

from __future__ import annotations

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
