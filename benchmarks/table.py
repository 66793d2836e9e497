# SPDX-License-Identifier: Apache-2.0
"""Print the tables of docs/performance.md: the installed fastcnn on this machine, now.

    python benchmarks/table.py [--rounds 12]

The benchmarks are those of the asv suite, which keeps their history; here they are measured in one
process, kernel and peak in turns, and the best of all rounds is printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fastcnn
from benchmarks import bench_import, common, kernels
from fastcnn.backends import cpu

TRAIN_BATCH = 32
PREDICT_BATCHES = (1, 32)
SLICE = 0.01  # seconds of one kernel's turn
PEAK_MEMORY = """
import resource
from benchmarks import common
common.use_threads(1)
common.compiled({network!r}).train_on_batch(*common.batch({network!r}, {batch}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def heading(first: str, *rest: str) -> None:
    print()
    row(first, *rest)
    row("---", *["---:"] * len(rest))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
    name = found.get("model name", platform.processor())
    return f"{name}, family {found.get('cpu family')}, model {found.get('model')}"


def machine(isas: list[str], threads: list[int], rounds: int) -> None:
    heading("what", "found")
    row("processor", processor())
    row("cores this process may use", len(os.sched_getaffinity(0)))
    row("load average before", ", ".join(f"{x:.2f}" for x in os.getloadavg()))
    row("system", platform.platform(terse=True))
    row("Python, NumPy", f"{platform.python_version()}, {np.__version__}")
    for isa in isas:
        for count in threads:
            peak = max(kernels.peak_flops(isa, count) for _ in range(4 * rounds)) / 1e9
            row(f"FMA peak, {isa}, {count} thread{'s' * (count > 1)}", f"{peak:.1f} GFLOP/s")


def kernel_times(cases: list[str], isas: list[str], threads: list[int], rounds: int) -> None:
    """One thread on every instruction set, then more threads on the best."""
    best = isas[-1]
    columns = [(isa, 1) for isa in reversed(isas)] + [(best, n) for n in threads if n > 1]
    more = [f"{isa}, {n} thread{'s' * (n > 1)}: µs" for isa, n in columns[1:]]
    heading("case", f"{best}, 1 thread: µs", "GFLOP/s", "% of FMA peak", "GB/s", *more)
    for case in cases:
        cells: list[str] = []
        for isa, count in columns:
            fastcnn.set_num_threads(count)
            kernel = kernels.plan_of(case, isa)
            found = kernels.measure(kernel, isa, count, rounds, SLICE)
            cells.append(f"{found.seconds * 1e6:.1f}")
            if len(cells) == 1:
                rate = kernel.flops / found.seconds
                cells += [f"{rate / 1e9:.1f}", f"{100 * rate / found.peak:.0f}"]
                cells = cells if kernel.flops else [cells[0], "", ""]
                cells.append(f"{kernel.nbytes / found.seconds / 1e9:.1f}")
        row(case, *cells)


def networks(threads: list[int], rounds: int) -> None:
    runs = [f"train, batch {TRAIN_BATCH}", *(f"predict, batch {n}" for n in PREDICT_BATCHES)]
    columns = [f"{run}, {n} thread{'s' * (n > 1)}: ms" for run in runs for n in threads]
    heading("network", *columns, "peak memory of a step: MB")
    for network in common.NETWORKS:
        cells = [
            f"{best_of(network, batch, train, n, rounds) * 1e3:.2f}"
            for batch, train in ((TRAIN_BATCH, True), *((b, False) for b in PREDICT_BATCHES))
            for n in threads
        ]
        code = PEAK_MEMORY.format(network=network, batch=TRAIN_BATCH)
        row(network, *cells, f"{int(fresh(code)) / 1e6:.1f}")


def best_of(network: str, batch: int, train: bool, threads: int, rounds: int) -> float:
    """Seconds of one step."""
    fastcnn.set_num_threads(threads)
    model, (x, y) = common.compiled(network), common.batch(network, batch)
    step = (lambda: model.train_on_batch(x, y)) if train else (lambda: model.predict_on_batch(x))
    step()
    return min(kernels.seconds_of(step, SLICE) for _ in range(2 * rounds))


def imports(rounds: int) -> None:
    heading("what", "found")
    for name, code in (("import fastcnn", "import fastcnn"), ("first use", bench_import.FIRST_USE)):
        timed = (
            f"import time, numpy; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        )
        seconds = min(float(fresh(timed)) for _ in range(2 * rounds))
        row(f"{name}, after NumPy", f"{seconds * 1e3:.2f} ms")
    for name, code in (
        ("Python alone", ""),
        ("NumPy", "import numpy"),
        ("first use", bench_import.FIRST_USE),
    ):
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
    parser.add_argument("--rounds", type=int, default=12, help="turns of which the best counts")
    rounds = parser.parse_args().rounds
    isas = cpu.available_isas()
    threads = [n for n in common.THREADS if n <= len(os.sched_getaffinity(0))]
    begin = time.perf_counter()
    machine(isas[1:] or isas, threads, rounds)
    networks(threads, rounds)
    kernel_times(list(kernels.COUNTED), isas, threads, rounds)
    rest = [case for case in (*kernels.DRAWN, *kernels.UPDATE) if case not in kernels.COUNTED]
    kernel_times(rest, isas, threads, rounds)
    imports(rounds)
    print(f"\n{time.perf_counter() - begin:.0f} s; load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
