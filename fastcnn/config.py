# SPDX-License-Identifier: Apache-2.0
"""Process-wide choices: the float type of new layers."""

from __future__ import annotations

from fastcnn.errors import ArgumentError

_FLOATS = ("float32", "float64")
_floatx = "float32"


def floatx() -> str:
    """The float type that new inputs and weights get."""
    return _floatx


def set_floatx(value: str) -> None:
    """Choose "float32", or "float64" to run whole networks on the reference backend."""
    global _floatx
    if value not in _FLOATS:
        raise ArgumentError(f"floatx is '{value}', expected one of {', '.join(_FLOATS)}")
    _floatx = value
