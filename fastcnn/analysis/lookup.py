# SPDX-License-Identifier: Apache-2.0
"""Models seen from outside: the graph that runs, and where in it a layer's output stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from fastcnn.errors import ArgumentError
from fastcnn.graph import Parameter, Spec, Tensor
from fastcnn.layers.base import Layer
from fastcnn.passes.algorithms import Algorithms


class _Trace(Protocol):
    outputs: dict[str, list[Tensor]]
    rng: Tensor


class Graph(Protocol):
    """A model as one flat graph, as `Model.graph` returns it."""

    @property
    def inputs(self) -> list[Tensor]:
        """Placeholders."""

    @property
    def outputs(self) -> list[Tensor]:
        """In the order of the model's outputs."""

    @property
    def trace(self) -> Any:
        """Outputs of every layer by path, new states, random state, added losses."""


class AnyModel(Protocol):
    """What the analyses need of a model."""

    name: str

    @property
    def sublayers(self) -> list[Layer]:
        """The layers in order."""

    @property
    def weights(self) -> list[Parameter]:
        """All weights."""

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Weights that training changes."""

    def graph(self, input_shape: Any = None, training: bool = False, batch: int = 1) -> Graph:
        """The model as one flat graph."""

    def inference_plan(self, specs: Sequence[Spec]) -> Any:
        """What `predict` runs."""

    def algorithms(self) -> Algorithms:
        """Those that plans of the model may choose from."""


def layer_paths(model: AnyModel, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """All layers with their paths ("block/conv"), each before those inside it."""
    for layer in model.sublayers:
        path = f"{prefix}{layer.name}"
        yield path, layer
        yield from layer_paths(layer, f"{path}/")  # type: ignore[arg-type]


def output_of(model: AnyModel, graph: Graph, layer: Any) -> tuple[str, Tensor]:
    """Path and first output of a layer in `graph`, of its last call; the model's when None.

    Args:
        model: what `graph` was made of.
        graph: its flat graph.
        layer: a layer, its path, or its name where no other layer has that.

    Raises:
        ArgumentError: the model has no such layer, or several.
    """
    if layer is None or layer is model:
        return model.name, graph.outputs[0]
    known: dict[str, list[Tensor]] = graph.trace.outputs
    if isinstance(layer, str):
        ends = [path for path in known if path.rpartition("/")[2] == layer]
        paths = [layer] if layer in known else ends
    else:
        paths = [path for path, other in layer_paths(model) if other is layer and path in known]
    paths += [t.node.layer for t in graph.inputs if _names(layer) == t.node.layer and not paths]
    if len(paths) == 1:
        path = paths[0]
        inputs = {t.node.layer: [t] for t in graph.inputs}
        return path, (known.get(path) or inputs[path])[0]
    if paths:
        raise ArgumentError(
            f"model '{model.name}' has several layers '{_names(layer)}'; name one by its path, of "
            f"{paths}"
        )
    raise ArgumentError(
        f"model '{model.name}' has no layer '{_names(layer)}'; give one of its layers, or a path "
        f"like {list(known)[:4]}"
    )


def _names(layer: Any) -> str:
    return layer if isinstance(layer, str) else getattr(layer, "name", repr(layer))
