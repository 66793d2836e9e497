# SPDX-License-Identifier: Apache-2.0
"""Measure the built-in networks call by call, and fit what predictions know of kernels.

    python benchmarks/fit_roofline.py measure --out FILE [NETWORK ...]   some minutes, quiet
    python benchmarks/fit_roofline.py fit FILE ...                       writes roofline.json
    python benchmarks/fit_roofline.py check FILE ...                     table: predicted, measured

A measurement keeps the machine's probe and, for every call, its kernel, its features and its
seconds, so that constants can be fitted to several machines, and again when the formula changes.
Times are the least of several runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import applications
from fastcnn.analysis import roofline

NETWORKS = [
    "LeNet5",
    "ResNet20",
    "ResNet18",
    "ResNet50",
    "ResNeXt50",
    "SEResNet50",
    "MobileNet",
    "MobileNetV2",
    "ShuffleNet",
    "ShuffleNetV2",
    "DenseNet121",
    "GoogLeNet",
    "InceptionV3",
    "Xception",
    "AlexNet",
    "VGG11",
    "WideResNet",
    "InceptionResNetV1",
]
ROUNDS, RUNS = 4, 2
CONSTANTS = Path(roofline.__file__).with_name("roofline.json")
# Kernels seen in fewer calls are fitted together, as "other".
FEW_CALLS = 12


class Case:
    """A network that is ready to run, and the least seconds it was seen to take."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = applications.get(name)()
        shape = self.model.inputs[0].shape[1:]
        self.x = np.random.default_rng(0).random((1, *shape), np.float32)
        self.model.predict_on_batch(self.x)
        self.plan = self.model.plan(self.x.shape)
        self.seconds = np.inf
        self.calls = np.full(len(self.plan.calls), np.inf)

    def run(self) -> None:
        """Some runs as a whole, and some call by call."""
        program = self.plan._program
        empty = min(_seconds(lambda: program.run(0, 0)) for _ in range(20))
        for _ in range(RUNS):
            whole = _seconds(lambda: self.model.predict_on_batch(self.x))
            self.seconds = min(self.seconds, whole)
            turn = [_seconds(lambda i=i: program.run(i, i + 1)) for i in range(len(self.calls))]
            self.calls = np.minimum(self.calls, np.array(turn) - empty)

    def record(self, machine: roofline.Machine) -> dict[str, Any]:
        """What is kept."""
        terms = roofline.features(self.plan, machine)
        calls = zip(roofline.kinds(self.plan), terms, self.calls.clip(1e-7).tolist(), strict=True)
        return {
            "network": self.name,
            "machine": asdict(machine),
            "seconds": self.seconds,
            "calls": [list(call) for call in calls],
        }


def measure(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """All networks in turns, so that a disturbance of seconds spoils no network's best."""
    machines = []
    for _ in range(ROUNDS):
        machines.append(roofline.probe(refresh=True))
        for case in cases:
            case.run()
    best = max(machines, key=lambda m: m.products)
    bandwidths = np.max([m.bandwidths for m in machines], axis=0).tolist()
    machine = replace(best, bandwidths=tuple(bandwidths))
    return [case.record(machine) for case in cases]


def _seconds(action: Any) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def fit(measured: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Factors of each kernel's features, none negative, and the seconds of a run beside.

    The latter is what the quickest network takes beside its calls. Calls are at their best when
    they run alone over and over, so they are stretched to add up to their network's time.
    """
    quickest = min(n["seconds"] for n in measured)
    small = [n for n in measured if n["seconds"] < 2 * quickest]
    beside = float(np.mean([n["seconds"] - sum(s for *_, s in n["calls"]) for n in small]))
    by_kind: dict[str, list[tuple[Sequence[float], float]]] = {}
    for network in measured:
        alone = sum(seconds for *_, seconds in network["calls"])
        stretch = max((network["seconds"] - beside) / alone, 1.0)
        for kind, terms, seconds in network["calls"]:
            by_kind.setdefault(kind, []).append((terms, seconds * stretch))
    rest = [row for rows in by_kind.values() if len(rows) < FEW_CALLS for row in rows]
    found = {k: _factors(rows) for k, rows in sorted(by_kind.items()) if len(rows) >= FEW_CALLS}
    found["other"] = _factors(rest or list(itertools.chain(*by_kind.values())))
    return {**found, "run": [float(f"{beside:.4g}")]}


def _factors(rows: Iterable[tuple[Sequence[float], float]]) -> list[float]:
    """Least squares of (predicted - seconds)^2 / seconds: long calls matter more, none alone."""
    terms, seconds = (np.array(column) for column in zip(*rows, strict=True))
    weight = 1 / np.sqrt(seconds)
    a, b = terms * weight[:, None], seconds * weight
    best, least = np.zeros(3), np.inf
    for size in (1, 2, 3):  # with so few terms, every choice of them can be tried
        for chosen in itertools.combinations(range(3), size):
            solution = np.linalg.lstsq(a[:, chosen], b, rcond=None)[0]
            error = float(((a[:, chosen] @ solution - b) ** 2).sum())
            if (solution >= 0).all() and error < least:
                best, least = np.zeros(3), error
                best[list(chosen)] = solution
    return [float(f"{value:.4g}") for value in best]


def check(measured: Sequence[dict[str, Any]], constants: dict[str, list[float]]) -> str:
    """Predicted and measured milliseconds of each network as a Markdown table."""
    lines = ["| network | predicted: ms | measured: ms | off by |", "| --- | ---: | ---: | ---: |"]
    worst = 0.0
    for network in measured:
        predicted = constants["run"][0] + sum(
            float(np.dot(terms, constants.get(kind) or constants["other"]))
            for kind, terms, _ in network["calls"]
        )
        off = predicted / network["seconds"] - 1
        worst = max(worst, abs(off))
        lines.append(
            f"| {network['network']} | {predicted * 1e3:.2f} | {network['seconds'] * 1e3:.2f} | "
            f"{off:+.0%} |"
        )
    return "\n".join([*lines, "", f"Off by at most {worst:.0%}."])


def _read(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [network for file in files for network in json.loads(file.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("measure", help="networks, call by call")
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("networks", nargs="*", default=NETWORKS)
    for name in ("fit", "check"):
        verbs.add_parser(name).add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "measure":
        found = measure([Case(name) for name in arguments.networks])
        arguments.out.write_text(json.dumps(found))
        return
    measured = _read(arguments.files)
    if arguments.verb == "fit":
        lines = [f'    "{k}": {json.dumps(v)}' for k, v in fit(measured).items()]
        CONSTANTS.write_text('{\n  "kernels": {\n' + ",\n".join(lines) + "\n  }\n}\n")
    roofline.stored_constants.cache_clear()
    print(check(measured, roofline.stored_constants()))


if __name__ == "__main__":
    main()
