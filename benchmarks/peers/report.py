# SPDX-License-Identifier: Apache-2.0
"""A run as Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import platform
from collections.abc import Iterable, Sequence

import numpy as np

import fastcnn
from machine import cores, plural, processor

from .cases import TRAIN
from .engines import ENGINES, OURS
from .footprint import STARTS
from .results import Result, Run, geometric_mean
from .rounds import WHOLE, Settings
from .worker import TOLERANCE

NOTHING = "—"
NUMBER = "---:"


def facts(settings: Settings) -> dict[str, str]:
    """What has to be said about machine and settings before anything is measured."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cores this process may use": str(cores()),
        "load average before": ", ".join(f"{x:.2f}" for x in os.getloadavg()),
        "system": platform.platform(terse=True),
        "Python, NumPy": f"{platform.python_version()}, {np.__version__}",
        "threads of every engine": str(settings.threads),
        **{ENGINES[name].title: engine_of(name) for name in settings.engines},
    }


def turns(settings: Settings) -> dict[str, str]:
    """How the times are taken."""
    return {
        "turns": f"{settings.rounds} bursts of {settings.seconds} s of each engine, in an order "
        f"drawn anew in every round, {settings.pause} s apart; a burst counts if multiply-adds on "
        f"all threads before and after it reach {WHOLE:.0%} of the most of the case",
        "FMA peak of": f"{settings.isa}, {plural(settings.threads)}",
    }


def engine_of(name: str) -> str:
    """Package, version and settings of an engine."""
    engine = ENGINES[name]
    try:
        version = importlib.metadata.version(engine.package)
    except importlib.metadata.PackageNotFoundError:  # as a source tree that was never installed
        version = fastcnn.__version__ if engine.package == OURS else "(not installed)"
    return f"{engine.package} {version}: {engine.settings}"


def markdown(run: Run) -> str:
    """Every table that the run has something for, and what was left out of them."""
    parts = [table(["what", "found"], run.facts.items(), words=2)]
    if run.results:
        parts += [times(run), means(run)]
    if run.memory:
        parts.append(memory(run))
    if run.cold:
        parts.append(cold(run))
    left_out = missing(run)
    if left_out:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in left_out))
    return "\n\n".join(parts) + "\n"


def times(run: Run) -> str:
    """The least milliseconds of every engine on every case, and what follows from them."""
    known = {name for result in run.results for name in (*result.timings, *result.failures)}
    engines = [name for name in ENGINES if name in known]
    head = ["network", "batch", *(f"{ENGINES[name].title}: ms" for name in engines)]
    head += ["best peer", "ratio", "of medians"]
    head += ["fastcnn: % of FMA peak", "best peer: %", "FMA peak before, after: GFLOP/s"]
    rows = []
    for result in run.results:
        peer = result.best_peer()
        rows.append(
            [
                result.case.network,
                result.case.batch,
                *(milliseconds(result, name) for name in engines),
                NOTHING if peer is None else ENGINES[peer].title,
                *(number(r, 2) for r in (result.ratio(), result.median_ratio())),
                *(number(result.share_of_peak(name), 0, 100) for name in (OURS, peer)),
                ", ".join(f"{peak / 1e9:.0f}" for peak in result.peaks),
            ]
        )
    note = (
        "Times are the least of all runs. Ratio: the best peer's time ÷ fastcnn's; above 1 fastcnn "
        "is faster. Beside it the same of medians. % of FMA peak counts the multiply-adds of "
        "direct convolutions, so that Winograd may exceed 100, against the higher of the peaks "
        "measured before and after. All logits, or losses of a training step, were compared with "
        "PyTorch's before anything was timed, and differ by at most "
        f"{worst_error(run.results):.0e} of the largest "
        f"({TOLERANCE:.0e} is allowed). {counted(run.results)}"
    )
    return table(head, rows) + "\n\n" + note


def counted(results: Iterable[Result]) -> str:
    """How many bursts count, and where none does."""
    timings = [(result.case, name, t) for result in results for name, t in result.timings.items()]
    whole = sum(t.bursts for *_, t in timings)
    disturbed = sum(t.disturbed for *_, t in timings)
    never = [f"{case} by {ENGINES[name].title}" for case, name, t in timings if not t.bursts]
    rest = f"; all count where none was undisturbed: {', '.join(never)}" if never else ""
    return f"Of {whole + disturbed} bursts, {disturbed} were disturbed and are left out{rest}."


def means(run: Run) -> str:
    """Geometric means of the ratios, one row per batch; of a training run, of all of it."""
    rows = []
    groups: list[tuple[str, int | None]] = [g for g in run.batches() if g[0] != TRAIN]
    if run.at(TRAIN):
        groups.append((TRAIN, None))
    for task, batch in groups:
        results = run.at(task, batch)
        ratios = [r for r in (result.ratio() for result in results) if r is not None]
        medians = [r for r in (result.median_ratio() for result in results) if r is not None]
        count = f"{len(ratios)} of {len(results)}"
        least = number(min(ratios, default=None), 2)
        means_ = [number(geometric_mean(values), 2) for values in (ratios, medians)]
        name = task if batch is None else f"{task}, batch {batch}"
        rows.append([name, count, *means_, least])
    head = ["", "networks", "geometric mean of ratios", "of medians", "least ratio"]
    return table(head, rows)


def memory(run: Run) -> str:
    """Peak memory of every engine, the leanest first."""
    ours = run.memory.get(OURS)
    rows = [
        [ENGINES[name].title, f"{peak / 1e6:.0f}", number(peak / ours if ours else None, 2)]
        for name, peak in sorted(run.memory.items(), key=lambda item: item[1])
    ]
    case = run.facts.get("memory of", "")
    return table([f"peak memory, {case}", "MB", "÷ fastcnn's"], rows)


def cold(run: Run) -> str:
    """Start to first result of every engine, the quickest first."""
    ours = run.cold.get(OURS)
    rows = [
        [
            STARTS[name].title,
            f"{1e3 * timing.least:.0f}",
            f"{1e3 * timing.median:.0f}",
            timing.runs,
            number(timing.least / ours.least if ours else None, 2),
        ]
        for name, timing in sorted(run.cold.items(), key=lambda item: item[1].least)
    ]
    case = run.facts.get("cold start of", "")
    return table([f"cold start, {case}", "least: ms", "median: ms", "starts", "÷ fastcnn's"], rows)


def missing(run: Run) -> list[str]:
    """Which engines have no number where, and why; one line per engine and reason."""
    where: dict[tuple[str, str], list[str]] = {}
    for result in run.results:
        for name, reason in result.failures.items():
            where.setdefault((name, reason), []).append(str(result.case))
    for place, reason in run.failures.items():
        name, _, mode = place.partition(" ")
        where.setdefault((name, reason), []).append(mode)
    return [
        f"{title_of(name)}: {reason} ({'; '.join(places)})"
        for (name, reason), places in where.items()
    ]


def title_of(name: str) -> str:
    """What tables call an engine, or one of its starts."""
    return (ENGINES.get(name) or STARTS[name]).title


def worst_error(results: Iterable[Result]) -> float:
    return max((t.error for result in results for t in result.timings.values()), default=0.0)


def milliseconds(result: Result, name: str) -> str:
    timing = result.timings.get(name)
    if timing is None:
        return NOTHING
    value = 1e3 * timing.least
    return number(value, max(0, 3 - math.floor(math.log10(value))))


def number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return NOTHING if value is None else f"{factor * value:.{digits}f}"


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """A Markdown table whose first `words` columns hold words, and the others numbers."""
    rule = ["---"] * words + [NUMBER] * (len(head) - words)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, rule, *rows))
