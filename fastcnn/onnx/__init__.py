# SPDX-License-Identifier: Apache-2.0
"""ONNX files in and out, and the standard backend. Needs `pip install "fastcnn[onnx]"`.

load      an ONNX file as a Model, to run, train on and save
export    a Model as an ONNX file
backend   prepare, run_model, run_node, supports_device: the interface of `onnx.backend.base`

Nothing here is imported before it is used. Inside this package `import onnx` is the other one.
"""

import importlib
from typing import Any

_FUNCTIONS = {"load": "fastcnn.onnx.importer", "export": "fastcnn.onnx.exporter"}
__all__ = ["backend", "export", "load"]


def __getattr__(name: str) -> Any:
    if name == "backend":
        return importlib.import_module("fastcnn.onnx.backend")
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'fastcnn.onnx' has no attribute '{name}'")
    return getattr(importlib.import_module(_FUNCTIONS[name]), name)


def __dir__() -> list[str]:
    return __all__
