# SPDX-License-Identifier: Apache-2.0
"""Nested lists, tuples and dicts of arrays, and their flat lists of leaves."""

from __future__ import annotations

from typing import Any, final

from fastcnn.errors import DataError
from fastcnn.records import dataclass

Path = tuple[int | str, ...]


@final
@dataclass(frozen=True)
class Structure:
    """The shape of a nesting. Leaves are numbered in order, dicts by sorted key.

    Attributes:
        kind: "leaf", "none", "list", "tuple" or "dict"; "none" has no leaves.
        keys: the sorted keys of a dict.
        children: one per element.
    """

    kind: str
    keys: tuple[str, ...] = ()
    children: tuple[Structure, ...] = ()

    @staticmethod
    def of(tree: Any) -> Structure:
        """The structure of `tree`; a list of plain numbers is one leaf."""
        if tree is None:
            return Structure("none")
        if isinstance(tree, dict):
            if not all(isinstance(key, str) for key in tree):
                raise DataError(
                    f"Found dict keys {list(tree)!r}, expected names of inputs or outputs."
                )
            keys = tuple(sorted(tree))
            return Structure("dict", keys, tuple(Structure.of(tree[key]) for key in keys))
        if isinstance(tree, (list, tuple)) and not _is_numbers(tree):
            kind = "list" if isinstance(tree, list) else "tuple"
            return Structure(kind, (), tuple(Structure.of(item) for item in tree))
        return Structure("leaf")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The way to each leaf; `("image",)` for `{"image": array}`, `()` for a lone array."""
        if self.kind == "leaf":
            return ((),)
        names: tuple[int | str, ...] = self.keys or tuple(range(len(self.children)))
        return tuple(
            (name, *rest)
            for name, child in zip(names, self.children, strict=True)
            for rest in child.paths
        )

    def flatten(self, tree: Any) -> list[Any]:
        """The leaves of `tree`, which must have this structure."""
        if self.kind == "none":
            return []
        if self.kind == "leaf":
            return [tree]
        items = [tree[key] for key in self.keys] if self.kind == "dict" else list(tree)
        return [
            leaf
            for child, item in zip(self.children, items, strict=True)
            for leaf in child.flatten(item)
        ]

    def unflatten(self, leaves: list[Any]) -> Any:
        """The nesting with `leaves` in place."""
        if len(leaves) != len(self.paths):
            raise DataError(f"Found {len(leaves)} arrays, expected {len(self.paths)} for {self}.")
        return self._build(iter(leaves))

    def _build(self, leaves: Any) -> Any:
        if self.kind == "none":
            return None
        if self.kind == "leaf":
            return next(leaves)
        items = [child._build(leaves) for child in self.children]
        if self.kind == "dict":
            return dict(zip(self.keys, items, strict=True))
        return items if self.kind == "list" else tuple(items)

    def __str__(self) -> str:
        if self.kind == "leaf":
            return "array"
        if self.kind == "none":
            return "None"
        if self.kind == "dict":
            pairs = zip(self.keys, self.children, strict=True)
            return "{" + ", ".join(f"{key!r}: {child}" for key, child in pairs) + "}"
        inner = ", ".join(map(str, self.children))
        return f"[{inner}]" if self.kind == "list" else f"({inner})"


def leaf_names(root: str, structure: Structure) -> list[str]:
    """`x['image']`, `x[0]` … for messages, one per leaf."""
    return [root + "".join(f"[{step!r}]" for step in path) for path in structure.paths]


def _is_numbers(items: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a (nested) sequence starts with a plain number or string: one array, spelled out."""
    first: Any = items
    while isinstance(first, (list, tuple)) and len(first):
        first = first[0]
    return isinstance(first, (bool, int, float, complex, str, bytes)) or (
        hasattr(first, "dtype") and getattr(first, "ndim", None) == 0
    )
