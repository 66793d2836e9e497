# SPDX-License-Identifier: Apache-2.0
"""Walking an ONNX graph: constants are folded, all else is drawn as layers and ops."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from fastcnn.errors import FastcnnError, FileError, ShapeError, UnsupportedError, located
from fastcnn.graph import Array, Placeholder, Tensor, topological
from fastcnn.layers import Layer
from fastcnn.onnx.call import Call, Result
from fastcnn.onnx.folding import FOLDERS
from fastcnn.onnx.operators import OPERATORS
from fastcnn.onnx.proto import DTYPES, GraphView, NodeView
from fastcnn.onnx.value import Order, Value, with_known_sizes
from fastcnn.plan import Plan

Found = Value | Array | None
# PyTorch's and Keras' "conv1.weight", Caffe2's "conv1_w_0": the layer's own name is in front.
_WEIGHT = re.compile(r"(.+)(?:[./_](?:weight|kernel|gamma|scale)|_[wsW])(?:_0)?")
_NUMBER = re.compile(r"n?\d*")


def check_supported(graph: GraphView) -> None:
    """UnsupportedError that names everything in the graph that fastcnn does not have."""
    problems: dict[str, list[str]] = {}
    for node in graph.nodes:
        problem = _problem(node, graph)
        if problem:
            problems.setdefault(problem, []).append(node.label)
    for info in (*graph.inputs, *graph.outputs):
        if info.dtype and info.dtype not in DTYPES.values():
            problems.setdefault(f"dtype {info.dtype}", []).append(info.name)
    for name, array in graph.constants.items():
        if array.dtype == object:
            problems.setdefault(f"dtype {array.item()}", []).append(name)
    if problems:
        listed = "; ".join(
            f"{what} ({len(where)}: {', '.join(where[:4])}{', ...' if len(where) > 4 else ''})"
            for what, where in sorted(problems.items())
        )
        raise UnsupportedError(
            f"ONNX model '{graph.name}' (operator set {graph.opset}) uses what fastcnn does not "
            f"have: {listed}; export the model without them"
        )


def _problem(node: NodeView, graph: GraphView) -> str:
    operator = OPERATORS.get(node.op_type)
    if node.domain or operator is None:
        return f"operator {node.domain}{'.' if node.domain else ''}{node.op_type}"
    if any(isinstance(v, np.ndarray) and v.dtype == object for v in node.attributes.values()):
        return f"{node.op_type} of a dtype that is not supported"
    problem = operator.problem(node, graph.opset, graph.constants)
    return f"{node.op_type} with {problem}" if problem else ""


def float_type(graph: GraphView) -> str:
    """float64 where anything of the model is, else float32, in which float16 is computed too."""
    dtypes = {i.dtype for i in graph.inputs} | {a.dtype.name for a in graph.constants.values()}
    return "float64" if "float64" in dtypes else "float32"


@final
class Drawing:
    """One walk over a graph.

    Args:
        graph: what to draw; `check_supported` has passed.
        inputs: symbolic values, or arrays that are known, by the names of the graph's inputs.
        file_batch: the batch size in the file where it is drawn as unknown.
    """

    def __init__(
        self, graph: GraphView, inputs: Mapping[str, Found], file_batch: int | None = None
    ) -> None:
        self.graph = graph
        self.dtype = float_type(graph)
        self.file_batch = file_batch
        self._found: dict[str, Found] = {**graph.constants, **inputs, "": None}
        fed = [v.tensor for v in inputs.values() if isinstance(v, Value)]
        self._names: set[str] = {t.node.layer for t in fed}
        self._arranged: dict[tuple[Value, Order], Tensor] = {}
        self._absorbed: dict[int, NodeView] = {}
        self._readers: dict[str, list[NodeView]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def run(self) -> list[Found]:
        """The graph's outputs."""
        for node in self.graph.nodes:
            if self._is_known(node):
                self._note(node, self._folded(node))
        absorbed: set[int] = set()
        for node in self.graph.nodes:
            if id(node) in absorbed or all(o in self._found for o in node.outputs):
                continue
            self._require_inputs(node)
            result = self._folded(node) if self._is_known(node) else self._drawn(node)
            last = self._absorbed.get(id(node), node)
            while id(last) in self._absorbed:
                last = self._absorbed[id(last)]
            absorbed.update(id(n) for n in self._absorbed.values())
            self._note(last, result)
        missing = [o.name for o in self.graph.outputs if self._found.get(o.name) is None]
        if missing:
            raise FileError(f"no node of the ONNX model makes its outputs {missing}")
        return [self._found[o.name] for o in self.graph.outputs]

    def _is_known(self, node: NodeView) -> bool:
        return all(isinstance(self._found.get(n), np.ndarray) or not n for n in node.inputs)

    def _require_inputs(self, node: NodeView) -> None:
        missing = [n for n in node.inputs if n not in self._found]
        if missing:
            raise FileError(
                f"ONNX node '{node.label}' reads {missing}, which nothing before it makes; the "
                "file is damaged or its nodes are out of order, so export it again"
            )

    def _call(self, node: NodeView) -> Call:
        return Call(node, self.graph.opset, [self._found[n] for n in node.inputs], self)

    def _note(self, node: NodeView, result: Result) -> None:
        results = [result] if isinstance(result, (Value, np.ndarray)) else list(result)
        for name, found in zip(node.outputs, results, strict=False):
            if name:
                self._found[name] = with_known_sizes(found)

    def _drawn(self, node: NodeView) -> Result:
        call = self._call(node)
        with _located(call.where):
            return OPERATORS[node.op_type].draw(call)

    def _folded(self, node: NodeView) -> Result:
        """The outputs of a node whose inputs are all known: by NumPy, or run on the engine."""
        if node.op_type in FOLDERS:
            call = self._call(node)
            with np.errstate(all="ignore"), _located(call.where):
                return FOLDERS[node.op_type](call)
        result = self._drawn(node)
        results = [result] if isinstance(result, (Value, np.ndarray)) else list(result)
        return [evaluated(r) if isinstance(r, Value) else r for r in results]

    # --- what calls ask for ----------------------------------------------------------------------

    def layer(
        self, call: Call, cls: type[Layer], x: Any, weights: dict[str, Array], **config: Any
    ) -> Any:
        """The output for `x` of a new layer with these weights."""
        name = self._unique(config.pop("name", "") or self._stem(call.node))
        layer = cls(name=name, dtype=self.dtype, **config)
        y = layer(x)
        for attribute, array in weights.items():
            getattr(layer, attribute).assign(array)
        return y

    def _stem(self, node: NodeView) -> str:
        known = (n for n in node.inputs[1:] if isinstance(self._found[n], np.ndarray))
        stems = (_WEIGHT.fullmatch(n) for n in known)
        found = next((m[1] for m in stems if m), "") or _without_type(node)
        return layer_name(found) or node.op_type

    def _unique(self, name: str) -> str:
        unique, count = name, 0
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique

    def absorb(self, call: Call, op_type: str, fits: Callable[[Array], bool]) -> Array | None:
        """The constant that the only reader of this node's output combines it with."""
        node = call.node
        while id(node) in self._absorbed:
            node = self._absorbed[id(node)]
        name = node.outputs[0]
        readers = self._readers.get(name, [])
        if len(readers) != 1 or any(o.name == name for o in self.graph.outputs):
            return None
        (reader,) = readers
        others = [self._found.get(n) for n in reader.inputs if n != name]
        if (reader.op_type, reader.domain, len(reader.inputs), len(others)) != (op_type, "", 2, 1):
            return None
        (other,) = others
        if not isinstance(other, np.ndarray) or other.dtype.kind != "f" or not fits(other):
            return None
        self._absorbed[id(node)] = reader
        return other

    def arranged(self, value: Value, order: Order) -> Tensor:
        """The value's tensor in `order`, drawn once however often it is asked for."""
        key = (value, order)
        if key not in self._arranged:
            self._arranged[key] = value.arranged(order).tensor
        return self._arranged[key]

    def number(self, value: Value) -> Array | None:
        """The numbers of a value that depends on no input of the model."""
        return None if placeholders([value.tensor]) else evaluated(value)


def _without_type(node: NodeView) -> str:
    """PyTorch's "/layer1/layer1.0/conv1/Conv" as "layer1.0.conv1"; of a number, its output."""
    if _NUMBER.fullmatch(node.name):
        return next(o for o in node.outputs if o)
    parts = node.name.strip("/").split("/")
    if len(parts) > 1 and parts[-1].startswith(node.op_type):
        parts.pop()
    kept: list[str] = []
    for part in parts:
        if kept and part.startswith(f"{kept[-1]}."):
            kept.pop()
        kept.append(part)
    return ".".join(kept)


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Errors inside name the node; what a file should not hold becomes an error of fastcnn."""
    try:
        yield
    except FastcnnError as error:
        raise error if str(error).startswith("ONNX node") else located(error, where) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ShapeError(
            f"{where} cannot be made ({type(error).__name__}: {error}); its sizes are not known or "
            "do not fit, so export the model with fixed input sizes"
        ) from error


def layer_name(name: str) -> str:
    """An ONNX name as that of a layer: no slashes, no blanks."""
    return re.sub(r"\s+", "_", name.strip("/").replace("/", "."))


def placeholders(tensors: Sequence[Tensor]) -> list[str]:
    """Names of the inputs that tensors are computed from."""
    return [n.layer for n in topological(tensors) if isinstance(n.op, Placeholder)]


def evaluated(value: Value) -> Array:
    """The numbers of a value that depends on constants only, computed by the engine."""
    tensor = value.natural()
    backend = "cpu" if tensor.dtype == "float32" else "reference"
    (array,) = Plan([], [tensor], backend=backend).run()
    dtypes = {"bool": bool, "int": np.int64, "position": np.int64}
    return array.astype(dtypes.get(value.kind, array.dtype))


def natural_outputs(found: Sequence[Found]) -> list[Any]:
    """Outputs in ONNX's own order of axes."""
    return [f.natural() if isinstance(f, Value) else f for f in found]
