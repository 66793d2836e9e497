# SPDX-License-Identifier: Apache-2.0
"""The standard backend: ONNX models run on fastcnn with ONNX's own layouts and dtypes.

    rep = fastcnn.onnx.backend.prepare(model)        # an onnx.ModelProto, a path or bytes
    (y,) = rep.run([x])                              # x is (N, C, H, W), as in the file

The engine's graphs are static. A model is compiled for the shapes it is run with, and where a node
reads shapes, axes or other parameters from an input of the model, for the values of that input;
what was compiled is kept for the last few of them. float32 and float16 models run on the C kernels
in float32, float64 ones on the reference backend; what is computed from integers alone is folded by
NumPy when the model is compiled.

`FastcnnBackend` is the same as a class, derived from `onnx.backend.base.Backend`.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, ShapeError, UnsupportedError
from fastcnn.graph import Array, Tensor, placeholder
from fastcnn.models import Functional
from fastcnn.models.lowering import InferencePlan
from fastcnn.onnx.call import ValueNeeded
from fastcnn.onnx.drawing import (
    Drawing,
    Found,
    check_supported,
    evaluated,
    float_type,
    placeholders,
)
from fastcnn.onnx.importer import engine_dtype
from fastcnn.onnx.proto import (
    FLOATS,
    GraphView,
    TensorInfo,
    read_model,
    require_onnx,
    view,
)
from fastcnn.onnx.value import Value, natural

PROGRAMS_KEPT = 8
INT32 = np.iinfo(np.int32)


def is_compatible(model: Any, device: str = "CPU", **kwargs: Any) -> bool:
    """Whether `prepare` takes the model."""
    try:
        check_supported(view(read_model(model)))
    except FastcnnError:
        return False
    return supports_device(device)


def prepare(model: Any, device: str = "CPU", **kwargs: Any) -> Rep:
    """A model made ready to run.

    Args:
        model: onnx.ModelProto, path or bytes.
        device: "CPU".

    Raises:
        UnsupportedError: all that fastcnn does not have, at once.
        FileError: not a whole ONNX model.
        ArgumentError: another device.
    """
    _require_cpu(device)
    return Rep(view(read_model(model)))


def run_model(model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
    """Prepare the model and run it once."""
    return prepare(model, device, **kwargs).run(inputs)


def run_node(
    node: Any,
    inputs: Any,
    device: str = "CPU",
    outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """Run one onnx.NodeProto on arrays.

    Args:
        inputs: arrays in the order of the node's inputs.
        outputs_info: dtype and shape of each output; dtypes are worked out when None.
        opset_version: of the node; the newest one that onnx knows when not given.
    """
    _require_cpu(device)
    onnx = require_onnx()
    names = list(dict.fromkeys(n for n in node.input if n))
    arrays = [np.asarray(a) for a in inputs]
    if len(arrays) != len(names):
        raise ArgumentError(
            f"onnx.backend.run_node: found {len(arrays)} inputs, expected {len(names)} for {names}"
        )
    opset = kwargs.get("opset_version") or onnx.defs.onnx_opset_version()
    dtypes = [np.dtype(d).name for d, _ in outputs_info or ()] or [""] * len(node.output)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], node.op_type, [], []),
        opset_imports=[onnx.helper.make_opsetid(node.domain, opset)],
    )
    graph = view(model)
    described = GraphView(
        node.op_type,
        opset,
        graph.nodes,
        tuple(TensorInfo(n, a.dtype.name, a.shape) for n, a in zip(names, arrays, strict=True)),
        tuple(TensorInfo(n, d, None) for n, d in zip(node.output, dtypes, strict=True) if n),
        {},
    )
    return Rep(described).run(arrays)


def supports_device(device: str) -> bool:
    """Whether models run there: "CPU" only."""
    return str(device).split(":")[0] == "CPU"


def _require_cpu(device: str) -> None:
    if not supports_device(device):
        raise ArgumentError(f"onnx.backend: found device={device!r}, expected 'CPU'")


@final
class Rep:
    """An ONNX model ready to run; the standard's BackendRep.

    Attributes:
        kernels: names of the kernels that the last run called.
    """

    def __init__(self, graph: GraphView) -> None:
        check_supported(graph)
        self.graph = graph
        self.kernels: tuple[str, ...] = ()
        self._fixed: set[str] = set()
        self._programs: OrderedDict[Hashable, _Program] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for arrays in the order of the model's inputs, or by their names.

        Raises:
            ShapeError, DtypeError, ArgumentError: inputs that do not fit the model.
        """
        arrays = self._ordered(inputs)
        for name, array in arrays.items():
            if array.dtype.kind in "iu" and array.size and not _fits_int32(array):
                self._fixed.add(name)
        with self._lock:  # one thread at a time looks for a program, or makes it
            program = self._program(arrays)
        self.kernels = program.kernels
        return program.run(arrays)

    def _ordered(self, inputs: Any) -> dict[str, Array]:
        names = [i.name for i in self.graph.inputs]
        if isinstance(inputs, Mapping):
            given = [inputs[n] for n in names if n in inputs]
        else:
            given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if len(given) != len(names):
            raise ArgumentError(
                f"ONNX model '{self.graph.name}' takes the inputs {names}, found {len(given)}"
            )
        arrays = {n: np.asarray(a) for n, a in zip(names, given, strict=True)}
        for info in self.graph.inputs:
            _check(info, arrays[info.name])
        return arrays

    def _program(self, arrays: Mapping[str, Array]) -> _Program:
        """What was compiled for these shapes and values of parameters; compiled when new."""
        while True:
            key = self._key(arrays)
            if key not in self._programs:
                try:
                    self._programs[key] = _Program(self.graph, arrays, self._fixed)
                except ValueNeeded as needed:
                    names = set(placeholders(needed.tensors))
                    if names <= self._fixed:
                        raise UnsupportedError(
                            f"{needed.where}: fastcnn computes this operator with floats only; "
                            "cast its inputs to float"
                        ) from None
                    self._fixed |= names
                    continue
            self._programs.move_to_end(key)
            if len(self._programs) > PROGRAMS_KEPT:
                self._programs.popitem(last=False)
            return self._programs[key]

    def _key(self, arrays: Mapping[str, Array]) -> Hashable:
        return tuple(
            (name, array.shape, array.dtype.name, array.tobytes() if name in self._fixed else b"")
            for name, array in arrays.items()
        )


@final
class _Program:
    """A graph compiled for shapes, and for the values of the inputs named in `fixed`."""

    def __init__(self, graph: GraphView, arrays: Mapping[str, Array], fixed: set[str]) -> None:
        inputs: dict[str, Found] = {}
        for name, array in arrays.items():
            dtype, kind = engine_dtype(array.dtype.name)
            inputs[name] = array
            if name not in fixed:
                tensor = placeholder(array.shape, dtype, name)
                inputs[name] = Value(tensor, natural(array.ndim), kind)
        found = Drawing(graph, inputs).run()
        self._dtypes = [
            _output_dtype(info, f, graph) for info, f in zip(graph.outputs, found, strict=True)
        ]
        tensors = {n: v.tensor for n, v in inputs.items() if isinstance(v, Value)}
        self._outputs = [_settle(f, bool(tensors)) for f in found]
        self._fed = [(n, t.dtype) for n, t in tensors.items()]
        symbolic = [f.natural() for f in self._outputs if isinstance(f, Value)]
        self._plan = (
            _plan(list(tensors.values()), symbolic, float_type(graph)) if symbolic else None
        )
        self.kernels = self._plan.plan.kernels if self._plan else ()

    def run(self, arrays: Mapping[str, Array]) -> tuple[Any, ...]:
        """The outputs, in ONNX's dtypes."""
        results: list[Array] = []
        if self._plan:
            fed = [np.asarray(arrays[n], dtype, order="C") for n, dtype in self._fed]
            results = self._plan.run(fed)
        outputs = []
        for found, dtype in zip(self._outputs, self._dtypes, strict=True):
            array = results.pop(0) if isinstance(found, Value) else found
            if isinstance(found, Value) and found.kind == "position":
                array = _whole_positions(array, found)
            outputs.append(np.asarray(array).astype(dtype))
        return tuple(outputs)


def _plan(inputs: list[Tensor], outputs: list[Tensor], dtype: str) -> InferencePlan:
    model = Functional(inputs, outputs, name="onnx", dtype=dtype)
    return model.inference_plan([t.spec for t in inputs])


def _settle(found: Found, fed: bool) -> Any:
    """An output as it is computed; numbers where no input is fed at all."""
    return evaluated(found) if isinstance(found, Value) and not fed else found


def _output_dtype(info: TensorInfo, found: Found, graph: GraphView) -> str:
    if info.dtype:
        return info.dtype
    if not isinstance(found, Value):
        return str(np.asarray(found).dtype)
    floats = [i.dtype for i in graph.inputs if i.dtype in FLOATS]
    named = {"bool": "bool", "int": "int64", "position": "int64"}
    return named.get(found.kind) or (floats[0] if floats else "float32")


def _whole_positions(positions: Array, value: Value) -> Array:
    """Positions in planes as ONNX counts them, in the whole tensor (N, C, H, W)."""
    H, W, by_columns = value.plane
    whole = positions.astype(np.int64)
    if by_columns:
        whole = whole % W * H + whole // W
    N, C = whole.shape[:2]
    planes = np.arange(N * C).reshape(N, C, *(1,) * (whole.ndim - 2))
    shifted: Array = whole + planes * (H * W)
    return shifted


def _fits_int32(array: Array) -> bool:
    return bool(array.min() >= INT32.min and array.max() <= INT32.max)


def _check(info: TensorInfo, array: Array) -> None:
    where = f"input '{info.name}' of the ONNX model"
    if array.dtype.name != info.dtype:
        raise DtypeError(
            f"{where} has dtype {array.dtype}, expected {info.dtype}; convert it with "
            f".astype('{info.dtype}')"
        )
    shape = info.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(d not in (None, n) for d, n in zip(shape, array.shape, strict=True))
    ):
        raise ShapeError(
            f"{where} has shape {array.shape}, expected {shape} (None: any size) in ONNX's order"
        )


@functools.cache
def _class() -> Any:
    base = require_onnx().backend.base.Backend
    functions = (is_compatible, prepare, run_model, run_node, supports_device)
    members = {f.__name__: staticmethod(f) for f in functions}
    return type("FastcnnBackend", (base,), {"__doc__": "fastcnn as an ONNX backend.", **members})


def __getattr__(name: str) -> Any:
    if name == "FastcnnBackend":
        import onnx.backend.base  # noqa: F401 - the class to derive from

        return _class()
    raise AttributeError(f"module 'fastcnn.onnx.backend' has no attribute '{name}'")
