# SPDX-License-Identifier: Apache-2.0
"""What a saliency map costs beside the forward run that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable

import fastcnn

from .common import THREADS, uniform, use_threads


def quickest(run: Callable[[], object], repeats: int = 7) -> float:
    """Seconds of the quickest of some runs."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


class Saliency:
    """Of ResNet-50 for one image of 224x224."""

    params = [THREADS]
    param_names = ["threads"]

    def setup(self, threads: int) -> None:
        use_threads(threads)
        fastcnn.set_random_seed(0)
        self.model = fastcnn.applications.ResNet50()
        self.x = uniform(1, 224, 224, 3)
        self.model.predict_on_batch(self.x)  # plans
        fastcnn.explain.saliency(self.model, self.x, 7)

    def time_saliency(self, threads: int) -> None:
        fastcnn.explain.saliency(self.model, self.x, 7)

    def track_saliency_over_two_forward_runs(self, threads: int) -> float:
        """A way back multiplies as often as a way forward."""
        forward = quickest(lambda: self.model.predict_on_batch(self.x))
        return quickest(lambda: fastcnn.explain.saliency(self.model, self.x, 7)) / (2 * forward)
