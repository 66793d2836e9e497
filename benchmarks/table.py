# SPDX-License-Identifier: Apache-2.0
"""Print the tables of docs/performance.md: the installed fastcnn on this machine, now.

    python benchmarks/table.py [--passes 6]

The benchmarks are those of the asv suite, which keeps their history. Here one process walks through
all of them several times and prints the best of all passes, so that a neighbour who comes and goes
on a shared machine leaves no trace.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastcnn
from benchmarks import bench_import, common, kernels
from fastcnn.backends.isas import available_isas
from machine import cores, plural, processor

TRAIN_BATCH = 32
ROUNDS, SLICE = 3, 0.008  # turns of a benchmark in one pass, and the least seconds of each
VERSION = fastcnn.__version__
IMPORTS = {"import fastcnn": "import fastcnn", "first use": bench_import.FIRST_USE}
CLOCK = "time.perf_counter()"
# Not getrusage: a process inherits the peak of the one that started it.
PEAK_MEMORY = """
from benchmarks import common
common.use_threads(1)
common.compiled({network!r}).train_on_batch(*common.batch({network!r}, {batch}))
with open("/proc/self/status") as file:
    print(*(line.split()[1] for line in file if line.startswith("VmHWM")))
"""


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def heading(first: str, *rest: str) -> None:
    print()
    row(first, *rest)
    row("---", *["---:"] * len(rest))


class Best(NamedTuple):
    """Least seconds of every benchmark, and largest peak of every (isa, threads)."""

    seconds: dict[tuple[object, ...], float]
    peak: dict[tuple[str, int], float]

    def note(self, key: tuple[object, ...], seconds: float) -> None:
        self.seconds[key] = min(seconds, self.seconds.get(key, math.inf))

    def walk(self, isas: list[str], threads: list[int]) -> None:
        """One pass through everything."""
        for isa, count in columns(isas, threads):
            fastcnn.set_num_threads(count)
            peaks = [self.peak.get((isa, count), 0.0)]
            for case in kernels.CASES:
                found = kernels.measure(kernels.plan_of(case, isa), isa, count, ROUNDS, SLICE)
                self.note((case, isa, count), found.seconds)
                peaks.append(found.peak)
            self.peak[isa, count] = max(peaks)
        for network, count in itertools.product(common.NETWORKS, threads):
            fastcnn.set_num_threads(count)
            for run, step in steps(network).items():
                for _ in range(ROUNDS):
                    self.note((network, run, count), kernels.seconds_of(step, SLICE))
        for name, code in IMPORTS.items():
            timed = f"import time, numpy; begin = {CLOCK}; {code}; print({CLOCK} - begin)"
            self.note((name,), float(fresh(timed)))


def columns(isas: list[str], threads: list[int]) -> list[tuple[str, int]]:
    """One thread on every instruction set, the best first; then more threads on the best."""
    return [(isa, 1) for isa in reversed(isas)] + [(isas[-1], n) for n in threads if n > 1]


def steps(network: str) -> dict[str, Callable[[], object]]:
    """What is done with a network, planned and ready to be timed."""
    model, (x, y) = common.compiled(network), common.batch(network, TRAIN_BATCH)
    found: dict[str, Callable[[], object]] = {
        f"train, batch {TRAIN_BATCH}": lambda: model.train_on_batch(x, y),
        "predict, batch 1": lambda: model.predict_on_batch(x[:1]),
        f"predict, batch {TRAIN_BATCH}": lambda: model.predict_on_batch(x),
    }
    for step in found.values():
        step()
    return found


def print_machine(load: tuple[float, float, float], best: Best) -> None:
    heading("what", "found")
    row("processor", processor())
    row("cores this process may use", cores())
    row("load average before", ", ".join(f"{x:.2f}" for x in load))
    row("system", platform.platform(terse=True))
    row("fastcnn, Python, NumPy", f"{VERSION}, {platform.python_version()}, {np.__version__}")
    for (isa, count), peak in best.peak.items():
        row(f"FMA peak, {isa}, {plural(count)}", f"{peak / 1e9:.1f} GFLOP/s")


def print_networks(best: Best, threads: list[int]) -> None:
    runs = list(steps(next(iter(common.NETWORKS))))
    cells = [f"{run}, {plural(n)}: ms" for run in runs for n in threads]
    heading("network", *cells, "peak memory of a step: MB")
    for network in common.NETWORKS:
        cells = [
            f"{best.seconds[network, run, n] * 1e3:.2f}"
            for run, n in itertools.product(runs, threads)
        ]
        code = PEAK_MEMORY.format(network=network, batch=TRAIN_BATCH)
        row(network, *cells, f"{int(fresh(code)) * 1024 / 1e6:.0f}")


def print_kernels(best: Best, over: list[tuple[str, int]], counted: bool) -> None:
    """Times of the cases whose operations are counted, with rates; or of the others."""
    first, more = over[0], [f"{isa}, {plural(n)}: µs" for isa, n in over[1:]]
    rate = ["GFLOP/s", "% of FMA peak"] if counted else ["GB/s"]
    heading("case", f"{first[0]}, {plural(first[1])}: µs", *rate, *more)
    for case in kernels.CASES:
        if (case in kernels.COUNTED) != counted:
            continue
        kernel = kernels.plan_of(case, first[0])
        seconds = [best.seconds[case, isa, n] for isa, n in over]
        flops = kernel.flops / seconds[0]
        cells = [f"{flops / 1e9:.1f}", f"{100 * flops / best.peak[first]:.0f}"]
        cells = cells if counted else [f"{kernel.nbytes / seconds[0] / 1e9:.1f}"]
        row(case, f"{seconds[0] * 1e6:.1f}", *cells, *(f"{s * 1e6:.1f}" for s in seconds[1:]))


def print_imports(best: Best) -> None:
    heading("what", "found")
    for name in IMPORTS:
        row(f"{name}, after NumPy", f"{best.seconds[name,] * 1e3:.2f} ms")
    for name, code in {"Python alone": "", "NumPy": "import numpy", **IMPORTS}.items():
        row(f"resident memory, {name}", f"{bench_import.resident(code) / 1e6:.1f} MB")


def fresh(code: str) -> str:
    """What a new process prints that runs `code` beside the benchmarks."""
    here = Path(__file__).parent
    paths = [str(here), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=6, help="of which the best counts")
    passes = parser.parse_args().passes
    isas = available_isas()
    threads = [n for n in common.THREADS if n <= cores()]
    begin, load, best = time.perf_counter(), os.getloadavg(), Best({}, {})
    for number in range(passes):
        best.walk(isas, threads)
        load_now = f"load average {os.getloadavg()[0]:.2f}"
        print(f"pass {number + 1} of {passes}, {load_now}", file=sys.stderr)
    print_machine(load, best)
    print_networks(best, threads)
    print_kernels(best, columns(isas, threads), counted=True)
    print_kernels(best, columns(isas, threads), counted=False)
    print_imports(best)
    print(f"\n{passes} passes in {time.perf_counter() - begin:.0f} s; {load_now} at their end.")


if __name__ == "__main__":
    main()
