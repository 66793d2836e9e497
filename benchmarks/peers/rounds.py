# SPDX-License-Identifier: Apache-2.0
"""Bursts of all engines in turns: whatever disturbs the machine disturbs all of them.

Only one engine works at a time. Between two bursts is a pause in which the threads of the last one
stop spinning and fall asleep; ONNX Runtime's take 0.05 s, the longest of all. Then multiply-adds
on all threads tell what the machine gives: a virtual one may have two of its processors on one core
for seconds at a time, which halves them. A burst counts if they are whole before and after it.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from benchmarks import kernels
from fastcnn.utils.atomic import write_atomically

from .cases import Case, Files
from .engines import ENGINES
from .process import EngineError, Process, on
from .results import Result, Timing

Ask = Callable[..., dict[str, Any]]
PEAK_SECONDS, PEAK_ROUNDS = 0.05, 5
PROBE_SECONDS = 0.02
WHOLE = 0.85  # of the most multiply-adds so far; less was disturbed
PATIENCE = 5  # times as many rounds as asked for, at most, until enough bursts count


@final
@dataclass(frozen=True)
class Settings:
    """How a case is measured.

    Attributes:
        engines: names in ENGINES.
        threads: of every engine.
        rounds: bursts of every engine that count, unless the machine is disturbed for too long.
        seconds: of a burst, at least.
        pause: seconds between two bursts.
        isa: instruction set of the multiply-adds that make the peak.
        work: folder for files of some GB, which stay there for the next run; a temporary one when
            None.
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
    with ExitStack() as stack:
        files = Files(folder_of(case, settings.work, stack))
        macs, failures = prepare(case, files, settings.engines, settings.threads)
        asks: dict[str, Ask] = {}
        errors: dict[str, float] = {}
        for name in settings.engines:
            if name in failures:
                continue
            say(f"{case}: {ENGINES[name].title} loads")
            process = stack.enter_context(Process(settings.threads, ENGINES[name].environment))
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
        bursts, most = interleave(asks, settings, failures, before)
        time.sleep(settings.pause)
        peaks = (before, peak(settings))
    most = max(most, *peaks)
    timings = {name: found.timing(most, errors[name]) for name, found in bursts.items()}
    return Result(case, timings, failures, macs, peaks)


def folder_of(case: Case, work: Path | None, stack: ExitStack) -> Path:
    """A folder of the case's own: one that stays, or one that goes with the stack."""
    if work is None:
        return Path(stack.enter_context(TemporaryDirectory(prefix="peers-")))
    folder = work / f"{case.network}-{case.batch}-{case.task}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(
    case: Case, files: Files, engines: Sequence[str], threads: int
) -> tuple[int | None, dict[str, str]]:
    """Make the case and every engine's file of it: multiply-accumulates, and who failed and why.

    Each engine converts in a process of its own, which ends before anything is timed. What an
    earlier run has made is taken as it is.
    """
    ready = files.folder / "ready.json"
    made: dict[str, Any] = json.loads(ready.read_text()) if ready.exists() else {}
    if not made:
        say(f"{case}: PyTorch makes the network")
        with Process(threads) as process:
            process.ask("make", **on(case, files))
    failures: dict[str, str] = {}
    for name in engines:
        if ENGINES[name].convert is None or name in made:
            continue
        say(f"{case}: {ENGINES[name].title} converts it")
        try:
            with Process(threads) as process:
                facts = process.ask("convert", engine=name, **on(case, files))
        except EngineError as error:
            failures[name] = str(error)
        else:
            made[name] = facts
            write_atomically(ready, json.dumps(made).encode())
    macs = next((made[n]["macs"] for n in engines if "macs" in made.get(n, {})), None)
    return macs, failures


@final
@dataclass
class Bursts:
    """Seconds of the runs of one engine, burst by burst, and what the machine gave beside each."""

    seconds: list[list[float]] = field(default_factory=list)
    given: list[float] = field(default_factory=list)

    def whole(self, most: float) -> list[list[float]]:
        """Those that count, where `most` is all that the machine has."""
        return [
            s for s, given in zip(self.seconds, self.given, strict=True) if given >= WHOLE * most
        ]

    def timing(self, most: float, error: float) -> Timing:
        """Of the bursts that count; of all where none does."""
        whole = self.whole(most)
        runs = [seconds for burst in whole or self.seconds for seconds in burst]
        return Timing.of(runs, error, len(whole), len(self.seconds) - len(whole))


def interleave(
    asks: Mapping[str, Ask], settings: Settings, failures: dict[str, str], most: float
) -> tuple[dict[str, Bursts], float]:
    """Bursts of every engine, in rounds of one each, in an order drawn anew; and the new `most`.

    An engine that fails on the way is noted in `failures`, and none of its runs count. `most` is
    what the machine has given so far. That may have been disturbed too: what counts is seen at the
    end.
    """
    order = random.Random(0)
    bursts = {name: Bursts() for name in asks}
    time.sleep(settings.pause)
    before = probe(settings)
    most = max(most, before)
    for _ in range(PATIENCE * settings.rounds):
        wanting = [n for n, found in bursts.items() if len(found.whole(most)) < settings.rounds]
        for name in order.sample(wanting, len(wanting)):
            try:
                seconds = asks[name]("burst", seconds=settings.seconds)["seconds"]
            except EngineError as error:
                failures[name] = str(error)
                del bursts[name]
                continue
            time.sleep(settings.pause)
            after = probe(settings)
            most = max(most, after)
            bursts[name].seconds.append(seconds)
            bursts[name].given.append(min(before, after))
            before = after
    return bursts, most


def probe(settings: Settings) -> float:
    """Multiply-adds a second that all threads together get now."""
    return kernels.peak_flops(settings.isa, settings.threads, PROBE_SECONDS)


def peak(settings: Settings) -> float:
    """Floating-point operations a second that the machine's multiply-adds reach, now."""
    isa, threads = settings.isa, settings.threads
    return max(kernels.peak_flops(isa, threads, PEAK_SECONDS) for _ in range(PEAK_ROUNDS))


def say(text: str) -> None:
    """Tell who waits what happens."""
    print(text, file=sys.stderr, flush=True)
