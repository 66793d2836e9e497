# SPDX-License-Identifier: Apache-2.0
"""What the layers of a model hold, cost and compute: parameters, MACs, FLOPs, activations.

One name for one thing. A MAC is a multiply-accumulate of a convolution or a matrix product, and
nothing else counts as one. A FLOP is a floating-point operation; `analysis.flops` has the rule of
every op, 2 per MAC among them. What is computed from weights alone counts nothing, since that is
not done for every sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from fastcnn import passes
from fastcnn.analysis.flops import flops_of
from fastcnn.analysis.lookup import AnyModel, Graph, layer_paths
from fastcnn.graph import Node, Tensor, topological


@final
@dataclass(frozen=True)
class LayerCount:
    """Numbers of one layer, for one sample.

    Attributes:
        path: names of the layers around it and its own ("block/conv").
        kind: name of its class.
        output_shape: of one sample; None where it was not run.
        params: weights, biases, gammas and betas, as `count_params()`.
        macs: multiply-accumulates.
        flops: floating-point operations.
        activation_bytes: bytes of what its ops make in memory of their own: neither views of other
            tensors nor ops that can overwrite what they read (bias, relu, batch normalization).
    """

    path: str
    kind: str
    output_shape: tuple[int, ...] | None
    params: int
    macs: int
    flops: int
    activation_bytes: int


@final
@dataclass(frozen=True)
class Count:
    """Numbers of a model, for one sample.

    Attributes:
        layers: of the outer layers in order, each with what is inside it.
        params, macs, flops, activation_bytes: of all. Ops outside of any layer are part of it, and
            weights that layers share are counted once.
    """

    layers: tuple[LayerCount, ...]
    params: int
    macs: int
    flops: int
    activation_bytes: int

    def __str__(self) -> str:
        titles = ("layer", "kind", "output shape", "params", "MACs", "FLOPs", "activation bytes")
        rows: list[tuple[str, ...]] = [titles]
        for row in self.layers:
            shape = "-" if row.output_shape is None else str(row.output_shape)
            numbers = (row.params, row.macs, row.flops, row.activation_bytes)
            rows.append((row.path, row.kind, shape, *(f"{n:,}" for n in numbers)))
        totals = (self.params, self.macs, self.flops, self.activation_bytes)
        rows.append(("total", "", "", *(f"{n:,}" for n in totals)))
        widths = [max(len(row[c]) for row in rows) for c in range(len(titles))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )


def count(model: AnyModel, input_shape: Any = None, expand_nested: bool = False) -> Count:
    """Count what each layer of a model holds and does, for one sample in inference.

    Args:
        model: a model.
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
        expand_nested: also list the layers inside layers.

    Raises:
        ArgumentError: sizes that are not known.
    """
    return count_graph(model, model.graph(input_shape), expand_nested)


def count_graph(model: AnyModel, graph: Graph, expand_nested: bool = False) -> Count:
    """`count` of a model that has been made a flat graph of one sample."""
    work = _work_by_path(graph)
    rows = []
    for path, layer in layer_paths(model):
        if "/" in path and not expand_nested:
            continue
        own = _sum(work, [p for p in work if p == path or p.startswith(f"{path}/")])
        made = graph.trace.outputs.get(path) or _inputs_named(graph, path)
        shape = made[0].spec.sizes[1:] if made else None
        rows.append(LayerCount(path, type(layer).__name__, shape, layer.count_params(), *own))
    params = sum(p.size for p in model.weights if p.trainable)
    return Count(tuple(rows), params, *_sum(work, list(work)))


def _inputs_named(graph: Graph, path: str) -> list[Tensor]:
    return [t for t in graph.inputs if t.node.layer == path]


Work = tuple[int, int, int]  # macs, flops, activation bytes


def _sum(work: dict[str, Work], paths: Sequence[str]) -> Work:
    macs, flops, nbytes = (sum(work[p][i] for p in paths) for i in range(3))
    return macs, flops, nbytes


def _work_by_path(graph: Graph) -> dict[str, Work]:
    found: dict[str, Work] = {}
    for node in sample_nodes(graph):
        macs = node.op.macs(*(t.spec for t in node.inputs))
        made = () if node.op.is_view else enumerate(node.specs)
        nbytes = sum(spec.nbytes for i, spec in made if i not in node.op.inplace)
        old = found.get(node.layer, (0, 0, 0))
        found[node.layer] = (old[0] + macs, old[1] + flops_of(node), old[2] + nbytes)
    return found


def sample_nodes(graph: Graph) -> list[Node]:
    """Nodes that compute something for every sample, in running order."""
    fixed = passes.fixed_nodes(graph.outputs)
    return [n for n in topological(graph.outputs) if n.inputs and id(n) not in fixed]


def count_macs(model: AnyModel, input_shape: Any = None) -> int:
    """`Model.count_macs`."""
    nodes = sample_nodes(model.graph(input_shape))
    return sum(n.op.macs(*(t.spec for t in n.inputs)) for n in nodes)


def count_flops(model: AnyModel, input_shape: Any = None) -> int:
    """`Model.count_flops`."""
    return sum(map(flops_of, sample_nodes(model.graph(input_shape))))
