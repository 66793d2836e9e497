# SPDX-License-Identifier: Apache-2.0
"""Where randomness comes from: one stream of seeds, and generators keyed by a seed.

Everything random (initial weights, dropout, shuffling, augmentation) asks for a seed and then draws
from a counter-based generator keyed by it, so results depend neither on threads nor on what else
drew numbers in between.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable
from typing import Any, final

import numpy as np

from fastcnn.errors import ArgumentError

_SEED_LIMIT = 2**31


@final
class _SeedStream:
    """Seed number `count` is a pure function of (key, count)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.key = int.from_bytes(os.urandom(8), "little")
        self.count = 0

    def restart(self, key: int, count: int) -> None:
        with self._lock:
            self.key, self.count = key, count

    def take(self) -> tuple[int, int]:
        """Key and count of the next seed, which nobody else gets."""
        with self._lock:
            count = self.count
            self.count += 1
            return self.key, count


_stream = _SeedStream()


def set_random_seed(seed: int) -> None:
    """Make everything random from here on repeatable.

    As in Keras, Python's `random` and NumPy's legacy `np.random` are seeded too, since data
    pipelines written by users draw from them.

    Args:
        seed: integer in [0, 2**32).

    Raises:
        ArgumentError: `seed` is not such an integer.
    """
    import random as python_random

    checked = _as_seed(seed)
    if checked >= 2**32:
        raise ArgumentError(f"set_random_seed: found {seed}, expected an integer below 2**32")
    _stream.restart(checked, 0)
    python_random.seed(checked)
    np.random.seed(checked)  # noqa: NPY002


def next_seed() -> int:
    """The next seed of the stream, in [0, 2**31): repeatable after `set_random_seed`."""
    return next_seed_later()()


def next_seed_later() -> Callable[[], int]:
    """`next_seed`, taken from the stream now and worked out when it is called.

    NumPy's generators take longer to import than all layers, and weights that a file replaces are
    never drawn.
    """
    key, count = _stream.take()
    return lambda: int(np.random.Philox(key=key, counter=count).random_raw()) % _SEED_LIMIT


def get_state() -> dict[str, int]:
    """Where the stream of seeds stands, as plain numbers."""
    return {"key": _stream.key, "count": _stream.count}


def set_state(state: dict[str, int]) -> None:
    """Continue the stream of seeds from what `get_state` returned.

    Raises:
        ArgumentError: `state` was not made by `get_state`; the stream is as it was.
    """
    try:
        key, count = _as_seed(state["key"]), _as_seed(state["count"])
    except (KeyError, TypeError):
        raise ArgumentError(
            f"random.set_state: found {state!r}, expected a dict with integers 'key' and 'count'"
        ) from None
    _stream.restart(key, count)


def generator(seed: int | None = None) -> np.random.Generator:
    """A counter-based NumPy generator (Philox 4x64) keyed by `seed`, or by `next_seed()`.

    Raises:
        ArgumentError: `seed` is neither None nor a non-negative integer.
    """
    key = next_seed() if seed is None else _as_seed(seed)
    return np.random.Generator(np.random.Philox(key=key))


def _as_seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if value < 0:
        raise ArgumentError(f"a seed must be a non-negative integer, found {seed!r}")
    return value
