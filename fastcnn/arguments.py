# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments: each returns the value, or raises an ArgumentError saying what would do."""

from __future__ import annotations

import math
import operator
import os

from fastcnn.errors import ArgumentError, ShapeError

TYPE_CHECKING = False  # `typing` takes 4 ms, and exported plans do without
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def number(where: str, name: str, value: Any) -> float:
    """A finite number as a Python float."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, (bool, str, bytes)) or not math.isfinite(found):
        raise ArgumentError(f"{where}: found {name}={value!r}, expected a finite number")
    return found


def positive(where: str, name: str, value: Any) -> float:
    """A number above zero."""
    found = number(where, name, value)
    if found <= 0:
        raise ArgumentError(f"{where}: found {name}={value!r}, expected a number above 0")
    return found


def non_negative(where: str, name: str, value: Any) -> float:
    """A number of at least zero."""
    found = number(where, name, value)
    if found < 0:
        raise ArgumentError(f"{where}: found {name}={value!r}, expected a number of at least 0")
    return found


def fraction(where: str, name: str, value: Any, below_one: bool = False) -> float:
    """A number in [0, 1], or in [0, 1)."""
    found = number(where, name, value)
    if not 0 <= found <= 1 or (below_one and found == 1):
        interval = "[0, 1)" if below_one else "[0, 1]"
        raise ArgumentError(f"{where}: found {name}={value!r}, expected a number in {interval}")
    return found


def integer(where: str, name: str, value: Any, at_least: int = 0) -> int:
    """An integer of at least `at_least`."""
    try:
        found = operator.index(value)
    except TypeError:
        found = at_least - 1
    if isinstance(value, bool) or found < at_least:
        raise ArgumentError(
            f"{where}: found {name}={value!r}, expected an integer of at least {at_least}"
        )
    return found


def integers(where: str, name: str, value: Any, at_least: int | None = None) -> tuple[int, ...]:
    """A tuple of integers from such a sequence, or from one integer."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not items or any(isinstance(i, bool) or not hasattr(i, "__index__") for i in items):
        raise ArgumentError(f"{where}: found {name}={value!r}, expected integers")
    found = tuple(operator.index(i) for i in items)
    if at_least is not None and min(found) < at_least:
        raise ArgumentError(
            f"{where}: found {name}={value!r}, expected integers of at least {at_least}"
        )
    return found


def path(where: str, name: str, value: Any) -> str:
    """A file name as a string."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ArgumentError(f"{where}: found {name}={value!r}, expected the name of a file")
    return str(os.fspath(value))


def shape(where: str, value: Any) -> tuple[int | None, ...]:
    """The sizes of an input, each a positive integer or None."""
    sized = isinstance(value, (tuple, list)) and all(
        d is None or (hasattr(d, "__index__") and not isinstance(d, bool)) for d in value
    )
    if not sized:
        raise ShapeError(f"{where}: {value!r} is not a tuple of sizes; try shape=(32, 32, 3)")
    if any(d is not None and d <= 0 for d in value):
        raise ShapeError(
            f"{where}: {tuple(value)} has a size below 1; all must be positive or None"
        )
    return tuple(None if d is None else operator.index(d) for d in value)


def one_of(where: str, name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """One of the values that exist."""
    if value not in allowed:
        listed = ", ".join(repr(a) for a in allowed)
        raise ArgumentError(f"{where}: found {name}={value!r}, expected one of {listed}")
    return value


def only_default(where: str, name: str, value: Any, *harmless: Any) -> None:
    """Refuse an argument of Keras that fastcnn lacks, unless it is given as it is by default."""
    if not any(value is h or (type(value) is type(h) and value == h) for h in harmless):
        raise ArgumentError(
            f"{where}: found {name}={value!r}, which fastcnn does not have; leave it at "
            f"{harmless[0]!r}"
        )
