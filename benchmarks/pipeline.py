# SPDX-License-Identifier: Apache-2.0
"""Whether batches keep up with the steps: python benchmarks/pipeline.py [--network MobileNetV2].

Seven ways to make the same number of training steps, in turns, in one process:

steps      `train_on_batch` with one batch that lies ready: no pipeline at all
in order   `fit` over arrays, in their order: batches are views
shuffled   `fit` over arrays in random order: batches are gathered, large ones a step ahead
moved      `fit` over a `ShiftedImages`: gathered and moved by up to three pixels
generator  `fit` over a generator that moves images, turns half of them and scales their values
dataset    the same in a `PyDataset`, with workers as by default: long batches are made a step ahead
in turn    the same with `workers=0`: batches and steps take turns

What is left of `steps`' speed is what a pipeline costs. Least and median over the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastcnn
from fastcnn import applications
from fastcnn.data import ShiftedImages
from fastcnn.utils import PyDataset
from machine import cores, plural, processor

# What draws the network, images in a batch, steps in a round.
CASES: dict[str, tuple[Callable[[], fastcnn.Model], int, int]] = {
    "LeNet5": (lambda: applications.LeNet5(classifier_activation=None), 64, 200),
    "CifarResNet18": (
        lambda: applications.ResNet18(
            stem="cifar", classes=10, input_shape=(32, 32, 3), classifier_activation=None
        ),
        32,
        4,
    ),
    "MobileNetV2": (lambda: applications.MobileNetV2(classifier_activation=None), 16, 3),
    "ShuffleNetV2": (lambda: applications.ShuffleNetV2(classifier_activation=None), 16, 5),
}


class Augmented(PyDataset):
    """Moved images, half of them turned round, in other brightness: what users write in NumPy."""

    def __init__(self, moved: ShiftedImages, workers: int) -> None:
        super().__init__(workers)
        self.moved = moved

    def __len__(self) -> int:
        return len(self.moved)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(index)
        x, y = self.moved[index]
        turned = rng.random(len(x)) < 0.5
        x[turned] = x[turned, :, ::-1]
        return x * rng.uniform(0.9, 1.1, (len(x), 1, 1, 1)).astype(np.float32), y


def batches(source: PyDataset) -> Iterator[Any]:
    """Its batches one after the other, as from a generator of the user's."""
    for index in range(len(source)):
        yield source[index]


def ways(model: fastcnn.Model, batch: int, steps: int) -> dict[str, Callable[[], object]]:
    """What makes `steps` steps, by name."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch * steps, *model.inputs[0].shape[1:]), np.float32)
    y = rng.integers(0, 10, batch * steps)
    moved = ShiftedImages(x, y, batch, shift=3, seed=0)
    augmented, alone = Augmented(moved, workers=1), Augmented(moved, workers=0)
    options: dict[str, Any] = {"batch_size": batch, "verbose": 0}

    def ready() -> None:
        for _ in range(steps):
            model.train_on_batch(x[:batch], y[:batch])

    return {
        "steps": ready,
        "in order": lambda: model.fit(x, y, shuffle=False, **options),
        "shuffled": lambda: model.fit(x, y, shuffle=True, **options),
        "moved": lambda: model.fit(moved, verbose=0),
        "generator": lambda: model.fit(batches(augmented), verbose=0),
        "dataset": lambda: model.fit(augmented, verbose=0),
        "in turn": lambda: model.fit(alone, verbose=0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    print(f"{processor()}; {plural(fastcnn.get_num_threads())} of {cores()} cores\n")
    print("| network | batch | way | images a second: most | median | of steps: most | median |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name in given.network:
        draw, batch, steps = CASES[name]
        model = draw()
        loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(fastcnn.optimizers.SGD(1e-4, momentum=0.9), loss)
        runs = ways(model, batch, steps)
        seconds: dict[str, list[float]] = {way: [] for way in runs}
        for run in runs.values():
            run()
        for _ in range(given.rounds):
            for way, run in runs.items():
                begin = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - begin)
        ready = seconds["steps"]
        for way, taken in seconds.items():
            least, median = min(taken), float(np.median(taken))
            rates = [f"{batch * steps / t:.0f}" for t in (least, median)]
            parts = [f"{min(ready) / least:.2f}", f"{float(np.median(ready)) / median:.2f}"]
            print("|", " | ".join([name, str(batch), way, *rates, *parts]), "|", flush=True)


if __name__ == "__main__":
    main()
