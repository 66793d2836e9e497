# SPDX-License-Identifier: Apache-2.0
"""A model as an ONNX file: lowered for inference, its ops written one by one.

Source: ONNX operator schemas, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import fastcnn
from fastcnn import arguments
from fastcnn.errors import ArgumentError, UnsupportedError
from fastcnn.graph import Node, Placeholder, Spec, Tensor, topological
from fastcnn.models.lowering import batch_specs, lower
from fastcnn.models.model import Model
from fastcnn.models.state import entries
from fastcnn.onnx.export_graph import (
    TYPES,
    CannotExport,
    GraphWriter,
    Order,
    Record,
    as_drawn,
    channels_first,
)
from fastcnn.onnx.export_registry import EMITTERS, REASONS
from fastcnn.onnx.proto import require_onnx
from fastcnn.utils.atomic import write_atomically

OLDEST_OPSET = 11
LARGEST = 2**31 - 2**20  # bytes that a protobuf message can hold, less room for the nodes
LAYOUTS = ("NCHW", "NHWC")

Described = tuple[str, str, list[Any]]  # name, dtype and sizes of an input or output


def export(
    model: Model,
    path: str | os.PathLike[str],
    opset: int = 17,
    input_shape: Any = None,
    layout: str = "NCHW",
) -> None:
    """Write `model` as an ONNX file, for inference.

    Weights have the names of `state_dict()`, and those of convolutions, dense layers and
    normalisations its layout too; batch normalisation is not folded, so that a reader may train the
    network further. What only depends on weights is computed beforehand. Inputs and outputs are
    called as the model's, nodes after their layers.

    Args:
        model: any model that has been built, or gets an `input_shape`.
        path: the file; an old one is replaced once the new one is whole.
        opset: version of ONNX's operators, from 11 to the newest that the installed onnx knows.
        input_shape: shape of the input with the batch, e.g. (None, 32, 32, 3), or a list of them;
            the model's own when None. None in a shape is left open in the file too.
        layout: "NCHW": inputs and outputs of four axes have their channels second; "NHWC": they
            are as here. Others always are.

    Raises:
        UnsupportedError: operations that ONNX has nothing for, all of them named; or more than 2 GB
            of weights.
        ArgumentError: no model, an opset or layout that there is not, or an input of unknown shape.
        ShapeError: `input_shape` does not fit.
        FileError: the file cannot be written.
        MissingDependencyError: onnx is not installed.
    """
    if not isinstance(model, Model):
        raise ArgumentError(f"onnx.export: found a {type(model).__name__}, expected a Model")
    where = f"model '{model.name}': export"
    target = arguments.path(where, "path", path)
    _check_opset(where, opset)
    arguments.one_of(where, "layout", layout, LAYOUTS)
    specs = batch_specs(model, input_shape, where)
    proto = _graph_proto(model, specs, opset, layout == "NCHW", where)
    write_atomically(target, proto.SerializeToString())


def _check_opset(where: str, opset: Any) -> None:
    newest = require_onnx().defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise ArgumentError(
            f"{where}: found opset={opset!r}, expected {OLDEST_OPSET} to {newest}, the newest that "
            "the installed onnx knows; try opset=17"
        )


def _graph_proto(
    model: Model, specs: Sequence[Spec], opset: int, channels_second: bool, where: str
) -> Any:
    """The model as onnx.ModelProto."""
    lowered = lower(model, specs, training=False)
    nodes = topological(lowered.outputs)
    names = {id(entry.parameter): name for name, entry in entries(model).items()}
    g = GraphWriter(opset, names, nodes, lowered.outputs)
    inputs = _begin(g, model, lowered.inputs, channels_second)
    problems = _write(g, nodes)
    if problems:
        raise UnsupportedError(
            f"{where}: ONNX (opset {opset}) has nothing for {'; '.join(problems)}. Nothing was "
            "written"
        )
    outputs = _finish(g, model, lowered.outputs, channels_second)
    size = sum(array.nbytes for array in g.initializers.values())
    if size > LARGEST:
        raise UnsupportedError(
            f"{where}: the weights take {size} bytes, but an ONNX file holds less than 2 GB; "
            "save it with model.save"
        )
    return _model_proto(g, model.name, inputs, outputs)


def _order(tensor: Tensor, channels_second: bool) -> Order:
    rank = tensor.ndim
    return channels_first(rank) if channels_second and rank == 4 else as_drawn(rank)


def _begin(
    g: GraphWriter, model: Model, inputs: Sequence[Tensor], channels_second: bool
) -> list[Described]:
    """Note the inputs."""
    described = []
    for wanted, tensor in zip(
        model.input_names or _numbered("input", len(inputs)), inputs, strict=True
    ):
        name, order = g.unique(wanted), _order(tensor, channels_second)
        g.put(tensor, name, order)
        described.append((name, tensor.dtype, _sizes(tensor, order, name)))
    return described


def _write(g: GraphWriter, nodes: Sequence[Node]) -> list[str]:
    """Write all nodes; what cannot be written, and why."""
    problems = []
    lost: set[Tensor] = set()
    for node in nodes:
        g.fold(node)
    for node in nodes:
        if isinstance(node.op, Placeholder):
            continue
        if any(t in lost for t in node.inputs):
            lost.update(node.outputs)
            continue
        if all(g.known(t) for t in node.outputs):
            continue
        g.layer = node.layer
        try:
            _emit(g, node)
        except CannotExport as reason:
            where = f"layer '{node.layer}' ({node.op.name})" if node.layer else f"'{node.op.name}'"
            problems.append(f"{where}: {reason}")
            lost.update(node.outputs)
    return problems


def _emit(g: GraphWriter, node: Node) -> None:
    name = node.op.name
    if name not in EMITTERS:
        raise CannotExport(REASONS.get(name, "fastcnn does not know how to write it"))
    EMITTERS[name](g, node, node.op)


def _finish(
    g: GraphWriter, model: Model, outputs: Sequence[Tensor], channels_second: bool
) -> list[Described]:
    """Name what the graph returns."""
    g.layer = ""
    orders = [_order(tensor, channels_second) for tensor in outputs]
    values = [g.take(tensor, order) for tensor, order in zip(outputs, orders, strict=True)]
    made = {name for record in g.records for name in record.outputs}
    names = [g.unique(name) for name in model.output_names or _numbered("output", len(outputs))]
    renamed: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        if value in made and value not in renamed:
            renamed[value] = name
        else:
            # An input, a weight, or a second name of an output.
            g.records.append(Record("Identity", f"{name}/Identity", [value], [name]))
    for record in g.records:
        record.inputs = [renamed.get(n, n) for n in record.inputs]
        record.outputs = [renamed.get(n, n) for n in record.outputs]
    return [
        (name, tensor.dtype, _sizes(tensor, order))
        for name, tensor, order in zip(names, outputs, orders, strict=True)
    ]


def _sizes(tensor: Tensor, order: Order, name: str = "") -> list[Any]:
    """Sizes of an input or output; open ones have a name, but those that only ONNX can know."""
    sizes: list[Any] = [tensor.shape[axis] for axis in order]
    for i, axis in enumerate(order):
        if sizes[i] is None and axis == 0:
            sizes[i] = "N"
        elif sizes[i] is None and name:
            sizes[i] = f"{name}.{'HW'[axis - 1] if tensor.ndim == 4 else axis}"
    return sizes


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def _model_proto(
    g: GraphWriter,
    name: str,
    inputs: Sequence[Described],
    outputs: Sequence[Described],
) -> Any:
    from onnx import helper, numpy_helper

    def described(values: Sequence[Described]) -> list[Any]:
        return [helper.make_tensor_value_info(n, TYPES[d], sizes) for n, d, sizes in values]

    graph = helper.make_graph(
        [helper.make_node(r.kind, r.inputs, r.outputs, r.name, **r.attributes) for r in g.records],
        name,
        described(inputs),
        described(outputs),
        [numpy_helper.from_array(array, n) for n, array in g.initializers.items()],
    )
    opsets = [helper.make_opsetid("", g.opset)]
    return helper.make_model(
        graph,
        opset_imports=opsets,
        # The oldest that has these operators: runtimes refuse files newer than they are.
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="fastcnn",
        producer_version=fastcnn.__version__,
        doc_string=f"'{name}', exported by fastcnn {fastcnn.__version__}",
    )
