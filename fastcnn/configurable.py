# SPDX-License-Identifier: Apache-2.0
"""Objects that are described by plain JSON, and finding them by name.

Configurable   get_config / from_config, from the arguments of `__init__`
serialize      {"class_name", "config"}
resolve        a name, such a dict, a class or an instance -> an instance
"""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fastcnn.errors import ArgumentError

T = TypeVar("T")


@functools.cache
def _signature(cls: Any) -> inspect.Signature:
    # Of `object` Python keeps a text, and to read it imports a tokenizer.
    if cls.__init__ is object.__init__ and cls.__new__ is object.__new__:
        return inspect.Signature()
    return inspect.signature(cls)


class Configurable(ABC):  # noqa: B024 - abstract by meaning: it is nothing by itself
    """Base of everything with a config. Every argument of `__init__` is kept as an attribute."""

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__` as plain JSON types."""
        return {name: plain(getattr(self, name)) for name in _argument_names(type(self))}

    @classmethod
    def from_config(cls: type[T], config: Mapping[str, Any]) -> T:
        """An instance from what `get_config` returned.

        Raises:
            ArgumentError: the config has arguments that `__init__` does not take, or lacks some.
        """
        try:
            _signature(cls).bind(**config)  # type: ignore[arg-type]
        except TypeError as error:
            raise ArgumentError(
                f"{cls.__name__} cannot be made from the config {dict(config)}: {error}; it takes "
                f"{', '.join(_argument_names(cls)) or 'no arguments'}"
            ) from None
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def _argument_names(cls: type) -> list[str]:
    parameters = _signature(cls).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


def plain(value: Any) -> Any:
    """The value in plain JSON types.

    NumPy numbers, arrays and tuples become Python's, functions become their names.

    Raises:
        ArgumentError: a function without a name of its own.
    """
    if isinstance(value, Configurable):
        return serialize(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if inspect.isroutine(value):
        return _function_name(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return value


def _function_name(function: Any) -> str:
    name = str(getattr(function, "__name__", "<lambda>"))
    if name == "<lambda>":
        raise ArgumentError(
            f"{function!r} has no name and cannot be saved; use a function defined by def, and "
            "pass it as custom_objects on loading"
        )
    return name


def serialize(instance: Any) -> dict[str, Any]:
    """`{"class_name", "config"}` of an object with `get_config`."""
    return {"class_name": type(instance).__name__, "config": instance.get_config()}


def resolve(
    identifier: Any,
    kind: str,
    base: type[Any],
    known: Mapping[str, type[T]],
    custom_objects: Mapping[str, Any] | None = None,
) -> T:
    """The instance that `identifier` stands for.

    Args:
        identifier: a name, `{"class_name", "config"}`, a subclass of `base` or an instance of it.
        kind: what is looked for, in words, for errors.
        base: class of the result.
        known: classes by their lower-case names; case and underscores do not matter.
        custom_objects: further classes by name.

    Raises:
        ArgumentError: nothing of that name, or something else altogether.
    """
    if isinstance(identifier, base):
        return identifier  # type: ignore[no-any-return]
    if isinstance(identifier, type) and issubclass(identifier, base):
        return _make(identifier, {}, kind)
    if isinstance(identifier, str):
        return _make(_find(identifier, kind, known, custom_objects), {}, kind)
    if isinstance(identifier, Mapping) and isinstance(identifier.get("class_name"), str):
        found = _find(identifier["class_name"], kind, known, custom_objects)
        return _make(found, identifier.get("config") or {}, kind)
    raise ArgumentError(
        f"found {identifier!r} where {_an(kind)} was expected; give one of the names "
        f"{_names(known)}, or an instance of {base.__name__}"
    )


def _make(cls: type[T], config: Mapping[str, Any], kind: str) -> T:
    if inspect.isabstract(cls):
        raise ArgumentError(f"{cls.__name__} is abstract; give {_an(kind)} derived from it")
    return cls.from_config(config)  # type: ignore[attr-defined, no-any-return]


def _find(
    name: str, kind: str, known: Mapping[str, type[T]], custom_objects: Mapping[str, Any] | None
) -> type[T]:
    if custom_objects and name in custom_objects:
        return custom_objects[name]  # type: ignore[no-any-return]
    if name in known:
        return known[name]
    for candidate, cls in known.items():
        if folded(candidate) == folded(name):
            return cls
    raise ArgumentError(f"unknown {kind} '{name}'; there are {_names(known)}")


def folded(name: str) -> str:
    """The name without case and underscores: "HeNormal" and "he_normal" are one."""
    return name.replace("_", "").lower()


def _names(known: Mapping[str, Any]) -> str:
    return ", ".join(sorted(known))


def _an(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


@functools.cache
def snake_case(class_name: str) -> str:
    """Keras' name of a class: Conv2D -> conv2d, TopK -> top_k, PReLU -> p_re_lu."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
