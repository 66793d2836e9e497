# SPDX-License-Identifier: Apache-2.0
"""From bytes in a file to arrays of numbers that NumPy knows.

float16, bfloat16 and float8 become float32; every other type stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fastcnn.graph import Array


def _bfloat16(bits: Array) -> Array:
    wide: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return wide


def _float8(mantissa_bits: int, bias: int, largest: int) -> Callable[[Array], Array]:
    """A decoder by table; bytes above `largest` (sign apart) are NaN, or infinity just above it.

    Micikevicius et al. (2022), "FP8 formats for deep learning", arXiv:2209.05433.
    """
    table = np.full(256, np.nan, np.float32)
    for code in range(largest + 1):
        exponent, mantissa = divmod(code, 1 << mantissa_bits)
        fraction = mantissa / (1 << mantissa_bits)
        lead, power = (1.0, exponent - bias) if exponent else (0.0, 1 - bias)
        table[code] = math.ldexp(lead + fraction, power)
    if largest + 1 == 0x7C:  # e5m2 has infinities, e4m3fn has none
        table[0x7C] = np.inf
    table[128:] = -table[:128]

    def decode(bits: Array) -> Array:
        numbers: Array = table[bits]
        return numbers

    return decode


_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_DECODED: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "float16": ("<f2", lambda halves: halves.astype(np.float32)),
    "bfloat16": ("<u2", _bfloat16),
    "float8_e4m3fn": ("u1", _float8(3, 7, 0x7E)),
    "float8_e5m2": ("u1", _float8(2, 15, 0x7B)),
}
_STORED = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "float64", *_INTEGERS)}
_STORED |= {name: np.dtype(stored) for name, (stored, _) in _DECODED.items()}

NAMES = tuple(_STORED)


def itemsize(dtype: str) -> int:
    """Bytes of one number of `dtype`, one of `NAMES`, in a file."""
    return _STORED[dtype].itemsize


def decode(data: memoryview, dtype: str, big_endian: bool = False) -> Array:
    """The numbers in `data` (n,): the file's own memory where its type is NumPy's, else a copy."""
    stored = _STORED[dtype].newbyteorder(">") if big_endian else _STORED[dtype]
    found: Array = np.frombuffer(data, stored)
    native = stored.newbyteorder("=")
    if found.dtype != native:
        found = found.astype(native)
    found = _DECODED[dtype][1](found) if dtype in _DECODED else found
    found.flags.writeable = False
    return found


def count(shape: Sequence[int]) -> int:
    """Number of elements; a Python integer, so that a lying shape cannot overflow."""
    return math.prod(shape)
