# SPDX-License-Identifier: Apache-2.0
"""Automatic names of layers and models, as Keras counts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

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


def local_names(layers: Sequence[Any]) -> list[str]:
    """Names of sibling layers for weight paths; automatic ones count anew from the first sibling.

    So a model's weight names do not depend on what else the process has built.
    """
    counts: dict[str, int] = {}
    given = {layer.name for layer in layers if not _is_automatic(layer)}
    names = []
    for layer in layers:
        base = snake_case(type(layer).__name__)
        name = layer.name
        while _is_automatic(layer):
            count = counts.get(base, 0)
            counts[base] = count + 1
            name = f"{base}_{count}" if count else base
            if name not in given:
                break
        names.append(name)
    return names


def _is_automatic(layer: Any) -> bool:
    base, name = snake_case(type(layer).__name__), layer.name
    return name.startswith(base) and re.fullmatch(r"(_\d+)?", name[len(base) :]) is not None
