# SPDX-License-Identifier: Apache-2.0
"""How long a plan will take on this machine, from its calls and a probe of one second.

The probe measures what the machine can do: multiply-adds per second in registers, and bytes per
second through arrays of several sizes, from the first cache to memory. A call then takes

    a * products / peak + b * bytes / bandwidth + c * call

`products` are what the kernel multiplies, padded channels and all; `bytes` are all tensors once,
through arrays of their size; `call` is what starting a call takes with this many threads. The three
factors of every kind of kernel, and the seconds that a run takes beside, stand in `roofline.json`;
`benchmarks/fit_roofline.py` finds them and says how far predictions are off.

Source of the idea: S. Williams, A. Waterman and D. Patterson, "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", Communications of the ACM 52 (2009).
"""

from __future__ import annotations

import functools
import json
import math
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.analysis.lookup import AnyModel
from fastcnn.backends import _cpu, cpu, threads
from fastcnn.errors import FileError
from fastcnn.graph import Node, Op, Spec, State, placeholder
from fastcnn.ops.conv_packed import COLUMNS, WinogradConv2D, panels_of
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.plan import Plan
from fastcnn.utils.atomic import write_atomically
from fastcnn.utils.files import fastcnn_home

# Bytes that a thread copies: within the second cache, within the third or near it, in memory.
_SIZES = (1 << 17, 1 << 20, 1 << 25)
_TURNS, _SECONDS = 5, 0.04  # of each measurement
# Numbers that are shared out among the threads, and calls one after the other.
_SHARED, _CALLS = 1 << 14, 64
_CONSTANTS = Path(__file__).with_name("roofline.json")


@final
@dataclass(frozen=True)
class Machine:
    """What this machine can do with so many threads.

    Attributes:
        isa: instruction set of the kernels.
        threads: number of threads.
        products: float32 multiply-adds per second.
        sizes: bytes of the arrays that bandwidths were measured with, all threads together.
        bandwidths: bytes per second read and written through arrays of those sizes.
        call: seconds that a call takes beside its work: its start, and threads that wait.
    """

    isa: str
    threads: int
    products: float
    sizes: tuple[int, ...]
    bandwidths: tuple[float, ...]
    call: float

    def bandwidth(self, nbytes: float) -> float:
        """Bytes per second through arrays of `nbytes`, between the measured sizes by logarithms."""
        at = np.interp(math.log(max(nbytes, 1)), np.log(self.sizes), np.log(self.bandwidths))
        return float(np.exp(at))


@final
@dataclass(frozen=True)
class Prediction:
    """Seconds that one run of a model's inference plan takes.

    Attributes:
        batch: number of samples.
        seconds: of all.
        layers: by layer path; what follows a convolution at once belongs to it.
    """

    batch: int
    seconds: float
    layers: Mapping[str, float]


def predict_time(model: AnyModel, input_shape: Any = None, batch: int = 1) -> Prediction:
    """Predict what `predict` takes for a batch on this machine, with the current threads.

    The first call on a machine measures it for about a second; `$FASTCNN_HOME/roofline` keeps what
    was found. Within 25 % for the built-in networks on a quiet machine, as docs/analysis.md shows.

    Args:
        model: a float32 model.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        batch: number of samples.

    Raises:
        ArgumentError: sizes that are not known.
    """
    specs = [Spec(t.spec.sizes, t.dtype) for t in model.graph(input_shape, batch=batch).inputs]
    plan = model.inference_plan(specs).plan
    layers: dict[str, float] = {}
    seconds = predict_calls(plan, probe())
    for node, taken in zip(plan.nodes, seconds, strict=True):
        layers[node.layer] = layers.get(node.layer, 0.0) + taken
    return Prediction(batch, sum(seconds) + stored_constants()["run"][0], layers)


def predict_calls(
    plan: Plan, machine: Machine, constants: Mapping[str, Sequence[float]] | None = None
) -> list[float]:
    """Seconds of every call of a plan."""
    known = stored_constants() if constants is None else constants
    seconds = []
    for kind, terms in zip(kinds(plan), features(plan, machine), strict=True):
        factors = known.get(kind) or known["other"]
        seconds.append(float(np.dot(terms, factors)))
    return seconds


def kinds(plan: Plan) -> list[str]:
    """What each call is for the model of its time: its kernel."""
    return [name.removeprefix("f32_") for name in plan.kernels]


def features(plan: Plan, machine: Machine) -> list[tuple[float, float, float]]:
    """For every call: seconds of its products at peak, of its bytes at bandwidth, of starting."""
    read = {t for node in plan.nodes for t in node.inputs}
    # All weights pass by between two uses of one.
    weights = sum(t.spec.nbytes for t in read if isinstance(t.node.op, State))
    found = []
    for node in plan.nodes:
        moved = [(s.nbytes, s.nbytes) for s in node.specs]
        for tensor in node.inputs:
            nbytes = tensor.spec.nbytes
            moved.append((nbytes, weights if isinstance(tensor.node.op, State) else nbytes))
        copying = sum(nbytes / machine.bandwidth(among) for nbytes, among in moved)
        found.append((products(node) / machine.products, copying, machine.call))
    return found


def products(node: Node) -> int:
    """Products that the kernel of a node does, those with padded channels among them."""
    return _products(node.op, [t.spec for t in node.inputs])


def _products(op: Op, specs: Sequence[Spec]) -> int:
    if isinstance(op, FusedSeparableConv2D):
        x, count = specs[0], 0
        for part, rest in op.parts(specs):
            count += _products(part, [x, *rest])
            x = part.infer(x, *rest)
        return count
    filters: int | None = getattr(op, "filters", None)
    if filters is None:
        return op.macs(*specs)
    groups: int = getattr(op, "groups", 1)
    columns = panels_of(filters // groups) * COLUMNS * groups
    if isinstance(op, WinogradConv2D):
        batch, height, width, _ = op.infer(*specs).sizes
        patches = batch * math.ceil(height / op.tile) * math.ceil(width / op.tile)
        return patches * (op.tile + 2) ** 2 * specs[0].sizes[3] * columns
    return op.macs(*specs) // filters * columns


@functools.cache
def stored_constants() -> dict[str, list[float]]:
    """By kernel: factors of `features`; as "run", seconds that a run takes beside its calls."""
    found: dict[str, list[float]] = json.loads(_CONSTANTS.read_text())["kernels"]
    return found


# --- the probe -----------------------------------------------------------------------------------


def probe(refresh: bool = False) -> Machine:
    """What this machine can do with the current threads and instruction set.

    Measured once, in about a second, and kept in `$FASTCNN_HOME/roofline`; with `refresh`, measured
    again. Other programs that compute meanwhile spoil it.
    """
    isa, count = cpu.default_isa(), threads.get_num_threads()
    file = fastcnn_home() / "roofline" / f"{platform.node() or 'host'}-{isa}-{count}.json"
    if not refresh:
        try:
            kept: dict[str, Any] = json.loads(file.read_text())
            sizes, bandwidths = tuple(kept.pop("sizes")), tuple(kept.pop("bandwidths"))
            return Machine(**kept, sizes=sizes, bandwidths=bandwidths)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass  # not measured yet, or by another version
    machine = _measure(isa, count)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(machine)).encode())
    except (OSError, FileError):
        pass  # measured again next time
    return machine


def _measure(isa: str, count: int) -> Machine:
    products = _rate(count, lambda: functools.partial(_cpu.multiply_adds, isa, 500_000)) / 2
    # Caches of their own add up; Python's threads, which take turns between copies, do not show it.
    own, *shared = (functools.partial(_copier, size) for size in _SIZES)
    bandwidths = (count * _rate(1, own), *(_rate(count, copier) for copier in shared))
    sizes = tuple(size * count for size in _SIZES)
    machine = Machine(isa, count, products, sizes, bandwidths, call=0.0)
    return replace(machine, call=_call_seconds(machine))


def _call_seconds(machine: Machine) -> float:
    """What a call takes beside its work: its start, and the threads' waiting for each other.

    Of the groups of runs the slowest: threads that have waited long fall asleep, as they do while a
    network's longer calls run.
    """
    x = placeholder((1, _SHARED))
    array = np.ones((1, _SHARED), np.float32)
    groups = []
    for _ in range(_TURNS):
        plan = Plan([x], [functools.reduce(lambda y, _: ops.relu(y), range(_CALLS), x)])
        taken = []
        for _ in range(8):
            time.sleep(0.001)
            begin = time.perf_counter()
            plan.run(array)
            taken.append((time.perf_counter() - begin) / _CALLS)
        groups.append(float(np.median(taken)))
    work = 2 * array.nbytes / machine.bandwidth(array.nbytes)
    return max(max(groups) - work, 1e-7)


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
