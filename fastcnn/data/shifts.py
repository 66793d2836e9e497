# SPDX-License-Identifier: Apache-2.0
"""Training batches whose images are moved by a few pixels, anew in every epoch."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from fastcnn import arguments
from fastcnn.data.arrays import check_lengths
from fastcnn.data.sampling import permutation
from fastcnn.utils.py_dataset import PyDataset

Array = npt.NDArray[Any]


@final
class ShiftedImages(PyDataset):
    """Batches (x, y) of images in a random order, each moved up to `shift` pixels each way.

    What moves in from outside is zero. Order and moves are a function of (seed, epoch) alone.

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
        super().__init__()
        check_lengths([("x", x), ("y", y)], "ShiftedImages")
        self.x, self.y = x, y
        self.batch_size = arguments.integer("ShiftedImages", "batch_size", batch_size, 1)
        self.shift = arguments.integer("ShiftedImages", "shift", shift)
        self.seed = arguments.integer("ShiftedImages", "seed", seed)
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
        return moved(self.x[rows], self._moves[rows]), self.y[rows]


def moved(images: Array, moves: npt.NDArray[np.int64]) -> Array:
    """Images (n, H, W, C) moved by (rows, columns) each, moves (n, 2); zeros come in.

    One call cuts all of them out of larger ones, so that a thread holds no GIL meanwhile.
    """
    count, height, width = images.shape[:3]
    margin = int(np.abs(moves).max(initial=0))
    padded = np.zeros(
        (count, height + 2 * margin, width + 2 * margin, images.shape[3]), images.dtype
    )
    padded[:, margin : margin + height, margin : margin + width] = images
    # (n, rows moved, columns moved, H, W, C): every image at every place, without a copy.
    windows = sliding_window_view(padded, (height, width), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    down, right = (margin - moves).T
    return np.ascontiguousarray(windows[np.arange(count), down, right])
