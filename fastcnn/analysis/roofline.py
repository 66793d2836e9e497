# SPDX-License-Identifier: Apache-2.0
"""How long a plan will take on this machine, from its calls and a probe of one second.

A call of the plan takes

    a * products / peak + b * bytes / bandwidth + c * call

`products` are what the kernel multiplies, padded channels and all; `bytes` are all tensors once,
through arrays of their size; `call` is what a call takes beside its work. Peak, bandwidth and call
are those of the threads that the call is worth, since small calls are done by one thread alone;
`probe` measures them. A run takes some more beside its calls, as measured, times a factor. That
factor and the three of every kind of kernel stand in `roofline.json`; `benchmarks/fit_roofline.py`
finds them and says how far predictions are off.

Source of the idea: S. Williams, A. Waterman and D. Patterson, "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", Communications of the ACM 52 (2009).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from fastcnn.analysis.lookup import AnyModel
from fastcnn.analysis.probing import Machine, probe
from fastcnn.backends import cpu
from fastcnn.graph import Node, Op, Spec, State
from fastcnn.ops.conv_packed import COLUMNS, WinogradConv2D, panels_of
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.plan import Plan

_CONSTANTS = Path(__file__).with_name("roofline.json")


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


@final
@dataclass(frozen=True)
class Work:
    """What a call has to do.

    Attributes:
        kind: its kernel.
        threads: that it is worth.
        products: multiply-adds that the kernel does.
        moved: bytes of each tensor, and of what passes by between two uses of it.
    """

    kind: str
    threads: int
    products: int
    moved: tuple[tuple[int, int], ...]


def predict_time(model: AnyModel, input_shape: Any = None, batch: int = 1) -> Prediction:
    """Predict what `predict` takes for a batch on this machine, with the current threads.

    The first call on a machine measures it for about a second; `$FASTCNN_HOME/roofline` keeps what
    was found. docs/analysis.md shows how far predictions are off for the built-in networks on a
    quiet machine.

    Args:
        model: a float32 model.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        batch: number of samples.

    Raises:
        ArgumentError: sizes that are not known.
    """
    specs = [Spec(t.spec.sizes, t.dtype) for t in model.graph(input_shape, batch=batch).inputs]
    plan = model.inference_plan(specs).plan
    machine, known = probe(), stored_constants()
    layers: dict[str, float] = {}
    seconds = predict_calls(works(plan), machine, known)
    for node, taken in zip(plan.nodes, seconds, strict=True):
        layers[node.layer] = layers.get(node.layer, 0.0) + taken
    return Prediction(batch, sum(seconds) + known["run"][0] * machine.run, layers)


def predict_calls(
    calls: Sequence[Work], machine: Machine, constants: Mapping[str, Sequence[float]]
) -> list[float]:
    """Seconds of each call."""
    return [
        float(np.dot(features(work, machine), constants.get(work.kind) or constants["other"]))
        for work in calls
    ]


def features(work: Work, machine: Machine) -> tuple[float, float, float]:
    """Seconds of a call's products at peak, of its bytes at bandwidth, and beside its work."""
    team = machine.team(work.threads)
    copying = sum(nbytes / team.bandwidth(among) for nbytes, among in work.moved)
    return work.products / team.products, copying, team.call


def works(plan: Plan) -> list[Work]:
    """What each call of a plan has to do."""
    read = {t for node in plan.nodes for t in node.inputs}
    # All weights pass by between two uses of one.
    weights = sum(t.spec.nbytes for t in read if isinstance(t.node.op, State))
    found = []
    for node, kernel, threads in zip(
        plan.nodes, plan.kernels, cpu.worth_threads(plan.calls), strict=True
    ):
        moved = [(s.nbytes, s.nbytes) for s in node.specs]
        for tensor in node.inputs:
            nbytes = tensor.spec.nbytes
            moved.append((nbytes, weights if isinstance(tensor.node.op, State) else nbytes))
        kind = kernel.removeprefix("f32_")
        found.append(Work(kind, threads, products(node), tuple(moved)))
    return found


def products(node: Node) -> int:
    """Products that the kernel of a node does, those with padded channels among them."""
    return _products(node.op, [t.spec for t in node.inputs])


def _products(op: Op, specs: Sequence[Spec]) -> int:
    if isinstance(op, FusedSeparableConv2D):
        x, count = specs[0], 0
        for part, rest in op.parts(specs):
            count += _products(part, [x, *rest])
            x = part.output_spec(x, *rest)
        return count
    filters: int | None = getattr(op, "filters", None)
    if filters is None:
        return op.macs(*specs)
    groups: int = getattr(op, "groups", 1)
    columns = panels_of(filters // groups) * COLUMNS * groups
    if isinstance(op, WinogradConv2D):
        return op.products(specs[0]) * specs[0].sizes[3] * columns
    return op.macs(*specs) // filters * columns


@functools.cache
def stored_constants() -> dict[str, list[float]]:
    """By kernel: factors of `features`; as "run", that of `Machine.run`."""
    found: dict[str, list[float]] = json.loads(_CONSTANTS.read_text())["kernels"]
    return found
