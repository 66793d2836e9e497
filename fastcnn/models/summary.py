# SPDX-License-Identifier: Apache-2.0
"""The table of a model: layers, output shapes, and whatever the analyses know about them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments
from fastcnn.errors import ArgumentError, NotDifferentiableError
from fastcnn.graph import Shape
from fastcnn.layers.base import Layer
from fastcnn.layers.input import InputLayer
from fastcnn.structure import flatten

if TYPE_CHECKING:
    from fastcnn.analysis import LayerCount, Prediction, ReceptiveField
    from fastcnn.models.model import Model

COLUMNS = ("output_shape", "params", "macs")
_TITLES = {
    "output_shape": "Output shape",
    "params": "Params",
    "macs": "MACs",
    "flops": "FLOPs",
    "receptive_field": "Field",
    "stride": "Stride",
    "memory": "Memory",
    "training_memory": "Training",
    "milliseconds": "ms",
    "trainable": "Trainable",
}
CHOICES = tuple(name for name in _TITLES if name != "trainable")


def summary(
    self: Model,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
    columns: Sequence[str] = COLUMNS,
    input_shape: Any = None,
) -> None:
    """Print the layers with output shapes, parameters and what else is asked for, of one sample.

    Args:
        line_length: characters per line; as wide as needed when None.
        print_fn: receives each line; `print` when None.
        positions, layer_range: only None.
        expand_nested: also list the layers inside nested models.
        show_trainable: a column that tells whether training changes the layer.
        columns: in the order to show, any of
            "output_shape", "params" (with running statistics),
            "macs", "flops": what the layer does for one sample, see `analysis.count`;
            "receptive_field", "stride": pixels of the input that its units see, and between the
            fields of neighbours, see `analysis.receptive_field`;
            "memory": bytes that its output takes in inference;
            "training_memory": bytes that it makes and the gradients read later;
            "milliseconds": predicted for one sample on this machine, see `analysis.predict_time`.
        input_shape: shape of one sample, or a list of shapes; the model's own when None.
    """
    where = f"model '{self.name}': summary"
    arguments.only_default(where, "positions", positions, None)
    arguments.only_default(where, "layer_range", layer_range, None)
    unknown = [c for c in columns if c not in CHOICES]
    if unknown:
        raise ArgumentError(f"summary has no columns {unknown}; choose among {list(CHOICES)}")
    columns = [*columns, "trainable"] if show_trainable else list(columns)
    emit = print_fn or print
    for line in summary_lines(self, columns, expand_nested, line_length, input_shape):
        emit(line)


def summary_lines(
    model: Model,
    columns: Sequence[str],
    expand_nested: bool,
    line_length: int | None,
    input_shape: Any = None,
) -> list[str]:
    """The table as lines of text."""
    facts = _Facts(model, columns, expand_nested, input_shape)
    rows = [("Layer (type)", *(_TITLES[c] for c in columns))]
    for path, depth, layer in _walk(model, "", 0, expand_nested):
        name = "  " * depth + f"{layer.name} ({type(layer).__name__})"
        rows.append((name, *(facts.cell(column, path, layer) for column in columns)))
    return [*_table(rows, line_length), f"Model '{model.name}'", *facts.totals()]


class _Facts:
    """What the columns show, worked out once for all layers."""

    def __init__(
        self, model: Model, columns: Sequence[str], expand_nested: bool, input_shape: Any
    ) -> None:
        from fastcnn.analysis import (  # not before they are needed
            counts,
            field,
            footprint,
            roofline,
        )

        self._model, self._columns = model, columns
        self._sized = input_shape is not None
        self._counts: dict[str, LayerCount] = {}
        self._fields: dict[str, ReceptiveField] = {}
        self._saved: Mapping[str, float] = {}
        self._time: Prediction | None = None
        self._total: Any = None
        try:
            graph = model.graph(input_shape)
        except ArgumentError:
            if input_shape is not None:
                raise
            return  # sizes unknown: the columns show dashes
        self._total = counts.count_graph(model, graph, expand_nested)
        self._counts = {row.path: row for row in self._total.layers}
        if {"receptive_field", "stride"} & set(columns) and graph.inputs[0].ndim > 2:
            layers = [(p, ts[0]) for p, ts in graph.trace.outputs.items() if p in self._counts]
            layers += [(t.node.layer, t) for t in graph.inputs[:1]]
            self._fields = {found.layer: found for found in field.fields_of(graph, layers)}
        if "training_memory" in columns:
            with contextlib.suppress(NotDifferentiableError):
                training = model.graph(input_shape, training=True)
                self._saved = footprint.saved_activations(model, training)
        if "milliseconds" in columns and model.dtype == "float32":
            self._time = roofline.predict_time(model, input_shape)

    def cell(self, column: str, path: str, layer: Layer) -> str:
        """What stands in a column of a layer's row."""
        counted, field = self._counts.get(path), self._fields.get(path)
        if column == "output_shape":
            known = counted.output_shape if counted is not None and self._sized else None
            return _shapes(layer) if known is None else _text((None, *known))
        if column == "params":
            return f"{layer.count_params(buffers=True):,}"
        if column == "trainable":
            return _trainable(layer)
        if column in ("receptive_field", "stride"):
            numbers = () if field is None else field.size if column[0] == "r" else field.stride
            words = [f"{n:g}" for n in dict.fromkeys(numbers) if n == n]  # NaN: by no rule
            return "x".join(words) or "-"
        if counted is None:
            return "-"
        if column == "memory":
            return _bytes(counted.activation_bytes)
        if column == "training_memory":
            return _bytes(_below(path, self._saved)) if self._saved else "-"
        if column == "milliseconds":
            return "-" if self._time is None else f"{_below(path, self._time.layers) * 1e3:.3f}"
        return f"{getattr(counted, column):,}"

    def totals(self) -> list[str]:
        """Lines under the table."""
        weights, trainable = _count(self._model.weights), _count(self._model.trainable_weights)
        lines = [
            f"Total params: {weights:,} ({_megabytes(self._model)})",
            f"Trainable params: {trainable:,}",
            f"Non-trainable params: {weights - trainable:,}",
        ]
        total = self._total
        if total is None:
            return lines
        if total.macs:
            lines.append(f"MACs per sample: {total.macs:,} (convolutions and matrix products)")
        if "flops" in self._columns:
            lines.append(f"FLOPs per sample: {total.flops:,} (2 per MAC, and all other ops)")
        if "memory" in self._columns:
            lines.append(f"Activations per sample: {_bytes(total.activation_bytes)}")
        if self._saved:
            kept = _bytes(int(sum(self._saved.values())))
            lines.append(f"Activations kept for training, per sample: {kept}")
        if self._time is not None:
            lines.append(f"Predicted time of one sample: {self._time.seconds * 1e3:.2f} ms")
        return lines


def _below(path: str, found: Mapping[str, float]) -> float:
    """Sum of what belongs to a layer and those inside it."""
    return sum(n for p, n in found.items() if p == path or p.startswith(f"{path}/"))


def _bytes(nbytes: float) -> str:
    if not nbytes:
        return "0"
    return f"{nbytes / 2**20:.2f} MB" if nbytes >= 2**20 else f"{nbytes / 2**10:.2f} KB"


def _walk(layer: Any, prefix: str, depth: int, expand: bool) -> list[tuple[str, int, Layer]]:
    found = []
    for inner in layer.sublayers:
        path = f"{prefix}{inner.name}"
        found.append((path, depth, inner))
        if expand and hasattr(inner, "layers"):
            found += _walk(inner, f"{path}/", depth + 1, expand)
    return found


def _trainable(layer: Layer) -> str:
    if not layer.weights:
        return "-"
    return "yes" if layer.trainable_weights else "no"


def _shapes(layer: Layer) -> str:
    if isinstance(layer, InputLayer):
        return _text(layer.output.shape)
    shapes = [_text(t.shape) for call in layer._calls[:1] for t in flatten(call.outputs)]
    return " ".join(shapes) or "?"


def _text(shape: Shape) -> str:
    return "(" + ", ".join(str(d) for d in shape) + ")"


def _table(rows: Sequence[Sequence[str]], line_length: int | None) -> list[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    if line_length is not None:
        rest = sum(widths[1:]) + 2 * (len(widths) - 1)
        widths[0] = max(8, line_length - rest)
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [rule]
    for number, row in enumerate(rows):
        cells = [row[0][: widths[0]].ljust(widths[0])]
        # Numbers line up at their right, shapes at their left.
        for title, cell, width in zip(rows[0][1:], row[1:], widths[1:], strict=True):
            cells.append(cell.ljust(width) if title == "Output shape" else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append(rule)
    return [*lines, rule]


def _count(parameters: Sequence[Any]) -> int:
    return sum(p.size for p in parameters)


def _megabytes(model: Model) -> str:
    size = sum(p.size * np.dtype(p.dtype).itemsize for p in model.weights)
    return _bytes(size)
