# SPDX-License-Identifier: Apache-2.0
"""The base class for batch sources written by the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class PyDataset(ABC):
    """A source of whole batches, addressed by batch index.

    Subclasses implement `__len__` (number of batches) and `__getitem__(index)`, which returns
    one batch as `x`, `(x, y)` or `(x, y, sample_weight)`. `on_epoch_begin` and `on_epoch_end`
    may be overridden, for example to redraw augmentation.

    Args:
        workers: threads that prepare batches ahead of the training loop. 1 makes a batch while
            the step before it runs, where making one takes more than 2 ms; `__getitem__` is then
            called by one thread at a time, but not always by the same one. With more than one,
            `__getitem__` must be thread-safe. 0 makes every batch in the loop itself, after the
            callbacks of the step before: for sources that callbacks change or use between
            batches, and for what belongs to one thread, such as database connections and signals.
            Batches always arrive in the same order.
        use_multiprocessing: accepted for Keras scripts; workers are always threads, because
            NumPy and image decoders release the interpreter lock.
        max_queue_size: how many batches may wait in memory when `workers` > 1.
    """

    workers: int = 1
    use_multiprocessing: bool = False
    max_queue_size: int = 10

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches in one epoch."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Batch `index`, 0 ≤ index < len(self)."""

    @property
    def num_batches(self) -> int | None:
        """Number of batches in one epoch; override to return None for an endless source."""
        return len(self)

    def on_epoch_begin(self) -> None:  # noqa: B027
        """Called before the first batch of an epoch is asked for."""

    def on_epoch_end(self) -> None:  # noqa: B027
        """Called after the last batch of an epoch was delivered."""


Sequence = PyDataset
