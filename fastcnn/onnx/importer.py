# SPDX-License-Identifier: Apache-2.0
"""ONNX files as models."""

from __future__ import annotations

from typing import Any

from fastcnn import arguments
from fastcnn.errors import FastcnnError, ShapeError
from fastcnn.graph import Array, Tensor, constant
from fastcnn.layers import Input
from fastcnn.models import Functional, Model
from fastcnn.onnx.call import ValueNeeded
from fastcnn.onnx.drawing import Drawing, Found, check_supported, layer_name, placeholders
from fastcnn.onnx.proto import FLOATS, GraphView, TensorInfo, read_model, view
from fastcnn.onnx.value import Value, channels_last, natural

LAYOUTS = ("NHWC", "NCHW")


def load(source: Any, layout: str = "NHWC", name: str | None = None) -> Model:
    """An ONNX model as a Model: to predict with, to train on, to save.

    Images are (N, H, W, C) here and (N, C, H, W) in ONNX: inputs and outputs of rank 4 change
    their order of axes, all others stay. Convolutions, dense layers and normalisations become
    layers whose weights can be trained, named after the weights or nodes of the file; other
    constants stay as they are. The batch can have any size where the graph allows it, even if the
    file has a fixed one.

    Args:
        source: path, bytes or onnx.ModelProto; external data is looked for beside the file.
        layout: "NCHW" keeps the file's own order of axes at inputs and outputs.
        name: of the model; the graph's when None.

    Raises:
        UnsupportedError: all that fastcnn does not have, at once: operators, attributes, dtypes.
        FileError: no such file, or not a whole ONNX model.
        ShapeError: sizes that the graph computes from its inputs, or that do not fit.
        MissingDependencyError: onnx is not installed.
    """
    arguments.one_of("onnx.load", "layout", layout, LAYOUTS)
    graph = view(read_model(source))
    check_supported(graph)
    batch = _fixed_batch(graph)
    try:
        return _model(graph, layout, name, batch)
    except FastcnnError:
        if batch is None:
            raise
    # The graph counts on the batch size it was written with.
    return _model(graph, layout, name, None)


def _fixed_batch(graph: GraphView) -> int | None:
    """The batch size that all images and rows of the file have, where it is fixed."""
    first = {i.shape[0] for i in graph.inputs if i.shape and len(i.shape) > 1}
    return first.pop() if len(first) == 1 else None


def _model(graph: GraphView, layout: str, name: str | None, batch: int | None) -> Model:
    inputs: dict[str, Found] = {i.name: _input(i, layout, batch) for i in graph.inputs}
    drawing = Drawing(graph, inputs, batch)
    try:
        outputs = [_output(found, layout) for found in drawing.run()]
    except ValueNeeded as needed:
        raise ShapeError(
            f"{needed.where} is computed from the inputs {placeholders(needed.tensors)} of the "
            "model, expected a number that is known when it is loaded; export the model with fixed "
            "sizes, or run it by fastcnn.onnx.backend"
        ) from None
    tensors = [v.tensor for v in inputs.values() if isinstance(v, Value)]
    return Functional(
        tensors[0] if len(tensors) == 1 else tensors,
        outputs[0] if len(outputs) == 1 else outputs,
        name=name or layer_name(graph.name) or None,
        dtype=drawing.dtype,
    )


def _input(info: TensorInfo, layout: str, batch: int | None) -> Value:
    if info.shape is None:
        raise ShapeError(
            f"input '{info.name}' of the ONNX model has no rank, expected a shape; export the "
            "model with the number of its axes fixed"
        )
    shape = info.shape
    if batch is not None and len(shape) > 1:
        shape = (None, *shape[1:])
    rank = len(shape)
    order = channels_last(rank) if layout == "NHWC" and rank == 4 else natural(rank)
    dtype, kind = engine_dtype(info.dtype)
    lying = tuple(shape[axis] for axis in order)
    tensor = Input(batch_shape=lying, dtype=dtype, name=layer_name(info.name) or None)
    return Value(tensor, order, kind)


def engine_dtype(dtype: str) -> tuple[str, str]:
    """The dtype in which ONNX tensors of `dtype` are fed, and their kind."""
    if dtype in FLOATS:
        return ("float64" if dtype == "float64" else "float32"), "float"
    if dtype == "bool":
        return "float32", "bool"
    return (dtype if dtype in ("uint8", "uint32") else "int32"), "int"


def _output(found: Found, layout: str) -> Tensor:
    if isinstance(found, Value):
        rank = found.rank
        wanted = channels_last(rank) if layout == "NHWC" and rank == 4 else natural(rank)
        return found.arranged(wanted).tensor
    array: Array = found  # type: ignore[assignment]
    return constant(array)
