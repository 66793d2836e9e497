# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses that are made without compiling code.

`dataclasses.dataclass` writes the methods of each class as text and compiles them, and looks at
every annotation, which takes most of the time of importing a hundred small classes. The methods
here are closures, the same for all, and what `dataclasses.fields` tells is worked out when it is
asked for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        *, frozen: bool, kw_only: bool = False, eq: bool = True
    ) -> Callable[[type[T]], type[T]]:
        """`dataclasses.dataclass(frozen=True)` for fields with plain defaults.

        Annotations are text: `from __future__ import annotations` stands in the module.
        """
        assert frozen
        return functools.partial(_record, kw_only, eq)


class _Field(NamedTuple):
    kw_only: bool
    default: Any  # or MISSING


def _record(kw_only: bool, eq: bool, cls: type[T]) -> type[T]:
    fields = _fields(cls, kw_only)
    names = tuple(fields)
    methods = [*_makers(cls, fields), _printer(names)]
    if eq:
        methods += _comparers(names)
    for method in methods:
        setattr(cls, method.__name__, method)
    cls._record_fields = fields  # type: ignore[attr-defined]
    cls.__dataclass_fields__ = _Later(cls, kw_only)  # type: ignore[attr-defined]
    return cls


def _fields(cls: type, kw_only: bool) -> dict[str, _Field]:
    """Those of base classes first; one that is told again keeps its place."""
    fields: dict[str, _Field] = {}
    for base in reversed(cls.__mro__[1:]):
        fields |= vars(base).get("_record_fields", {})
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        if not annotation.startswith("ClassVar"):
            fields[name] = _Field(kw_only, getattr(cls, name, dataclasses.MISSING))
    return fields


class _Later:
    """The fields as the standard library has them, which it makes when they are asked for."""

    def __init__(self, cls: type, kw_only: bool) -> None:
        self._cls, self._kw_only = cls, kw_only

    def __get__(self, instance: object, owner: type) -> Any:
        # Puts them in this one's place.
        make = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=self._kw_only)
        return make(self._cls).__dataclass_fields__  # type: ignore[attr-defined]


def _makers(cls: type, fields: Mapping[str, _Field]) -> list[Callable[..., Any]]:
    known = frozenset(fields)
    positional = tuple(name for name, field in fields.items() if not field.kw_only)
    defaults = {n: f.default for n, f in fields.items() if f.default is not dataclasses.MISSING}

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(positional, args, strict=False), **kwargs)
        values = {**defaults, **given}
        if values.keys() != known or len(given) != len(args) + len(kwargs):
            raise TypeError(
                f"{cls.__name__}() takes {list(fields)}, found {len(args)} by position "
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
