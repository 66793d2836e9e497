# SPDX-License-Identifier: Apache-2.0
"""Time fastcnn beside other engines and print a table: see --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastcnn.backends import isas, threads

from . import chart, footprint, report
from .cases import BATCHES, NETWORKS, PREDICT, PREDICTED, TASKS, TRAIN, TRAIN_BATCHES, Case
from .engines import ENGINES
from .process import EngineError
from .results import Run
from .rounds import Settings, measure, say


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peers", description=__doc__)
    add = parser.add_argument
    add("--networks", nargs="+", choices=NETWORKS, metavar="NAME",
        help=f"of {', '.join(NETWORKS)}; default: those of the task's table")  # fmt: skip
    add("--task", choices=TASKS, default=PREDICT, help="default: %(default)s")
    add("--batches", nargs="+", type=positive, metavar="N",
        help=f"default: {BATCHES}; in training a batch of its own for each network")  # fmt: skip
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="NAME",
        help=f"of {', '.join(ENGINES)}")  # fmt: skip
    add("--threads", type=positive, default=threads.get_num_threads(), metavar="N",
        help="of every engine; what this process may use by default")  # fmt: skip
    add("--rounds", type=positive, default=10, metavar="N", help="bursts of every engine")
    add("--seconds", type=float, default=0.5, metavar="S", help="of a burst, at least")
    add("--pause", type=float, default=0.2, metavar="S", help="between two bursts")
    add(
        "--work", type=Path, metavar="DIR", help="for files of some GB, which stay for the next run"
    )
    add("--memory", action="store_true",
        help=f"measure peak memory of {footprint.MEMORY_CASES[PREDICT]}, or of "
        f"{footprint.MEMORY_CASES[TRAIN]}")  # fmt: skip
    add("--cold", action="store_true", help=f"measure cold start of {footprint.COLD_CASE}")
    add("--json", type=Path, metavar="FILE", help="write the numbers, after every case")
    add("--chart", type=Path, metavar="FILE", help="draw the ratios")
    add("--show", type=Path, metavar="FILE",
        help="measure nothing: print what --json wrote, of --engines")  # fmt: skip
    return parser


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number above 0")
    return int(text)


def measured(given: argparse.Namespace) -> Run:
    """Memory and cold start if they are asked for, else every network at every batch."""
    engines = [name for name in ENGINES if name in given.engines and knows(name, given.task)]
    settings = Settings(
        engines, given.threads, given.rounds, given.seconds, given.pause, isas.default_isa(),
        given.work,
    )  # fmt: skip
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    run = Run(report.facts(settings))
    if given.memory:
        footprint.measure_memory(run, settings, given.task)
    if given.cold:
        footprint.measure_cold(run, settings)
    if not (given.memory or given.cold):
        run.facts |= report.turns(settings)
        for case in cases(given):
            run.results.append(measure(case, settings))
            save(run, given)
            say(f"{case}: ratio {report.number(run.results[-1].ratio(), 2)}")
    save(run, given)
    return run


def knows(engine: str, task: str) -> bool:
    return task in ENGINES[engine].tasks


def cases(given: argparse.Namespace) -> list[Case]:
    """What is to be measured, in this order."""
    if given.task == TRAIN and not given.batches:
        names = [n for n in given.networks or NETWORKS if n in TRAIN_BATCHES]
        return [Case(n, TRAIN_BATCHES[n], TRAIN, NETWORKS[n].image) for n in names]
    return [
        Case(name, batch, given.task, NETWORKS[name].image)
        for batch in given.batches or BATCHES
        for name in given.networks or PREDICTED
    ]


def save(run: Run, given: argparse.Namespace) -> None:
    if given.json:
        run.save(given.json)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options().parse_args(arguments)
    try:
        run = Run.load(given.show).among(given.engines) if given.show else measured(given)
    except EngineError as error:
        print(f"peers: PyTorch cannot make the network: {error}", file=sys.stderr)
        return 1
    print(report.markdown(run), end="")
    if given.chart:
        chart.draw(run, given.chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
