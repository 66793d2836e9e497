# SPDX-License-Identifier: Apache-2.0
"""Regularizers: what a weight adds to the loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, final

from fastcnn import arguments, ops
from fastcnn.configurable import Configurable, resolve
from fastcnn.configurable import serialize as serialize


class Regularizer(Configurable):
    """Base of regularizers: implement `__call__`."""

    @abstractmethod
    def __call__(self, x: Any) -> Any:
        """A scalar of a weight: symbolic for a symbolic tensor, else an array of no dimensions."""


@final
class L1(Regularizer):
    """l1·sum(|w|)."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = arguments.non_negative("L1", "l1", l1)

    def __call__(self, x: Any) -> Any:
        """The penalty of `x`."""
        return ops.multiply(ops.sum(ops.abs(x)), self.l1)


@final
class L2(Regularizer):
    """l2·sum(w²)."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = arguments.non_negative("L2", "l2", l2)

    def __call__(self, x: Any) -> Any:
        """The penalty of `x`."""
        return ops.multiply(ops.sum(ops.square(x)), self.l2)


@final
class L1L2(Regularizer):
    """l1·sum(|w|) + l2·sum(w²)."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = arguments.non_negative("L1L2", "l1", l1)
        self.l2 = arguments.non_negative("L1L2", "l2", l2)

    def __call__(self, x: Any) -> Any:
        """The penalty of `x`."""
        return ops.add(L1(self.l1)(x), L2(self.l2)(x))


l1, l2, l1_l2 = L1, L2, L1L2

REGULARIZERS: dict[str, type[Regularizer]] = {"l1": L1, "l1_l2": L1L2, "l2": L2}


def get(
    identifier: Any, custom_objects: Mapping[str, Any] | None = None
) -> Regularizer | Callable[..., Any] | None:
    """A regularizer from its name, config, class or instance; None and other callables as they are.

    Raises:
        ArgumentError: there is none of that name.
    """
    if identifier is None:
        return None
    if callable(identifier) and not isinstance(identifier, (Regularizer, type)):
        return identifier  # type: ignore[no-any-return]
    return deserialize(identifier, custom_objects)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Regularizer:
    """A regularizer from `{"class_name", "config"}`."""
    return resolve(config, "regularizer", Regularizer, REGULARIZERS, custom_objects)
