# SPDX-License-Identifier: Apache-2.0
"""The table of a model: layers, output shapes, parameters, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments, passes
from fastcnn.errors import ArgumentError
from fastcnn.graph import Spec, Tensor, topological
from fastcnn.layers.base import Layer
from fastcnn.layers.input import InputLayer
from fastcnn.models.lowering import lower
from fastcnn.structure import flatten

if TYPE_CHECKING:
    from fastcnn.models.model import Model

COLUMNS = ("output_shape", "params", "macs")
_TITLES = {
    "output_shape": "Output shape",
    "params": "Params",
    "macs": "MACs",
    "trainable": "Trainable",
}


def macs_by_layer(model: Model, input_shape: Any = None) -> dict[str, int]:
    """Multiply-accumulates of one sample by layer path ("block/conv"), in running order.

    Convolutions and matrix products count; normalisation, pooling and activations do not, nor does
    what is made of weights alone, since that is not done for every sample.

    Args:
        model: a built model.
        input_shape: shape of one sample, or a list of them; the model's own when None.
    """
    shapes = _sample_shapes(model, input_shape)
    dtypes = [t.dtype for t in model.inputs] or [model.dtype] * len(shapes)
    specs = [Spec((1, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    lowered = lower(model, specs, training=False)
    counts: dict[str, int] = {}
    fixed = passes.fixed_nodes(lowered.outputs)
    for node in topological(lowered.outputs):
        if id(node) in fixed:
            continue  # of the weights alone, not of a sample
        macs = node.op.macs(*(t.spec for t in node.inputs)) if node.inputs else 0
        if macs:
            counts[node.layer] = counts.get(node.layer, 0) + macs
    return counts


def count_macs(self: Model, input_shape: Any = None) -> int:
    """Multiply-accumulates of one sample through convolutions and matrix products.

    Args:
        input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when None.
    """
    return sum(macs_by_layer(self, input_shape).values())


def _sample_shapes(model: Model, input_shape: Any) -> list[tuple[int, ...]]:
    if input_shape is None:
        shapes: list[Any] = [t.shape[1:] for t in model.inputs]
    else:
        shapes = [input_shape] if isinstance(input_shape[0], int) else list(input_shape)
    if not shapes or any(d is None for shape in shapes for d in shape):
        raise ArgumentError(
            f"model '{model.name}' does not fix its input sizes; pass input_shape=(H, W, C)"
        )
    return [tuple(shape) for shape in shapes]


def summary(
    self: Model,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Print the layers with output shapes, parameters and multiply-accumulates of one sample.

    Args:
        line_length: characters per line; as wide as needed when None.
        print_fn: receives each line; `print` when None.
        positions, layer_range: only None.
        expand_nested: also list the layers inside nested models.
        show_trainable: a column that tells whether training changes the layer.
        columns: any of "output_shape", "params", "macs", in the order to show.
    """
    where = f"model '{self.name}': summary"
    arguments.only_default(where, "positions", positions, None)
    arguments.only_default(where, "layer_range", layer_range, None)
    unknown = [c for c in columns if c not in COLUMNS]
    if unknown:
        raise ArgumentError(f"summary has no columns {unknown}; choose among {list(COLUMNS)}")
    columns = [*columns, "trainable"] if show_trainable else columns
    emit = print_fn or print
    for line in summary_lines(self, columns, expand_nested, line_length):
        emit(line)


def summary_lines(
    model: Model, columns: Sequence[str], expand_nested: bool, line_length: int | None
) -> list[str]:
    """The table as lines of text."""
    try:
        macs = macs_by_layer(model)
    except ArgumentError:
        macs = {}  # sizes unknown: the column shows dashes
    rows = [("Layer (type)", *(_TITLES[c] for c in columns))]
    for path, depth, layer in _walk(model, "", 0, expand_nested):
        cells = {
            "output_shape": _shapes(layer),
            "params": f"{layer.count_params(buffers=True):,}",
            "macs": _macs_of(path, macs),
            "trainable": _trainable(layer),
        }
        rows.append(
            ("  " * depth + f"{layer.name} ({type(layer).__name__})", *(cells[c] for c in columns))
        )
    lines = _table(rows, line_length)
    total, trainable = _count(model.weights), _count(model.trainable_weights)
    lines += [
        f"Model '{model.name}'",
        f"Total params: {total:,} ({_megabytes(model)})",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]
    if macs:
        lines.append(f"MACs per sample: {sum(macs.values()):,} (convolutions and matrix products)")
    return lines


def _walk(layer: Any, prefix: str, depth: int, expand: bool) -> list[tuple[str, int, Layer]]:
    found = []
    for inner in layer.sublayers:
        path = f"{prefix}{inner.name}"
        found.append((path, depth, inner))
        if expand and hasattr(inner, "layers"):
            found += _walk(inner, f"{path}/", depth + 1, expand)
    return found


def _macs_of(path: str, macs: dict[str, int]) -> str:
    if not macs:
        return "-"
    own = sum(n for p, n in macs.items() if p == path or p.startswith(f"{path}/"))
    return f"{own:,}"


def _trainable(layer: Layer) -> str:
    if not layer.weights:
        return "-"
    return "yes" if layer.trainable_weights else "no"


def _shapes(layer: Layer) -> str:
    if isinstance(layer, InputLayer):
        return _shape(layer.output)
    shapes = [_shape(t) for call in layer._calls[:1] for t in flatten(call.outputs)]
    return " ".join(shapes) or "?"


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join("None" if d is None else str(d) for d in tensor.shape) + ")"


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
    return f"{size / 2**20:.2f} MB" if size >= 2**20 else f"{size / 2**10:.2f} KB"
