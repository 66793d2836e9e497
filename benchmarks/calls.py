# SPDX-License-Identifier: Apache-2.0
"""Where the time of a prediction goes: python benchmarks/calls.py ResNet50 --batch 8 --threads 2.

With --train, where that of a training step with momentum goes. Every call of the plan is run alone,
several times in turns, and its least time counts. The share of the FMA peak, measured in the same
run, is that of the direct convolution's multiply-adds, which a step counts three times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn
from fastcnn import applications
from fastcnn.backends import _cpu, isas
from fastcnn.data import Batch
from fastcnn.graph import spec_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--every", action="store_true", help="a line for every call")
    parser.add_argument("--train", action="store_true", help="a training step")
    given = parser.parse_args()
    fastcnn.set_num_threads(given.threads)
    model = applications.get(given.network)(classifier_activation=None)
    shape = (given.batch, *model.inputs[0].shape[1:])
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    plan, arrays = (training if given.train else prediction)(model, images)
    plan.run(*arrays)
    seconds = np.min([plan.time_calls(*arrays) for _ in range(given.turns)], axis=0)
    whole = least(lambda: plan.run(*arrays), given.turns)
    top = peak(given.threads)
    macs = model.count_macs() * given.batch * (3 if given.train else 1)
    print(
        f"{given.network}, batch {given.batch}, {given.threads} threads, {isas.default_isa()}: "
        f"{whole * 1e3:.2f} ms, {200 * macs / whole / top:.0f} % of the FMA peak of "
        f"{top / 1e9:.0f} GFLOP/s; {seconds.sum() * 1e3:.2f} ms in calls alone"
    )
    print_kernels(plan, seconds)
    if given.every:
        print_calls(plan, seconds, top)


def prediction(model: Any, images: Any) -> tuple[Any, list[Any]]:
    """A plan and its inputs."""
    inference = model.inference_plan([spec_of(images)])
    return inference.plan, inference.feeds([images])


def training(model: Any, images: Any) -> tuple[Any, list[Any]]:
    """The plan of a step and its inputs: labels, learning rate and random state are zeros."""
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(fastcnn.optimizers.SGD(momentum=0.9), loss)
    batch = Batch([images], [np.zeros(len(images), np.int64)], [None])
    plan = model.trainer._plan(batch, [spec_of(images)], training=True).plan
    rest = [np.zeros(t.spec.sizes, t.dtype) for t in plan.inputs[1:]]
    return plan, [images, *rest]


def least(run: Callable[[], Any], turns: int) -> float:
    found = []
    for _ in range(turns):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)


def peak(threads: int) -> float:
    """Operations a second of independent multiply-adds on one thread, times the threads."""
    isa = isas.default_isa()
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        operations = _cpu.multiply_adds(isa, 400_000)
        best = max(best, operations / (time.perf_counter() - begin))
    return best * threads


def print_kernels(plan: Any, seconds: Any) -> None:
    totals: dict[str, list[float]] = {}
    for kernel, each in zip(plan.kernels, seconds, strict=True):
        total = totals.setdefault(kernel, [0, 0.0])
        total[0] += 1
        total[1] += each
    for kernel, (count, total) in sorted(totals.items(), key=lambda item: -item[1][1]):
        share = 100 * total / seconds.sum()
        print(f"  {kernel:32} {count:4.0f} calls {total * 1e3:9.3f} ms {share:5.1f} %")


def print_calls(plan: Any, seconds: Any, top: float) -> None:
    for node, call, each in zip(plan.nodes, plan.calls, seconds, strict=True):
        macs = node.op.macs(*(t.spec for t in node.inputs))
        moved = sum(slot.nbytes for slot in (*call.inputs, *call.outputs))
        inputs = " ".join("x".join(map(str, slot.shape)) for slot in call.inputs[:2])
        output = "x".join(map(str, call.outputs[0].shape)) if call.outputs else ""
        print(
            f"  {call.op[:22]:22} {inputs:36} -> {output:18} {each * 1e6:9.1f} us "
            f"{200 * macs / each / top:4.0f} % {moved / each / 1e9:6.1f} GB/s  {call.label}"
        )


if __name__ == "__main__":
    main()
