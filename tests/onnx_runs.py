# SPDX-License-Identifier: Apache-2.0
"""Export a model, run the file with ONNX's own engines, compare with what fastcnn computes."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

from fastcnn.structure import flatten

Array = np.ndarray[Any, Any]
NEWEST = onnx.defs.onnx_opset_version()
OPSETS = (11, 13, 17, 20, NEWEST)


def session(proto: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@functools.cache
def runtime_opset() -> int:
    """The newest opset that the installed ONNX Runtime takes; it may be older than onnx."""
    x, y = (helper.make_tensor_value_info(name, 1, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    for opset in range(NEWEST, 0, -1):
        given = [helper.make_opsetid("", opset)]
        version = helper.find_min_ir_version_for(given)
        try:
            session(helper.make_model(graph, opset_imports=given, ir_version=version))
        except Exception:
            continue
        return opset
    raise AssertionError("no opset runs")


def exported(model: Any, **arguments: Any) -> Any:
    """The file that export writes, checked as strictly as onnx can."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(path, **arguments)
        proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def turned(array: Array, layout: str = "NCHW") -> Array:
    """An array of ours as the file has it."""
    return array.transpose(0, 3, 1, 2) if layout == "NCHW" and array.ndim == 4 else array


def run(proto: Any, arrays: Sequence[Array], engine: str = "runtime") -> list[Array]:
    """Outputs of the file for arrays in its own layout."""
    feeds = {i.name: a for i, a in zip(proto.graph.input, arrays, strict=True)}
    with np.errstate(all="ignore"):
        evaluator = session(proto) if engine == "runtime" else ReferenceEvaluator(proto)
        return list(evaluator.run(None, feeds))


def same(found: Array, expected: Array, tolerance: float = 1e-5) -> None:
    """Shape, type, and values up to a share of the largest."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.isfinite(expected).all()
    scale = float(np.abs(expected).max(initial=0.0)) if expected.size else 0.0
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale + 1e-7)


def agree(
    model: Any,
    *arrays: Array,
    layout: str = "NCHW",
    reference: bool = True,
    tolerance: float = 1e-5,
    **arguments: Any,
) -> Any:
    """Both engines give what `predict` gives; returns the file."""
    proto = exported(model, layout=layout, **arguments)
    given = [turned(a, layout) for a in arrays]
    expected = flatten(model.predict_on_batch(arrays[0] if len(arrays) == 1 else list(arrays)))
    newest = proto.opset_import[0].version
    engines = ["runtime"] * (newest <= runtime_opset()) + ["reference"] * reference
    assert engines
    for engine in engines:
        for found, wanted in zip(run(proto, given, engine), expected, strict=True):
            same(found, turned(wanted, layout), tolerance)
    return proto


def kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def randomized(model: Any, seed: int = 0) -> Any:
    """The model with vectors (biases, scales, statistics) other than zero and one."""
    rng = np.random.default_rng(seed)
    for parameter in model.weights:
        if len(parameter.shape) == 1:
            parameter.assign(parameter.value + rng.uniform(-0.3, 0.3, parameter.shape))
    return model
