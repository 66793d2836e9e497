# SPDX-License-Identifier: Apache-2.0
"""The memory that a model needs to run and to train: what its plans hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np

from fastcnn import arguments, ops, passes
from fastcnn.analysis.lookup import AnyModel, Graph
from fastcnn.autodiff import gradients
from fastcnn.graph import Spec, Tensor, constant, placeholder, topological, view_root
from fastcnn.placement import Placement
from fastcnn.schedule import Schedule, own_outputs


@final
@dataclass(frozen=True)
class Memory:
    """Bytes that a batch takes.

    Attributes:
        batch: number of samples.
        weights: weights and statistics.
        inference: arena of the plan that `predict` runs; tensors share it by their lifetimes.
        scratch: what its kernels need beside.
        training: arena of a training step, gradients among it, but without what the optimizer
            keeps: momentum one number per weight, Adam two.
        saved: by layer path, what its forward pass makes and a gradient reads later. Several
            layers may read one tensor; it counts for the one that made it.
    """

    batch: int
    weights: int
    inference: int
    scratch: int
    training: int
    saved: Mapping[str, int]

    def __str__(self) -> str:
        def megabytes(nbytes: int) -> str:
            return f"{nbytes / 2**20:,.2f} MB"

        return (
            f"batch of {self.batch}: weights {megabytes(self.weights)}, inference "
            f"{megabytes(self.inference)} and {megabytes(self.scratch)} of scratch, training "
            f"{megabytes(self.training)} of which {megabytes(sum(self.saved.values()))} are "
            "activations kept for the gradients"
        )


def memory(
    model: AnyModel, input_shape: Any = None, batch: int = 1, recompute: str | None = None
) -> Memory:
    """What inference and training of a batch hold in memory, without running either.

    Args:
        model: a model; compiled or not.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        batch: number of samples.
        recompute: as in `compile`.

    Raises:
        ArgumentError: sizes that are not known.
        NotDifferentiableError: the model cannot be trained.
    """
    arguments.one_of("analysis.memory", "recompute", recompute, (None, "auto"))
    specs = [Spec(t.spec.sizes, t.dtype) for t in model.graph(input_shape, batch=batch).inputs]
    plan = model.inference_plan(specs).plan
    graph = model.graph(input_shape, training=True, batch=batch)
    return Memory(
        batch,
        weights=sum(p.size * np.dtype(p.dtype).itemsize for p in model.weights),
        inference=plan.arena_bytes,
        scratch=plan.scratch_bytes,
        training=_step_arena(model, graph, recompute is not None),
        saved=saved_activations(model, graph),
    )


def saved_activations(model: AnyModel, graph: Graph) -> dict[str, int]:
    """By layer path: bytes of what the forward pass makes and the gradients read.

    Args:
        model: a model.
        graph: of it in training.

    Raises:
        NotDifferentiableError: the model cannot be trained.
    """
    return _saved(graph, [g for g in _gradients(model, graph) if g is not None])


def _step_arena(model: AnyModel, graph: Graph, recompute: bool) -> int:
    """Bytes of the arena of a step of plain gradient descent."""
    loss = _loss(graph)
    numbers = placeholder((2,), loss.dtype, "numbers")
    updates = [
        (parameter, ops.sgd_update(parameter, gradient, numbers))
        for parameter, gradient in zip(
            model.trainable_weights, _gradients(model, graph), strict=True
        )
        if gradient is not None
    ]
    updates += graph.trace.updates
    outputs, made = passes.for_training(
        [loss, *graph.outputs], [new for _, new in updates], model.algorithms(), recompute
    )
    owned = own_outputs(outputs)
    updates = [(weight, new) for (weight, _), new in zip(updates, made, strict=True)]
    schedule = Schedule(owned, updates, guard=outputs[0])
    inputs = [*graph.inputs, numbers, graph.trace.rng]
    return Placement(inputs, owned, schedule, views=True).arena_bytes


def _loss(graph: Graph) -> Tensor:
    """A number of which all outputs have a part."""
    means = [ops.mean(ops.square(t)) for t in graph.outputs if t.dtype.startswith("float")]
    return reduce(ops.add, means) if means else constant(np.zeros((), np.float32))


def _gradients(model: AnyModel, graph: Graph) -> list[Tensor | None]:
    """Gradients for all trainable weights, as a loss of the outputs makes them."""
    return gradients(_loss(graph), [p.tensor for p in model.trainable_weights])


def _saved(graph: Graph, found: Sequence[Tensor]) -> dict[str, int]:
    forward = {id(node) for node in topological(graph.outputs)}
    kept: dict[Tensor, None] = {}
    for node in topological(found):
        if id(node) in forward:
            continue
        for tensor in node.inputs:
            tensor = view_root(tensor)
            if id(tensor.node) in forward and tensor.node.inputs:
                kept[tensor] = None
    saved: dict[str, int] = {}
    for tensor in kept:
        saved[tensor.node.layer] = saved.get(tensor.node.layer, 0) + tensor.spec.nbytes
    return saved
