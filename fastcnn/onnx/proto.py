# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX: a file, bytes or a ModelProto as plain dataclasses and NumPy arrays.

Source: the ONNX intermediate representation, https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from fastcnn.errors import ArgumentError, FileError, MissingDependencyError
from fastcnn.graph import Array, Shape

# Element types of TensorProto that can be computed with; others are refused by their names.
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
FLOATS = ("float16", "float32", "float64")


def require_onnx() -> Any:
    """The `onnx` package, or the line that installs it."""
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError(
            'ONNX files need the onnx package: pip install "fastcnn[onnx]"'
        ) from None
    return onnx


@final
@dataclass(frozen=True)
class NodeView:
    """One node, with its attributes as Python values and NumPy arrays."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    domain: str = ""

    @property
    def label(self) -> str:
        """The node's name, or that of its first output."""
        return self.name or next((o for o in self.outputs if o), self.op_type)


@final
@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype and shape (None: any size; no shape: any rank) of an input or output."""

    name: str
    dtype: str
    shape: Shape | None


@final
@dataclass(frozen=True)
class GraphView:
    """What an ONNX model computes.

    Attributes:
        opset: version of the default operator set.
        inputs: what has to be fed, without initializers.
        constants: initializers.
    """

    name: str
    opset: int
    nodes: tuple[NodeView, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    constants: dict[str, Array]
    readers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [n for node in self.nodes for n in node.inputs] + [o.name for o in self.outputs]
        for name in names:
            self.readers[name] = self.readers.get(name, 0) + 1


def read_model(source: Any) -> Any:
    """The ModelProto that a path, bytes or a ModelProto stand for, external data included.

    Raises:
        FileError: there is no such file, or it is not a whole ONNX model.
        MissingDependencyError: onnx is not installed.
    """
    onnx = require_onnx()
    if isinstance(source, onnx.ModelProto):
        model = source
    elif isinstance(source, (bytes, bytearray)):
        model = _parsed("the bytes given", lambda: onnx.load_model_from_string(bytes(source)))
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise FileError(f"there is no file '{path}'; check the path")
        model = _parsed(f"'{path}'", lambda: onnx.load_model(str(path)))
    else:
        raise ArgumentError(
            f"onnx.load: found {type(source).__name__}, expected a path, bytes or onnx.ModelProto"
        )
    if not model.HasField("graph") or not model.graph.output or not model.opset_import:
        raise FileError(
            "the ONNX model has no graph, no output or no operator set; it is damaged or something "
            "else than a model, so export it again"
        )
    return model


def _parsed(what: str, parse: Any) -> Any:
    onnx = require_onnx()
    damaged = importlib.import_module("google.protobuf.message").DecodeError
    try:
        return parse()
    except (damaged, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise FileError(
            f"{what} cannot be read as an ONNX model ({error}); it may be cut short, of another "
            "kind, or its external data may be missing, so export it again"
        ) from None


def dtype_name(element_type: int) -> str:
    """NumPy's name of a TensorProto element type, or ONNX's where it is not supported."""
    names = require_onnx().TensorProto.DataType
    return DTYPES.get(element_type) or str(names.Name(element_type)).lower()


def view(model: Any) -> GraphView:
    """The model's graph in plain Python."""
    graph = model.graph
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    constants = {t.name: _array(t) for t in graph.initializer}
    return GraphView(
        graph.name,
        opset,
        tuple(_node(n) for n in graph.node),
        tuple(_info(i) for i in graph.input if i.name not in constants),
        tuple(_info(o) for o in graph.output),
        constants,
    )


def _node(node: Any) -> NodeView:
    onnx = require_onnx()
    attributes = {
        a.name: _plain(a.name, onnx.helper.get_attribute_value(a), onnx) for a in node.attribute
    }
    domain = "" if node.domain == "ai.onnx" else node.domain
    return NodeView(
        node.op_type, node.name, tuple(node.input), tuple(node.output), attributes, domain
    )


def _plain(name: str, value: Any, onnx: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, (str, int, float)) or not isinstance(value, Iterable):
        return value
    return [_plain(name, v, onnx) for v in value]


def _array(tensor: Any) -> Array:
    """The tensor's values; of a dtype that is not supported, an array of its name."""
    if tensor.data_type not in DTYPES:
        return np.array(dtype_name(tensor.data_type), dtype=object)
    try:
        array: Array = require_onnx().numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OSError) as error:
        raise FileError(
            f"tensor '{tensor.name}' of the ONNX model cannot be read ({error}); the file is "
            "damaged or its external data is missing, so export it again"
        ) from None
    return array


def _info(info: Any) -> TensorInfo:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(info.name, str(kind), None)
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return TensorInfo(info.name, dtype_name(tensor.elem_type), shape)
