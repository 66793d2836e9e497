# SPDX-License-Identifier: Apache-2.0
"""Nested lists, tuples and dicts of leaves: flatten, map, pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def flatten(structure: Any) -> list[Any]:
    """Leaves in order; dicts in the order of their keys as inserted."""
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in flatten(value)]
    if isinstance(structure, (list, tuple)):
        return [leaf for value in structure for leaf in flatten(value)]
    return [structure]


def map_structure(fn: Callable[[Any], Any], structure: Any) -> Any:
    """The same nesting with `fn` applied to every leaf."""
    if isinstance(structure, dict):
        return {key: map_structure(fn, value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        mapped = [map_structure(fn, value) for value in structure]
        return tuple(mapped) if isinstance(structure, tuple) else mapped
    return fn(structure)


def pack_as(structure: Any, leaves: Sequence[Any]) -> Any:
    """`leaves` in the nesting of `structure`."""
    source: Iterator[Any] = iter(leaves)
    return map_structure(lambda _: next(source), structure)
