# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses that are made without compiling code.

`dataclasses.dataclass` writes the methods of each class as text and compiles them, which takes most
of the time of importing a hundred small classes. The methods here are closures, the same for all.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        *, frozen: bool, kw_only: bool = False, eq: bool = True
    ) -> Callable[[type[T]], type[T]]:
        """`dataclasses.dataclass(frozen=True)` for fields with plain defaults."""
        assert frozen
        return functools.partial(_record, kw_only, eq)


def _record(kw_only: bool, eq: bool, cls: type[T]) -> type[T]:
    plain = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)
    fields = dataclasses.fields(plain(cls))  # type: ignore[arg-type]
    names = tuple(f.name for f in fields)
    positional = tuple(f.name for f in fields if not f.kw_only)
    defaults = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    methods = [*_makers(cls, names, positional, defaults), _printer(names)]
    if eq:
        methods += _comparers(names)
    for method in methods:
        setattr(cls, method.__name__, method)
    return cls


def _makers(
    cls: type, names: tuple[str, ...], positional: tuple[str, ...], defaults: dict[str, Any]
) -> list[Callable[..., Any]]:
    known = frozenset(names)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(positional, args, strict=False), **kwargs)
        values = {**defaults, **given}
        if values.keys() != known or len(given) != len(args) + len(kwargs):
            raise TypeError(
                f"{cls.__name__}() takes {list(names)}, found {len(args)} by position "
                f"and {sorted(kwargs)} by name"
            )
        vars(self).update(values)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    return [__init__, __setattr__, __delattr__]


def _comparers(names: tuple[str, ...]) -> list[Callable[..., Any]]:
    def __eq__(self: Any, other: object) -> Any:
        return (
            _values(self, names) == _values(other, names)
            if type(other) is type(self)
            else NotImplemented
        )

    def __hash__(self: Any) -> int:
        return hash(_values(self, names))

    return [__eq__, __hash__]


def _printer(names: tuple[str, ...]) -> Callable[..., str]:
    def __repr__(self: Any) -> str:
        inside = ", ".join(f"{n}={v!r}" for n, v in zip(names, _values(self, names), strict=True))
        return f"{type(self).__qualname__}({inside})"

    return __repr__


def _values(self: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    own = vars(self)
    return tuple([own[name] for name in names])
