# SPDX-License-Identifier: Apache-2.0
"""Choosing between algorithms by measuring them, inside the network that will run them.

A few plans of the whole model, each with another algorithm wherever it is possible, run call by
call in turns. What a convolution takes there is what it will take: its filters come from as far
away, and its input is as warm, as in `predict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn.backends import isas
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, Node, Spec
from fastcnn.models.choices import keep_choices, measured_choices
from fastcnn.models.derived import DerivedWeights
from fastcnn.models.lowering import InferencePlan, sample_specs
from fastcnn.ops.conv_packed import FusedDepthwiseConv2D, PackedConv2D, WinogradConv2D
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.passes.algorithms import (
    APART,
    DIRECT,
    FUSED,
    WINOGRAD_2,
    WINOGRAD_3,
    WINOGRAD_4,
    Algorithms,
    convolution_shape,
    separable_shape,
)
from fastcnn.passes.fuse import WINOGRAD_TAPS
from fastcnn.passes.fuse_separable import shape_of

if TYPE_CHECKING:
    from fastcnn.models.model import Model

# Every algorithm stands in one of them.
_VARIANTS = ((DIRECT, FUSED), (WINOGRAD_4, WINOGRAD_3, APART), (WINOGRAD_2, FUSED))
_NAMES = {4: WINOGRAD_4, 3: WINOGRAD_3, 2: WINOGRAD_2}
_TURNS = 10
# Within so much of each other, measurements say nothing, and results may stay as they are.
_CLEARLY = 0.97

# An algorithm for a shape, and the positions of the calls that it takes.
Served = tuple[str, str, list[int]]


def autotune(
    model: Model, input_shape: Any = None, batch: int = 1, refresh: bool = False
) -> dict[str, str]:
    """Measure which algorithms are the fastest for the convolutions of a model on this machine.

    Where several can compute a convolution, `predict` takes the one of least estimated cost; of the
    shapes measured here it takes the fastest from then on, in this process and, by
    `$FASTCNN_HOME/autotune`, in all later ones with these kernels, for any model. It takes as long
    as 30 predictions. Results then differ by rounding from those before, as algorithms do; they
    have the same bits for any number of threads, though the fastest is that of the current number.
    Training steps are left as they are. Other programs that compute meanwhile spoil it.

    Args:
        model: a float32 model. One that is exact keeps to direct sums, and only the fusing of
            depthwise convolutions is measured.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        batch: number of samples.
        refresh: measure shapes again that have been measured.

    Returns:
        The algorithm for every shape of the model that has a choice, by shape.

    Raises:
        ArgumentError: sizes that are not known, or a model that is not of float32.
    """
    if model.default_backend() != "cpu":
        raise ArgumentError(
            f"autotune: model '{model.name}' is of {model.dtype}, expected float32; the reference "
            "backend, which runs others, has one algorithm for everything"
        )
    specs = sample_specs(model, input_shape, batch)
    isa, exact = isas.default_isa(), model.algorithms().exact
    derived = DerivedWeights("cpu")

    def plan_with(*preferred: str) -> InferencePlan:
        algorithms = Algorithms(exact, preferred=frozenset(preferred))
        return InferencePlan(model, specs, "cpu", derived, algorithms)

    variants = [plan_with(*preferred) for preferred in _VARIANTS]
    served = [list(_served(variant.plan.nodes)) for variant in variants]
    possible: dict[str, set[str]] = {}
    for shape, name, _ in (one for found in served for one in found):
        possible.setdefault(shape, set()).add(name)
    shapes = {shape for shape, names in possible.items() if len(names) > 1}
    known = {} if refresh else dict(measured_choices(isa))
    if not shapes <= known.keys():
        estimated = {shape: name for shape, name, _ in _served(plan_with().plan.nodes)}
        seconds = _measure(variants, served, specs)
        new = shapes - known.keys()
        keep_choices(isa, {s: _fastest(seconds[s], estimated.get(s, "")) for s in new})
        known = dict(measured_choices(isa))
    return {shape: known[shape] for shape in sorted(shapes)}


def _served(nodes: Sequence[Node]) -> Iterator[Served]:
    """What the nodes of a plan compute that other algorithms might compute too."""
    position = {id(node): i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        op = node.op
        if isinstance(op, WinogradConv2D):
            x = node.inputs[0].spec
            shape = convolution_shape((op.taps, op.taps), x, op.before_pool(x))
            yield shape, _NAMES[op.tile], [i]
        elif isinstance(op, FusedSeparableConv2D):
            x, kernel = (t.spec for t in node.inputs[:2])
            shape = separable_shape(x, kernel, node.specs[0], op.strides[0], op.expands)
            yield shape, FUSED, [i]
        elif isinstance(op, PackedConv2D) and op.taps in WINOGRAD_TAPS:
            if op.strides == op.dilations == (1, 1) and op.groups == 1:
                shape = convolution_shape(op.taps, node.inputs[0].spec, node.specs[0])
                yield shape, DIRECT, [i]
        elif isinstance(op, PackedConv2D) and op.taps == (1, 1):
            for group in _groups(node):
                parts = [id(part) for part in group if part is not None]
                if all(part in position for part in parts):  # or they are copies
                    yield shape_of(*group), APART, [position[part] for part in parts]


def _groups(project: Node) -> Iterator[tuple[Node, Node, Node | None]]:
    """What `fuse_separable` might join with a 1x1 convolution: with one in front and without."""
    depthwise = project.inputs[0].node
    if isinstance(depthwise.op, FusedDepthwiseConv2D):
        yield project, depthwise, None
        expand = depthwise.inputs[0].node
        if isinstance(expand.op, PackedConv2D):
            yield project, depthwise, expand


def _measure(
    variants: Sequence[InferencePlan], served: Sequence[Sequence[Served]], specs: Sequence[Spec]
) -> dict[str, dict[str, float]]:
    """Mean seconds by shape and algorithm: of each call the least, all plans taking turns."""
    arrays: list[Array] = [np.ones(spec.sizes, spec.dtype) for spec in specs]
    least = [np.full(len(variant.plan.calls), np.inf) for variant in variants]
    for _ in range(_TURNS):
        for variant, found in zip(variants, least, strict=True):
            taken = variant.plan.time_calls(*variant.feeds(arrays))
            np.minimum(found, taken, out=found)
    seconds: dict[str, dict[str, list[float]]] = {}
    for calls, found in zip(served, least, strict=True):
        for shape, name, at in calls:
            seconds.setdefault(shape, {}).setdefault(name, []).append(float(found[at].sum()))
    return {
        shape: {name: float(np.mean(values)) for name, values in by_name.items()}
        for shape, by_name in seconds.items()
    }


def _fastest(seconds: Mapping[str, float], estimated: str) -> str:
    """The algorithm of least seconds; the estimated one where no other is clearly better."""
    best = min(seconds, key=lambda name: seconds[name])
    if estimated in seconds and seconds[best] > _CLEARLY * seconds[estimated]:
        return estimated
    return best
