# SPDX-License-Identifier: Apache-2.0
"""Bursts of all engines in turns: whatever disturbs the machine disturbs all of them.

Only one engine works at a time. Between two bursts is a pause in which the threads of the last one
stop spinning and fall asleep; ONNX Runtime's take 0.05 s, the longest of all.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from benchmarks import kernels

from .cases import Case, Files
from .engines import ENGINES
from .process import EngineError, Process, on
from .results import Result, Timing

Ask = Callable[..., dict[str, Any]]
PEAK_SECONDS, PEAK_ROUNDS = 0.05, 5


@final
@dataclass(frozen=True)
class Settings:
    """How a case is measured.

    Attributes:
        engines: names in ENGINES.
        threads: of every engine.
        rounds: bursts of every engine.
        seconds: of a burst, at least.
        pause: seconds between two bursts.
        isa: instruction set of the multiply-adds that make the peak.
        work: folder for files of some GB; the system's for temporary ones when None.
    """

    engines: Sequence[str]
    threads: int
    rounds: int
    seconds: float
    pause: float
    isa: str
    work: Path | None = None


def measure(case: Case, settings: Settings) -> Result:
    """All engines on one case.

    Raises:
        EngineError: PyTorch, which all start from, cannot make the network.
    """
    with TemporaryDirectory(dir=settings.work, prefix="peers-") as folder, ExitStack() as stack:
        files = Files(Path(folder))
        macs, failures = prepare(case, files, settings.engines, settings.threads)
        asks: dict[str, Ask] = {}
        errors: dict[str, float] = {}
        for name in settings.engines:
            if name in failures:
                continue
            say(f"{case}: {ENGINES[name].title} loads")
            process = stack.enter_context(Process(settings.threads))
            request = {"engine": name, "threads": settings.threads, **on(case, files)}
            try:
                reply = process.ask("load", **request)
            except EngineError as error:
                failures[name] = str(error)
                process.close()
                continue
            asks[name], errors[name] = process.ask, reply["error"]
        say(f"{case}: {len(asks)} engines in turns")
        time.sleep(settings.pause)
        before = peak(settings)
        seconds = interleave(asks, settings, failures)
        time.sleep(settings.pause)
        peaks = (before, peak(settings))
    timings = {name: Timing.of(found, errors[name]) for name, found in seconds.items()}
    return Result(case, timings, failures, macs, peaks)


def prepare(
    case: Case, files: Files, engines: Sequence[str], threads: int
) -> tuple[int | None, dict[str, str]]:
    """Make the case and every engine's file of it: multiply-accumulates, and who failed and why.

    Each engine converts in a process of its own, which ends before anything is timed.
    """
    say(f"{case}: PyTorch makes the network")
    with Process(threads) as process:
        process.ask("make", **on(case, files))
    macs, failures = None, {}
    for name in engines:
        if ENGINES[name].convert is None:
            continue
        say(f"{case}: {ENGINES[name].title} converts it")
        try:
            with Process(threads) as process:
                facts = process.ask("convert", engine=name, **on(case, files))
        except EngineError as error:
            failures[name] = str(error)
        else:
            macs = facts.get("macs", macs)
    return macs, failures


def interleave(
    asks: Mapping[str, Ask], settings: Settings, failures: dict[str, str]
) -> dict[str, list[float]]:
    """Seconds of every run of every engine, in rounds of one burst each, in an order drawn anew.

    An engine that fails on the way is noted in `failures`, and none of its runs count.
    """
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(settings.rounds):
        for name in order.sample(list(seconds), len(seconds)):
            time.sleep(settings.pause)
            try:
                seconds[name] += asks[name]("burst", seconds=settings.seconds)["seconds"]
            except EngineError as error:
                failures[name] = str(error)
                del seconds[name]
    return seconds


def peak(settings: Settings) -> float:
    """Floating-point operations a second that the machine's multiply-adds reach, now."""
    isa, threads = settings.isa, settings.threads
    return max(kernels.peak_flops(isa, threads, PEAK_SECONDS) for _ in range(PEAK_ROUNDS))


def say(text: str) -> None:
    """Tell who waits what happens."""
    print(text, file=sys.stderr, flush=True)
