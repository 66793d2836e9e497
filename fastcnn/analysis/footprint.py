# SPDX-License-Identifier: Apache-2.0
"""The memory that a model needs to run and to train: what its plans hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.analysis.lookup import AnyModel, Graph
from fastcnn.autodiff import gradients
from fastcnn.graph import Spec, Tensor, topological
from fastcnn.placement import Placement, Schedule


@final
@dataclass(frozen=True)
class Memory:
    """Bytes that a batch takes.

    Attributes:
        batch: number of samples.
        weights: weights and statistics.
        inference: arena of the plan that `predict` runs; tensors share it by their lifetimes.
        scratch: what its kernels need beside.
        training: arena of a training step, with all gradients but without the optimizer's numbers:
            momentum keeps one per weight, Adam two.
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


def memory(model: AnyModel, input_shape: Any = None, batch: int = 1) -> Memory:
    """What inference and training of a batch hold in memory, without running either.

    Args:
        model: a model; compiled or not.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        batch: number of samples.

    Raises:
        ArgumentError: sizes that are not known.
        NotDifferentiableError: the model cannot be trained.
    """
    specs = [Spec(t.spec.sizes, t.dtype) for t in model.graph(input_shape, batch=batch).inputs]
    plan = model.inference_plan(specs).plan
    graph = model.graph(input_shape, training=True, batch=batch)
    found = _gradients(model, graph)
    arena = Placement(
        [*graph.inputs, graph.trace.rng], found, Schedule(found, [], None)
    ).arena_bytes
    return Memory(
        batch,
        weights=sum(p.size * np.dtype(p.dtype).itemsize for p in model.weights),
        inference=plan.arena_bytes,
        scratch=plan.scratch_bytes,
        # Updates come after all gradients are there, so none takes another's place.
        training=arena + sum(t.spec.nbytes for t in found),
        saved=_saved(graph, found),
    )


def saved_activations(model: AnyModel, graph: Graph) -> dict[str, int]:
    """By layer path: bytes of what the forward pass makes and the gradients read.

    Args:
        model: a model.
        graph: of it in training.

    Raises:
        NotDifferentiableError: the model cannot be trained.
    """
    return _saved(graph, _gradients(model, graph))


def _gradients(model: AnyModel, graph: Graph) -> list[Tensor]:
    """Gradients for all trainable weights, as a loss of the outputs makes them."""
    weights = [p.tensor for p in model.trainable_weights]
    means = [ops.mean(ops.square(t)) for t in graph.outputs if t.dtype.startswith("float")]
    if not means:
        return []
    return [g for g in gradients(reduce(ops.add, means), weights) if g is not None]


def _saved(graph: Graph, found: list[Tensor]) -> dict[str, int]:
    forward = {id(node) for node in topological(graph.outputs)}
    kept: dict[Tensor, None] = {}
    for node in topological(found):
        if id(node) in forward:
            continue
        for tensor in node.inputs:
            while tensor.node.op.is_view:
                tensor = tensor.node.inputs[0]
            if id(tensor.node) in forward and tensor.node.inputs:
                kept[tensor] = None
    saved: dict[str, int] = {}
    for tensor in kept:
        saved[tensor.node.layer] = saved.get(tensor.node.layer, 0) + tensor.spec.nbytes
    return saved
