# SPDX-License-Identifier: Apache-2.0
"""One step of training: forward, backward and update of a batch."""

from __future__ import annotations

from .common import NETWORKS, THREADS, batch, compiled, use_threads

BATCH = 32


class TrainStep:
    params = [list(NETWORKS), THREADS]
    param_names = ["network", "threads"]

    def setup(self, network: str, threads: int) -> None:
        use_threads(threads)
        self.model = compiled(network)
        self.x, self.y = batch(network, BATCH)
        self.model.train_on_batch(self.x, self.y)  # plans

    def time_train_on_batch(self, network: str, threads: int) -> None:
        self.model.train_on_batch(self.x, self.y)


class TrainMemory:
    params = list(NETWORKS)
    param_names = ["network"]

    def setup(self, network: str) -> None:
        use_threads(1)
        self.x, self.y = batch(network, BATCH)

    def peakmem_train_on_batch(self, network: str) -> None:
        compiled(network).train_on_batch(self.x, self.y)


class Compile:
    """From nothing to the first update: graph, gradients, passes and plan."""

    params = list(NETWORKS)
    param_names = ["network"]
    number = 1

    def setup(self, network: str) -> None:
        use_threads(1)
        self.x, self.y = batch(network, 1)

    def time_first_step(self, network: str) -> None:
        compiled(network).train_on_batch(self.x, self.y)
