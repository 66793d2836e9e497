# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models for tests, and the results that ONNX's own evaluator in NumPy gives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]

ELEMENTS = {"f": TensorProto.FLOAT, "d": TensorProto.DOUBLE, "i": TensorProto.INT64}


def randn(*shape: int) -> Array:
    """Normal float32 numbers, the same ones in every run of a test."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; names of tensors are separated by blanks, "_" leaves an input out."""
    names = ["" if n == "_" else n for n in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), **attributes)


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    kind: str = "f",
    name: str = "net",
) -> Any:
    """A ModelProto with float inputs of the given shapes and constants as initializers."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(n, ELEMENTS[kind], s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, ELEMENTS[kind], None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    proto.ir_version = 8
    return proto


def expected(proto: Any, **inputs: Array) -> list[Array]:
    """What ONNX's own evaluator makes of the inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [np.asarray(a) for a in ReferenceEvaluator(proto).run(None, inputs)]


def to_nhwc(array: Array) -> Array:
    """(N, C, H, W) as (N, H, W, C); other ranks as they are."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


__all__ = ["expected", "helper", "model", "node", "numpy_helper", "onnx", "randn", "to_nhwc"]
