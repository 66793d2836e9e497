# SPDX-License-Identifier: Apache-2.0
"""Inference of the networks that are compared with other engines, and of their convolutions."""

from __future__ import annotations

from . import zoo
from .common import uniform, use_threads

THREADS = 2


class Network:
    params = [zoo.NAMES, [1, 8]]
    param_names = ["network", "batch"]
    timeout = 300

    def setup(self, network: str, count: int) -> None:
        use_threads(THREADS)
        self.model = zoo.network(network)
        self.x = uniform(count, *zoo.IMAGE)
        self.model.predict_on_batch(self.x)  # plans and packs

    def time_predict_on_batch(self, network: str, count: int) -> None:
        self.model.predict_on_batch(self.x)


class Convolution:
    """Each with bias and ReLU as inference has it, one image, weights packed beforehand."""

    params = [list(zoo.convolutions())]
    param_names = ["shape"]
    # Hundreds of them: a tenth of a second each is enough to see what has changed.
    rounds = 1
    repeat = (2, 10, 0.1)
    warmup_time = 0.01
    sample_time = 0.01

    def setup(self, shape: str) -> None:
        use_threads(THREADS)
        found = zoo.convolutions()[shape]
        self.model = zoo.alone(found)
        self.x = uniform(1, *found.image)
        self.model.predict_on_batch(self.x)

    def time_predict_on_batch(self, shape: str) -> None:
        self.model.predict_on_batch(self.x)
