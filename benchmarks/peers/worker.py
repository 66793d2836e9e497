# SPDX-License-Identifier: Apache-2.0
"""One engine in a process of its own: a request is a line of JSON, and so is its reply.

    {"do": "make", "case": {...}, "folder": "/tmp/..."}    -> {}
    {"do": "convert", "engine": "ort", "case", "folder"}   -> facts for the report
    {"do": "load", "engine", "case", "folder", "threads"}  -> {"error": 2e-6}
    {"do": "burst", "seconds": 0.3}                        -> {"seconds": [0.0021, ...]}
    {"do": "memory"}                                       -> {"peak": bytes}

What goes wrong comes back as {"failed": reason}. What libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, final

import numpy as np

from .cases import Case, Files
from .engines import ENGINES, Facts, Step

# Of the largest logit. Winograd and other orders of summation stay far below.
TOLERANCE = 1e-3


@final
class Worker:
    """Answers requests; what `load` has made stays for the bursts after it."""

    def __init__(self) -> None:
        self._step: Step | None = None

    def answer(self, request: Facts) -> Facts:
        """The reply to one request."""
        rest = dict(request)
        do = str(rest.pop("do", ""))
        if "case" in rest:
            case = rest["case"]
            rest["case"] = Case(**{**case, "image": tuple(case["image"])})
            rest["files"] = Files(Path(rest.pop("folder")))
        try:
            method = {"make": make, "convert": convert, "load": self.load, "burst": self.burst}
            method["memory"] = memory
            reply: Facts = method[do](**rest)
        except Exception as error:
            return {"failed": reason(error)}
        return reply

    def load(self, engine: str, case: Case, files: Files, threads: int) -> Facts:
        """Make the step, run it, compare what comes out with PyTorch's logits."""
        step = ENGINES[engine].tasks[case.task](case, files, threads)
        error = deviation(np.asarray(step()), np.load(files.logits))
        if not error <= TOLERANCE:
            raise ValueError(f"wrong: its logits are off by {error:.1e} of the largest")
        self._step = step
        return {"error": error}

    def burst(self, seconds: float) -> Facts:
        """Seconds of each run for about `seconds`, after a first that wakes threads and caches."""
        if self._step is None:
            raise ValueError("nothing is loaded")
        gc.collect()
        gc.disable()  # a collection would be counted as the engine's
        try:
            return {"seconds": timed(self._step, seconds)}
        finally:
            gc.enable()


def timed(step: Step, seconds: float) -> list[float]:
    """Seconds of each run of `step`, the first left out, for `seconds` or one run."""
    step()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        found.append(time.perf_counter() - begin)
    return found


def make(case: Case, files: Files) -> Facts:
    """Write weights, images and logits of a case."""
    from . import source

    source.make(case, files)
    return {}


def convert(engine: str, case: Case, files: Files) -> Facts:
    """Write the file that the engine reads."""
    make_file = ENGINES[engine].convert
    return {} if make_file is None else make_file(case, files)


def memory() -> Facts:
    """Most memory that was resident at once.

    Not getrusage: a process inherits the peak of the one that started it.
    """
    with open("/proc/self/status") as file:
        (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    return {"peak": int(peak) * 1024}


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest number expected; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def reason(error: Exception) -> str:
    """One line that says why an engine is left out."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    lines = str(error).strip().splitlines() or [""]
    text = lines[0] if isinstance(error, ValueError) else f"{type(error).__name__}: {lines[0]}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Answer every line until there are no more."""
    worker = Worker()
    for line in requests:
        replies.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        replies.flush()


def main() -> Any:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
