# SPDX-License-Identifier: Apache-2.0
"""Training batches whose images are moved by a few pixels, anew in every epoch."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fastcnn import arguments
from fastcnn.data.arrays import check_lengths
from fastcnn.data.prefetch import LARGE_BATCH
from fastcnn.data.sampling import permutation
from fastcnn.utils.py_dataset import PyDataset

Array = npt.NDArray[Any]


@final
class ShiftedImages(PyDataset):
    """Batches (x, y) of images in a random order, each moved up to `shift` pixels each way.

    What moves in from outside is zero. Order and moves are a function of (seed, epoch) alone.
    Large batches are made ahead of the training loop by threads (`workers` 2, else 1).

    Args:
        x: images (n, H, W, C).
        y: labels (n, …).
        batch_size: images in a batch; the last one of an epoch may be smaller.
        shift: largest move in pixels, along rows and columns.
        seed: with the epoch, the key of order and moves.

    Raises:
        ArgumentError: a batch size below 1 or a negative shift.
        DataError: no images, or another number of labels.
    """

    def __init__(self, x: Array, y: Array, batch_size: int, shift: int, seed: int) -> None:
        check_lengths([("x", x), ("y", y)], "ShiftedImages")
        self.x, self.y = x, y
        self.batch_size = arguments.integer("ShiftedImages", "batch_size", batch_size, 1)
        self.shift = arguments.integer("ShiftedImages", "shift", shift)
        self.seed = arguments.integer("ShiftedImages", "seed", seed)
        large = x[: self.batch_size].nbytes >= LARGE_BATCH
        super().__init__(workers=2 if large else 1, max_queue_size=2)
        self._epoch = -1
        self._draw(0)

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def on_epoch_begin(self) -> None:
        """Draw order and moves anew."""
        self._epoch += 1
        self._draw(self._epoch)

    def _draw(self, epoch: int) -> None:
        self._order = permutation(len(self.x), self.seed, epoch)
        # Raw words, not Generator.integers: NumPy keeps only these fixed between releases.
        bits = np.random.Philox(key=np.array([self.seed, ~epoch], np.int64).view(np.uint64))
        span = np.uint64(2 * self.shift + 1)
        self._moves = (bits.random_raw((len(self.x), 2)) % span).astype(np.int64) - self.shift

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        """Batch `index` of the epoch."""
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return moved(self.x, rows, self._moves[rows]), self.y[rows]


def moved(images: Array, rows: npt.NDArray[np.int64], moves: npt.NDArray[np.int64]) -> Array:
    """Images `rows` of (n, H, W, C), each moved by (rows, columns) of moves (len(rows), 2).

    Zeros come in. Every image is one strided copy, during which NumPy holds no GIL.
    """
    height, width = images.shape[1:3]
    found = np.zeros((len(rows), *images.shape[1:]), images.dtype)
    down, right = (
        {move: _overlap(size, move) for move in set(along.tolist())}
        for size, along in zip((height, width), moves.T, strict=True)
    )
    for i, (row, (rows_by, columns_by)) in enumerate(
        zip(rows.tolist(), moves.tolist(), strict=True)
    ):
        (to_rows, from_rows), (to_columns, from_columns) = down[rows_by], right[columns_by]
        found[i, to_rows, to_columns] = images[row, from_rows, from_columns]
    return found


def _overlap(size: int, move: int) -> tuple[slice, slice]:
    """Of an axis moved along itself: where what stays inside goes, and where it comes from."""
    kept = max(0, size - abs(move))
    to, origin = max(0, move), max(0, -move)
    return slice(to, to + kept), slice(origin, origin + kept)
