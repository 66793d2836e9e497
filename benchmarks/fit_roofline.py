# SPDX-License-Identifier: Apache-2.0
"""Measure the built-in networks call by call, and fit what predictions know of kernels.

    python benchmarks/fit_roofline.py measure --out FILE [NETWORK ...]   quiet; all: some minutes
    python benchmarks/fit_roofline.py fit FILE ...                       writes roofline.json
    python benchmarks/fit_roofline.py check FILE ...                     table: predicted, measured

A measurement is of one number of threads (FASTCNN_NUM_THREADS). It keeps the machine's probe and,
for every call, what it has to do and its seconds, so that constants can be fitted to several
machines, and again when the formula changes. Times are the least of several runs. FILE is added to:
networks may come one by one, and measuring them again later takes the lesser times, so that what
disturbed one run is forgotten. Take another FILE when kernels have changed.

The check fits, for each fifth of the networks, constants to the other networks only: the column
"unseen" is how far off predictions are for networks that the fit does not know.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import applications
from fastcnn.analysis import probing, roofline
from fastcnn.analysis.roofline import Machine, Work

CONSTANTS = Path(roofline.__file__).with_name("roofline.json")
# Kernels seen in fewer calls are fitted together, as "other".
FEW_CALLS = 12
# How much more a network's time matters than the times of its calls, which add up to it.
WHOLE = 4.0
FOLDS = 5
TARGET = 0.25

Constants = dict[str, list[float]]
Measured = dict[str, Any]


class Case:
    """A network that is ready to run, and the least seconds it was seen to take.

    Attributes:
        seconds: of `predict_on_batch` for one image.
        program: of its calls, run in one go.
        calls: of each call, run alone, one after the other.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = applications.get(name)()
        shape = self.model.inputs[0].shape[1:]
        self.x = np.random.default_rng(0).random((1, *shape), np.float32)
        self.model.predict_on_batch(self.x)
        self.plan = self.model.plan(self.x.shape)
        self.seconds = self.program = np.inf
        self.calls = np.full(len(self.plan.calls), np.inf)

    def run(self) -> None:
        """Once as users run it, once all calls, once call by call."""
        program = self.plan._program
        empty = min(_seconds(lambda: program.run(0, 0)) for _ in range(20))
        self.seconds = min(self.seconds, _seconds(lambda: self.model.predict_on_batch(self.x)))
        self.program = min(self.program, _seconds(program.run) - empty)
        turn = [_seconds(lambda i=i: program.run(i, i + 1)) for i in range(len(self.calls))]
        self.calls = np.minimum(self.calls, np.array(turn) - empty)

    def record(self) -> Measured:
        """What is kept."""
        return {
            "seconds": self.seconds,
            "program": max(self.program, 1e-7),
            "works": [asdict(work) for work in roofline.works(self.plan)],
            "calls": self.calls.clip(1e-7).tolist(),
        }


def measure(names: Iterable[str], file: Path, seconds: float) -> None:
    """Run each network for so many seconds, three times at least, and add it to the file.

    Networks are dropped one after the other: all of them together would take 10 GB. The probe is
    taken again for every network.
    """
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        case = Case(name)
        begin, runs = time.perf_counter(), 0
        while runs < 3 or time.perf_counter() - begin < seconds:
            case.run()
            runs += 1
        kept = added(kept, probing.probe(refresh=True), name, case.record())
        file.write_text(json.dumps(kept))
        print(f"{name}: {kept['networks'][name]['seconds'] * 1e3:.3f} ms", flush=True)


def added(kept: dict[str, Any], machine: Machine, name: str, record: Measured) -> dict[str, Any]:
    """A file's content with one more record; the lesser times of a network that is there."""
    networks = dict(kept.get("networks", {}))
    if kept:
        before = probing.machine_of(kept["machine"])
        if (before.isa, before.threads) != (machine.isa, machine.threads):
            raise SystemExit(
                f"the file is of {before.isa} with {before.threads} threads, this run of "
                f"{machine.isa} with {machine.threads}; give another --out"
            )
        machine = probing.best_of([before, machine])
    old = networks.get(name)
    if old and json.dumps(old["works"]) == json.dumps(record["works"]):
        record = {
            "seconds": min(old["seconds"], record["seconds"]),
            "program": min(old["program"], record["program"]),
            "works": old["works"],
            "calls": np.minimum(old["calls"], record["calls"]).tolist(),
        }
    networks[name] = record
    return {"machine": asdict(machine), "networks": networks}


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def read(content: dict[str, Any]) -> list[Measured]:
    """The networks of a file, each with its machine and with the features of its calls."""
    machine = probing.machine_of(content["machine"])
    found = []
    for name, record in content["networks"].items():
        works = [
            Work(w["kind"], w["threads"], w["products"], tuple(map(tuple, w["moved"])))
            for w in record["works"]
        ]
        features = np.array([roofline.features(work, machine) for work in works])
        kinds = [work.kind for work in works]
        found.append(
            {**record, "name": name, "machine": machine, "kinds": kinds, "features": features}
        )
    return found


def fit(measured: Sequence[Measured]) -> Constants:
    """Factors of each kernel's features, none negative, and the one of a run.

    They are fitted to the times of whole networks, of their calls, and of what is beside the calls,
    all at once. Each network counts alike, large or small, and so does each second of it. Calls run
    alone take longer or shorter than among others, so those of a network are stretched to add up
    to what they take in one go.
    """
    counts = Counter(kind for network in measured for kind in network["kinds"])
    known = sorted(kind for kind, count in counts.items() if count >= FEW_CALLS)
    found = _fitted(measured, known)
    # Nothing is free: what seems so are short calls, which the noise of others hides.
    while hidden := [kind for kind in known if not any(found[kind])]:
        known = [kind for kind in known if kind not in hidden]
        found = _fitted(measured, known)
    if not any(found["other"]):  # every kernel is known: a new one is like the mean of them
        found["other"] = np.mean([found[kind] for kind in known], axis=0).round(3).tolist()
    return found


def _fitted(measured: Sequence[Measured], known: Sequence[str]) -> Constants:
    """Factors of the kernels `known`, of all others together, and of a run."""
    place = {kind: 3 * i for i, kind in enumerate([*known, "other"])}
    equations = [_equations(network, place) for network in measured]
    terms, seconds = (np.concatenate(parts) for parts in zip(*equations, strict=True))
    factors = [float(f"{value:.4g}") for value in not_negative(terms, seconds)]
    found = {kind: factors[at : at + 3] for kind, at in place.items()}
    return {**found, "run": factors[-1:]}


def _equations(network: Measured, place: dict[str, int]) -> tuple[Any, Any]:
    """What the factors times the rows should be, each divided by how far off it may be."""
    calls = np.zeros((len(network["kinds"]), 3 * len(place) + 1))
    for row, kind, terms in zip(calls, network["kinds"], network["features"], strict=True):
        at = place.get(kind, place["other"])
        row[at : at + 3] = terms
    whole, beside = calls.sum(axis=0), np.zeros(calls.shape[1])
    whole[-1] = beside[-1] = network["machine"].run
    taken = np.array(network["calls"]) * (network["program"] / sum(network["calls"]))
    scale = 1 / np.sqrt(taken * network["program"])
    total = network["seconds"]
    rows = [calls * scale[:, None], [WHOLE / total * whole, beside / total]]
    return np.concatenate(rows), np.array([*(taken * scale), WHOLE, 1 - network["program"] / total])


def not_negative(a: Any, b: Any) -> Any:
    """Least squares |a x - b| over x >= 0, one number after the other until nothing moves."""
    gram, aim = a.T @ a, a.T @ b
    x = np.zeros(a.shape[1])
    used = [int(j) for j in np.flatnonzero(np.diag(gram))]
    for _ in range(20_000):
        moved = 0.0
        for j in used:
            step = max(-x[j], (aim[j] - gram[j] @ x) / gram[j, j])
            x[j] += step
            moved = max(moved, abs(step))
        if moved < 1e-6:
            break
    return x


def predicted(network: Measured, constants: Constants) -> float:
    """Seconds, as `predict_time` adds them up."""
    factors = [constants.get(kind) or constants["other"] for kind in network["kinds"]]
    calls = float((network["features"] * np.array(factors)).sum())
    return calls + constants["run"][0] * network["machine"].run


def unseen(measured: Sequence[Measured]) -> list[float]:
    """Seconds of each network, predicted by a fit to networks of other names."""
    names = sorted({network["name"] for network in measured})
    fold = {name: i % FOLDS for i, name in enumerate(names)}
    fits = [fit([n for n in measured if fold[n["name"]] != i]) for i in range(FOLDS)]
    return [predicted(network, fits[fold[network["name"]]]) for network in measured]


def check(measured: Sequence[Measured], constants: Constants) -> str:
    """Predicted and measured milliseconds of each network as a Markdown table."""
    lines = [
        "| network | threads | measured: ms | predicted: ms | off by | unseen |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    offs = []
    held_out = unseen(measured)
    for network, blind in sorted(
        zip(measured, held_out, strict=True), key=lambda pair: pair[0]["seconds"]
    ):
        seconds, found = network["seconds"], predicted(network, constants)
        off = (found / seconds - 1, blind / seconds - 1)
        offs.append(off)
        lines.append(
            f"| {network['name']} | {network['machine'].threads} | {seconds * 1e3:.3f} | "
            f"{found * 1e3:.3f} | {off[0]:+.0%} | {off[1]:+.0%} |"
        )
    worst, near = np.abs(offs).max(axis=0), (np.abs(offs) <= TARGET).sum(axis=0)
    lines += [
        "",
        f"Off by at most {worst[0]:.0%}, {worst[1]:.0%} unseen; within {TARGET:.0%}: {near[0]} of "
        f"{len(offs)}, {near[1]} unseen.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("measure", help="networks, call by call")
    verb.add_argument("--out", type=Path, required=True, help="added to if it is there")
    verb.add_argument("--seconds", type=float, default=2.0, help="of each network (%(default)s)")
    verb.add_argument("networks", nargs="*", help="all by default")
    for name in ("fit", "check"):
        verbs.add_parser(name).add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "measure":
        measure(arguments.networks or applications.BY_NAME, arguments.out, arguments.seconds)
        return
    measured = [n for file in arguments.files for n in read(json.loads(file.read_text()))]
    if arguments.verb == "fit":
        lines = [f'    "{k}": {json.dumps(v)}' for k, v in fit(measured).items()]
        CONSTANTS.write_text('{\n  "kernels": {\n' + ",\n".join(lines) + "\n  }\n}\n")
    roofline.stored_constants.cache_clear()
    print(check(measured, roofline.stored_constants()))


if __name__ == "__main__":
    main()
