# SPDX-License-Identifier: Apache-2.0
"""Where weights and an optimizer's slots lie: small ones end to end, in flat blocks of memory.

Small weights are updated together (`passes.fuse_updates`): their update walks along one block, as
it would along one array. A block lives as long as an array in it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ALIGNMENT = 64
# Bytes of the largest array that shares a block; larger ones have pages of their own.
SMALL = 1 << 16
BLOCK = 1 << 20

_lock = threading.Lock()
_free = np.empty(0, np.uint8)  # what is left of the newest block


def empty(shape: Sequence[int], dtype: str) -> Array:
    """An array of any values, aligned to 64 bytes where it shares a block."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not 0 < nbytes <= SMALL:
        return np.empty(shape, dtype)
    return _take(nbytes).view(dtype).reshape(shape)


def settled(array: Array) -> Array:
    """A small array's copy in a block; a large one as it is."""
    if array.nbytes > SMALL:
        return array
    copy = empty(array.shape, array.dtype.name)
    copy[...] = array
    return copy


def _take(nbytes: int) -> Array:
    global _free
    with _lock:
        if _free.size < nbytes:
            block = np.empty(BLOCK + ALIGNMENT, np.uint8)
            _free = block[-block.ctypes.data % ALIGNMENT :][:BLOCK]
        taken, _free = _free[:nbytes], _free[-(-nbytes // ALIGNMENT) * ALIGNMENT :]
    return taken
