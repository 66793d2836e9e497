# SPDX-License-Identifier: Apache-2.0
"""Where weights and an optimizer's slots lie: small ones end to end, in flat blocks of memory.

Small weights are updated together (`passes.fuse_updates`): their update walks along one block, as
it would along one array. A block lives as long as an array in it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, final

import numpy as np

Array = np.ndarray[Any, Any]

ALIGNMENT = 64
# Bytes of the largest array that shares a block; larger ones have pages of their own.
SMALL = 1 << 16
BLOCK = 1 << 20


def aligned_empty(nbytes: int, alignment: int = ALIGNMENT) -> Array:
    """Uninitialised bytes whose address is a multiple of `alignment`."""
    raw = np.empty(nbytes + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + nbytes]


@final
class Blocks:
    """Memory cut from blocks of `size` bytes, piece behind piece; threads must take turns.

    What is not cut is never touched, and takes no memory.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = aligned_empty(0)

    def empty(self, nbytes: int) -> Array:
        """Uninitialised bytes at a multiple of ALIGNMENT; what a block cannot hold has its own."""
        if nbytes > self._rest.nbytes:
            self._rest = aligned_empty(max(nbytes, self._size))
        taken, self._rest = self._rest[:nbytes], self._rest[-(-nbytes // ALIGNMENT) * ALIGNMENT :]
        return taken


_lock = threading.Lock()
_blocks = Blocks(BLOCK)


def empty(shape: Sequence[int], dtype: str) -> Array:
    """An array of any values, aligned to 64 bytes where it shares a block."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not 0 < nbytes <= SMALL:
        return np.empty(shape, dtype)
    with _lock:
        return _blocks.empty(nbytes).view(dtype).reshape(shape)


def settled(array: Array) -> Array:
    """A small array's copy in a block; a large one as it is."""
    if array.nbytes > SMALL:
        return array
    copy = empty(array.shape, array.dtype.name)
    copy[...] = array
    return copy
