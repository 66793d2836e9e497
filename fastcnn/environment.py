# SPDX-License-Identifier: Apache-2.0
"""What this installation runs on."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from fastcnn.backends import _cpu, isas, threads


def config_facts() -> dict[str, Any]:
    """Version, instruction sets, threads and libraries, as plain values."""
    import fastcnn

    isa = isas.default_isa()
    return {
        "fastcnn": fastcnn.__version__,
        "isa": isa,
        "isas": {
            name: "runs here" if runs else "not on this CPU" for name, runs in _cpu.isas().items()
        },
        "vector_floats": _cpu.vector_floats(isa),
        "kernels": len(_cpu.kernels(isa)),
        "threads": threads.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }


def show_config() -> None:
    """Print instruction set, threads and versions."""
    for key, value in config_facts().items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} ({v})" for k, v in value.items())
        print(f"{key:14} {value}")
