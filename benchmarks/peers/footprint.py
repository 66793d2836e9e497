# SPDX-License-Identifier: Apache-2.0
"""What an engine costs besides time: peak memory, and the wait for the first result."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from .cases import PREDICT, TRAIN, TRAIN_BATCHES, Case, Files
from .engines import ENGINES, OURS
from .process import EngineError, Process, environment, on
from .results import Run, Timing
from .rounds import Settings, prepare, say

MEMORY_CASES = {
    PREDICT: Case("ResNet50", 1),
    TRAIN: Case("ResNet50", TRAIN_BATCHES["ResNet50"], TRAIN),
}
COLD_CASE = Case("ResNet18", 1)
MEMORY_SECONDS = 1.0


@final
@dataclass(frozen=True)
class Start:
    """A way from the start of a process to a first result.

    Attributes:
        engine: whose it is, by its name in ENGINES.
        title: in the table.
        ending: of the file it loads.
        program: of its own, as short as a user's, with nothing around it that would be counted. Its
            arguments are the saved network, the images, and the number of threads.
        prepare: writes the file, given the engine's own and the images; None: that is the engine's.
    """

    engine: str
    title: str
    ending: str
    program: str
    prepare: str | None = None


EXPORT = """
import sys
import numpy as np
import fastcnn
model = fastcnn.models.load_model(sys.argv[1])
model.export(sys.argv[2], format="plan", input_shape=np.load(sys.argv[3]).shape)
"""
STARTS = {
    OURS: Start(
        OURS,
        "fastcnn",
        "fastcnn",
        """
import sys
import numpy as np
import fastcnn
fastcnn.set_num_threads(int(sys.argv[3]))
model = fastcnn.models.load_model(sys.argv[1])
print(model.predict_on_batch(np.load(sys.argv[2])).argmax(), flush=True)
""",
    ),
    "plan": Start(
        OURS,
        "fastcnn, exported",
        "plan",
        """
import sys
import numpy as np
import fastcnn
fastcnn.set_num_threads(int(sys.argv[3]))
network = fastcnn.deploy.load(sys.argv[1])
print(network.predict_on_batch(np.load(sys.argv[2])).argmax(), flush=True)
""",
        EXPORT,
    ),
    "plan-bytes": Start(
        OURS,
        "fastcnn, exported, without NumPy",
        "plan",
        """
import sys
import fastcnn
fastcnn.set_num_threads(int(sys.argv[3]))
network = fastcnn.deploy.load(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    file.seek(10 + int.from_bytes(file.read(10)[8:], "little"))  # behind the head of an .npy
    scores = network.run(file.read())[0].tolist()[0]
print(scores.index(max(scores)), flush=True)
""",
        EXPORT,
    ),
    "ort": Start(
        "ort",
        "ONNX Runtime",
        "onnx",
        """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
images = np.ascontiguousarray(np.load(sys.argv[2]).transpose(0, 3, 1, 2))
print(session.run(None, {"images": images})[0].argmax(), flush=True)
""",
    ),
}


def measure_memory(run: Run, settings: Settings, task: str) -> None:
    """Note the peak memory of a fresh process of every engine that loads a network and runs it."""
    case = MEMORY_CASES[task]
    run.facts["memory of"] = str(case)
    with TemporaryDirectory(dir=settings.work, prefix="peers-") as folder:
        files = Files(Path(folder))
        _, failures = prepare(case, files, settings.engines, settings.threads)
        for name in settings.engines:
            if name in failures:
                continue
            say(f"{case}: memory of {ENGINES[name].title}")
            try:
                with Process(settings.threads, ENGINES[name].environment) as process:
                    process.ask("load", engine=name, threads=settings.threads, **on(case, files))
                    process.ask("burst", seconds=MEMORY_SECONDS)
                    run.memory[name] = process.ask("memory")["peak"]
            except EngineError as error:
                failures[name] = str(error)
    run.failures |= {f"{name} memory": reason for name, reason in failures.items()}


def measure_cold(run: Run, settings: Settings) -> None:
    """Note how long a fresh process takes to its first result, the engines in turns.

    Programs and network are in the system's file cache: this is not the first start since boot.
    """
    case = COLD_CASE
    run.facts["cold start of"] = str(case)
    starts = [name for name, start in STARTS.items() if start.engine in settings.engines]
    with TemporaryDirectory(dir=settings.work, prefix="peers-") as folder:
        files = Files(Path(folder))
        engines = sorted({STARTS[name].engine for name in starts})
        _, by_engine = prepare(case, files, engines, settings.threads)
        failures = {
            name: by_engine[STARTS[name].engine]
            for name in starts
            if STARTS[name].engine in by_engine
        }
        seconds: dict[str, list[float]] = {name: [] for name in starts if name not in failures}
        for number in range(settings.rounds + 1):  # the first fills the cache
            say(f"{case}: cold start {number} of {settings.rounds}")
            for name in list(seconds):
                time.sleep(settings.pause)
                try:
                    found = first_result(name, files, settings.threads)
                except EngineError as error:
                    failures[name] = str(error)
                    del seconds[name]
                    continue
                seconds[name] += [found] if number else []
    run.cold = {name: Timing.of(found) for name, found in seconds.items()}
    run.failures |= {f"{name} cold start": reason for name, reason in failures.items()}


def first_result(name: str, files: Files, threads: int) -> float:
    """Seconds from the start of a process to the line with its result."""
    start = STARTS[name]
    network = files.of(start.ending)
    variables = environment(threads)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    if start.prepare and not network.exists():
        own = files.of(STARTS[start.engine].ending)
        command = [sys.executable, "-c", start.prepare, str(own), str(network), str(files.images)]
        made = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=variables)
        if made.returncode:
            raise EngineError(_last_line(made.stderr, made.returncode))
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", start.program, str(network), str(files.images), str(threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
        said = process.stderr.read()
    if not line:
        raise EngineError(_last_line(said, process.returncode))
    return seconds


def _last_line(said: str, status: int) -> str:
    words = said.strip().splitlines()
    return words[-1] if words else f"ended with status {status}"
