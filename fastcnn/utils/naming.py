# SPDX-License-Identifier: Apache-2.0
"""Automatic names of layers and models, as Keras counts them."""

from __future__ import annotations

from fastcnn.configurable import snake_case

_name_counts: dict[str, int] = {}


def clear_session() -> None:
    """Start automatic layer names anew."""
    _name_counts.clear()


def unique_name(class_name: str) -> str:
    """conv2d, conv2d_1, conv2d_2, ..."""
    base = snake_case(class_name)
    count = _name_counts.get(base, 0)
    _name_counts[base] = count + 1
    return f"{base}_{count}" if count else base
