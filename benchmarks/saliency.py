# SPDX-License-Identifier: Apache-2.0
"""What a saliency map costs, in units of the least that it needs: forward and back to the image.

    python benchmarks/saliency.py [--network ResNet50] [--size 224] [--rounds 15]

Three things are timed in turn, in one process, after a first run that plans them:

forward    `predict_on_batch`: the scores, with everything that inference may use
floor      one plan of the same network, batch norms folded, that returns the scores and the
           gradient of one of them for the image: forward and backward-data, no gradient of a weight
           anywhere. It holds what `fastcnn.gradients` draws and the kernels that training uses, and
           nothing of `fastcnn.explain`.
saliency   `explain.saliency`: a map (1, H, W) from images and a target, as users call it

`floor` is measured twice: as `fastcnn.gradients` draws it ("plain"), and with the two passes that
explanations use, which turn convolutions backwards into convolutions forwards and fuse what
follows them ("tuned"). The first is what a library without explanations would do; of the second,
the ratio is what `saliency` adds to the arithmetic. The last row is the strictest: a way back that
is as quick as the way forward in inference, of which it has the products.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import fastcnn
from fastcnn import explain, passes
from fastcnn.autodiff import gradients
from fastcnn.explain.network import draw
from fastcnn.graph import Array, Spec, placeholder
from fastcnn.models.derived import DerivedWeights
from fastcnn.plan import Plan
from machine import cores, plural, processor

TARGET = 7


def floor(model: fastcnn.Model, x: Array, tuned: bool) -> Callable[[], object]:
    """A run of the plan (image, weights of scores) -> scores, gradient for the image."""
    network = draw(model, Spec(x.shape, "float32"))
    scores = network.scores
    wanted = placeholder(scores.spec.sizes, scores.dtype, "wanted")
    (back,) = gradients(scores, [network.image], wanted)
    outputs = [scores, back]
    if tuned:
        outputs = passes.fuse_convolutions(passes.turn_convolutions(outputs))
    derived = DerivedWeights("cpu")
    outputs = passes.hoist(outputs, derived.stand_in)
    derived.refresh()
    plan = Plan([network.image, wanted, network.rng], outputs)
    chosen = np.zeros(scores.spec.sizes, np.float32)
    chosen[:, TARGET] = 1
    return lambda: plan.run(x, chosen, np.zeros(4, np.uint32))


def interleaved(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, taken in turn so that a disturbance meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="ResNet50", choices=fastcnn.applications.BY_NAME)
    parser.add_argument("--size", type=int, default=224, help="of the image (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    fastcnn.set_random_seed(0)
    size = (arguments.size, arguments.size, 3)
    model = fastcnn.applications.get(arguments.network)(input_shape=size)
    x = np.random.default_rng(0).random((1, *size), np.float32)
    seconds = interleaved(
        {
            "forward": lambda: model.predict_on_batch(x),
            "floor, plain": floor(model, x, tuned=False),
            "floor, tuned": floor(model, x, tuned=True),
            "saliency": lambda: explain.saliency(model, x, TARGET),
        },
        arguments.rounds,
    )
    threads = fastcnn.get_num_threads()
    print(f"{processor()}; {plural(threads)} of {cores()} cores")
    print(f"{arguments.network}, one image of {arguments.size}, {arguments.rounds} rounds\n")
    print("| | least: ms | median: ms | saliency, of this |\n| --- | ---: | ---: | ---: |")
    map_seconds = min(seconds["saliency"])
    seconds["twice forward"] = [2 * taken for taken in seconds["forward"]]
    for name, taken in seconds.items():
        least, median = min(taken), float(np.median(taken))
        print(f"| {name} | {least * 1e3:.1f} | {median * 1e3:.1f} | {map_seconds / least:.2f} |")


if __name__ == "__main__":
    main()
