# SPDX-License-Identifier: Apache-2.0
"""Dropout from counters: an element's bits follow from (seed, step, salt, its number) alone.

They do not depend on threads, on the order of work, or on what else draws random numbers, and the
backward pass makes them again instead of storing a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.records import dataclass

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counters: Array, key: Sequence[int]) -> Array:
    """Philox4x32-10: four random words of 32 bits for each counter.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.

    Args:
        counters: uint32 (n, 4).
        key: two words.

    Returns:
        uint32 (n, 4).
    """
    c0, c1, c2, c3 = counters.astype(np.uint64).T
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (b >> _SHIFT) ^ c1 ^ np.uint64(k0), b & _LOW
        c2, c3 = (a >> _SHIFT) ^ c3 ^ np.uint64(k1), a & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


@final
@dataclass(frozen=True)
class Dropout(Op):
    """(x, rng) -> x / (1 - rate), but 0 for a random `rate` of the elements.

    `rng` is uint32 (seed low, seed high, step low, step high); `salt` distinguishes the layers of a
    network. Elements that differ only along axes in `shared` are kept or dropped together.
    """

    rate: float
    salt: int = 0
    shared: tuple[int, ...] = ()
    name: ClassVar[str] = "dropout"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """Spec of x."""
        x, rng = inputs
        require_float(x)
        if rng.dtype != "uint32":
            raise DtypeError(f"found rng of {rng.dtype}, expected uint32 (seed and step)")
        if rng.shape != (4,):
            raise ShapeError(f"found rng of shape {rng.shape}, expected (4,): seed and step")
        return x

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """Salt, threshold out of 2^24, shared axes as a bit mask, and the scale of what is kept."""
        return {
            "salt": self.salt,
            "threshold": self._threshold,
            "shared": sum(1 << axis for axis in self.shared),
            "scale": self._scale,
        }

    @property
    def _threshold(self) -> int:
        return round(self.rate * (1 << 24))

    @property
    def _scale(self) -> float:
        return 1 / (1 - self.rate) if self.rate < 1 else 0.0

    def reference(self, *inputs: Array) -> Array:
        """Element e of the noise takes word e % 4 of counter (e // 4, salt, step)."""
        x, rng = inputs
        shape = [1 if axis in self.shared else d for axis, d in enumerate(x.shape)]
        count = math.prod(shape)
        counters = np.zeros((-(-count // 4), 4), np.uint32)
        counters[:, 0] = np.arange(len(counters), dtype=np.uint32)
        counters[:, 1] = self.salt
        counters[:, 2:] = rng[2:]
        words = philox4x32(counters, (int(rng[0]), int(rng[1])))
        kept = (words.reshape(-1)[:count] >> 8) >= self._threshold
        return np.where(kept.reshape(shape), x * self._scale, 0).astype(x.dtype)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """The same elements of dy."""
        return (apply(self, dys[0], node.inputs[1]), None)


def dropout(
    x: Any,
    rng: Any,
    rate: float,
    salt: int = 0,
    noise_shape: Sequence[int | None] | None = None,
) -> Any:
    """Zero a random `rate` of the elements and scale the others by 1 / (1 - rate).

    Args:
        x: float array or tensor of any shape.
        rng: uint32 array or tensor (4,): seed low, seed high, step low, step high.
        rate: share of elements that are dropped, in [0, 1].
        salt: number of the layer, in [0, 2^32): layers of one network draw different bits.
        noise_shape: x's shape with 1 (None: x's size) along axes whose elements are kept or dropped
            together; (N, 1, 1, C) drops whole feature maps.

    Raises:
        ArgumentError: a rate or salt out of range.
        ShapeError: `noise_shape` does not broadcast to x's shape, or rng is not (4,).
        DtypeError: x is not of floats, or rng not uint32.
    """
    if not 0 <= rate <= 1:
        raise ArgumentError(f"ops.dropout: found rate={rate}, expected a number from 0 to 1")
    if not 0 <= salt < 1 << 32:
        raise ArgumentError(f"ops.dropout: found salt={salt}, expected a whole number below 2^32")
    if not hasattr(x, "shape"):
        x = np.asarray(x, np.float32)
    shared = _shared_axes(tuple(x.shape), noise_shape)
    return apply(Dropout(float(rate), int(salt), shared), x, rng)


def _shared_axes(
    shape: tuple[int | None, ...], noise_shape: Sequence[int | None] | None
) -> tuple[int, ...]:
    if noise_shape is None:
        return ()
    fits = len(noise_shape) == len(shape) and all(
        noise in (1, None, size) for noise, size in zip(noise_shape, shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"ops.dropout: noise_shape {tuple(noise_shape)} does not fit an input of shape "
            f"{shape}; expected its sizes, or 1 along axes that share their noise"
        )
    return tuple(i for i, noise in enumerate(noise_shape) if noise == 1 and shape[i] != 1)


OPS: tuple[type[Op], ...] = (Dropout,)
