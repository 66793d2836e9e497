# SPDX-License-Identifier: Apache-2.0
"""What this machine can do: measured in about a second, and kept.

Multiply-adds per second in registers, bytes per second through arrays of several sizes, from the
first cache to memory, and what calls and runs take beside their work: for one thread, and for all
threads together.
"""

from __future__ import annotations

import functools
import json
import math
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.backends import _cpu, isas, threads
from fastcnn.errors import FileError
from fastcnn.graph import placeholder
from fastcnn.plan import Plan
from fastcnn.utils.atomic import write_atomically
from fastcnn.utils.files import fastcnn_home

# Bytes that a thread copies: within the second cache, within the third or near it, in memory.
_SIZES = (1 << 17, 1 << 20, 1 << 25)
_TURNS, _SECONDS = 4, 0.03  # of each measurement
# Numbers that one thread, and that all threads go through in a call; and calls in a row.
_FEW, _SHARED, _CALLS = 1 << 6, 1 << 14, 64


@final
@dataclass(frozen=True)
class Team:
    """What so many threads do together.

    Attributes:
        threads: number of threads.
        products: float32 multiply-adds per second.
        sizes: bytes of the arrays that bandwidths were measured with, all threads together.
        bandwidths: bytes per second read and written through arrays of those sizes.
        call: seconds that a call takes beside its work: its start, and threads that wait.
    """

    threads: int
    products: float
    sizes: tuple[float, ...]
    bandwidths: tuple[float, ...]
    call: float

    def bandwidth(self, nbytes: float) -> float:
        """Bytes per second through arrays of `nbytes`, between the measured sizes by logarithms."""
        at = np.interp(math.log(max(nbytes, 1)), np.log(self.sizes), np.log(self.bandwidths))
        return float(np.exp(at))


@final
@dataclass(frozen=True)
class Machine:
    """What this machine can do with the kernels of an instruction set.

    Attributes:
        isa: instruction set.
        run: seconds that a run of a plan takes beside its calls.
        alone: one thread.
        together: all threads.
    """

    isa: str
    run: float
    alone: Team
    together: Team

    @property
    def threads(self) -> int:
        """Number of all threads."""
        return self.together.threads

    def team(self, count: int) -> Team:
        """So many threads, or all if there are fewer; between one and all by logarithms."""
        if count <= 1:
            return self.alone
        if count >= self.threads:
            return self.together
        part = math.log(count) / math.log(self.threads)

        def between(one: float, all_: float) -> float:
            return math.exp((1 - part) * math.log(one) + part * math.log(all_))

        def each(one: Sequence[float], all_: Sequence[float]) -> tuple[float, ...]:
            return tuple(between(a, b) for a, b in zip(one, all_, strict=True))

        a, b = self.alone, self.together
        return Team(
            count,
            between(a.products, b.products),
            each(a.sizes, b.sizes),
            each(a.bandwidths, b.bandwidths),
            between(a.call, b.call),
        )


def probe(refresh: bool = False) -> Machine:
    """What this machine can do with the current threads and instruction set.

    Measured once, in about a second, and kept in `$FASTCNN_HOME/roofline`; with `refresh`, measured
    again. Other programs that compute meanwhile spoil it.
    """
    isa, count = isas.default_isa(), threads.get_num_threads()
    file = fastcnn_home() / "roofline" / f"{platform.node() or 'host'}-{isa}-{count}.json"
    if not refresh:
        try:
            return machine_of(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass  # not measured yet, or by another version
    machine = _measure(isa, count)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(machine)).encode())
    except (OSError, FileError):
        pass  # measured again next time
    return machine


def machine_of(kept: Any) -> Machine:
    """A machine from what `asdict` makes of it, by way of JSON."""

    def team(kept: Any) -> Team:
        sizes, bandwidths = tuple(kept["sizes"]), tuple(kept["bandwidths"])
        return Team(kept["threads"], kept["products"], sizes, bandwidths, kept["call"])

    return Machine(kept["isa"], kept["run"], team(kept["alone"]), team(kept["together"]))


def best_of(machines: Sequence[Machine]) -> Machine:
    """The best that was measured of each: what disturbs a probe only makes it worse."""

    def team(found: Sequence[Team]) -> Team:
        bandwidths = tuple(
            max(column) for column in zip(*(t.bandwidths for t in found), strict=True)
        )
        return replace(
            found[0],
            products=max(t.products for t in found),
            bandwidths=bandwidths,
            call=min(t.call for t in found),
        )

    return Machine(
        machines[0].isa,
        min(m.run for m in machines),
        team([m.alone for m in machines]),
        team([m.together for m in machines]),
    )


def _measure(isa: str, count: int) -> Machine:
    alone = _measure_team(isa, 1)
    machine = Machine(isa, _run_seconds(isa), alone, alone)
    return machine if count == 1 else replace(machine, together=_measure_team(isa, count))


def _measure_team(isa: str, count: int) -> Team:
    products = _rate(count, lambda: functools.partial(_cpu.multiply_adds, isa, 500_000)) / 2
    # Caches of their own add up; Python's threads, which take turns between copies, do not show it.
    own, *shared = (functools.partial(_copier, size) for size in _SIZES)
    bandwidths = (count * _rate(1, own), *(_rate(count, copier) for copier in shared))
    sizes = tuple(float(size * count) for size in _SIZES)
    team = Team(count, products, sizes, bandwidths, call=0.0)
    return replace(team, call=_call_seconds(isa, team))


def _call_seconds(isa: str, team: Team) -> float:
    """What a call takes beside its work: its start, and the threads' waiting for each other.

    Of the groups of runs the slowest: threads that have waited long fall asleep, as they do while a
    network's longer calls run.
    """
    numbers = _FEW if team.threads == 1 else _SHARED
    groups = []
    for _ in range(_TURNS):
        seconds = _runs(isa, numbers, _CALLS, rest=0.001 * (team.threads > 1))
        groups.append(float(np.median(seconds)) / _CALLS)
    nbytes = 4 * numbers
    return max(max(groups) - 2 * nbytes / team.bandwidth(nbytes), 1e-8)


def _run_seconds(isa: str) -> float:
    """A run of a plan that has next to nothing to do."""
    return min(float(np.median(_runs(isa, _FEW, 1))) for _ in range(_TURNS))


def _runs(isa: str, numbers: int, calls: int, rest: float = 0.0) -> list[float]:
    """Seconds of runs of so many calls, in each of them so many numbers, with rests between."""
    x = placeholder((1, numbers))
    plan = Plan([x], [functools.reduce(lambda y, _: ops.relu(y), range(calls), x)], isa=isa)
    array = np.ones((1, numbers), np.float32)
    taken = []
    for _ in range(8 if rest else 50):
        time.sleep(rest)
        begin = time.perf_counter()
        plan.run(array)
        taken.append(time.perf_counter() - begin)
    return taken


def _copier(nbytes: int) -> Callable[[], int]:
    """A function that copies half of `nbytes` to the other half and returns the bytes moved."""
    source, target = np.ones((2, nbytes // 8), np.float32)
    turns = max(1, (1 << 20) // nbytes)

    def copy() -> int:
        for _ in range(turns):
            np.copyto(target, source)
        return turns * 2 * source.nbytes

    return copy


def _rate(count: int, make: Callable[[], Callable[[], int]]) -> float:
    """What `count` threads do per second together, at best: others may disturb some turns."""
    return max(_once(count, make) for _ in range(_TURNS))


def _once(count: int, make: Callable[[], Callable[[], int]]) -> float:
    begin = threading.Barrier(count)
    rates = [0.0] * count

    def work(index: int) -> None:
        step = make()
        step()
        begin.wait()
        start = time.perf_counter()
        done, end = 0, start + _SECONDS
        while (now := time.perf_counter()) < end or not done:
            done += step()
        rates[index] = done / (max(now, time.perf_counter()) - start)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)
