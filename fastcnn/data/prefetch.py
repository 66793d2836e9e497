# SPDX-License-Identifier: Apache-2.0
"""Prepare items ahead of their use, in threads, without changing their order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from fastcnn.data.batch import Batch
from fastcnn.utils import turn

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

S = TypeVar("S")
T = TypeVar("T")

# Bytes of a batch from which a thread pays: handing one over takes 50 µs, as does copying less.
LARGE_BATCH = 1 << 19

# Seconds of making a batch from which a thread pays, where only the source knows what it takes:
# on cores that are all at work it takes up to a millisecond from the step beside it.
_LONG = 2e-3


def map_ahead(
    function: Callable[[S], T], items: Iterable[S], workers: int, depth: int
) -> Iterator[T]:
    """Yield `function(item)` in the order of `items`.

    Args:
        function: called in worker threads if there are any.
        items: what to map; may be endless.
        workers: number of threads; 0 maps in the calling thread.
        depth: how many results may be under way or waiting.
    """
    if workers == 0:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers, thread_name_prefix="fastcnn-data")
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= max(1, depth):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Reached also when the consumer stops early or an item fails.
        pool.shutdown(wait=True, cancel_futures=True)


def one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield `batches`, by a thread one ahead of their use where making one takes long.

    After a batch that took more than 2 ms the next one is made while that one is used, else when
    it is asked for. One thread at a time asks `batches`, for no more than there are, and an error
    comes where its batch would have come. What is in use while the next batch is made is a copy,
    since a source may fill the same arrays again. When the loop stops early, a batch that is being
    made is waited for and lost.
    """
    pool = None
    asked = threading.Event()
    try:
        batch, long = _next(batches)
        while batch is not None:
            if not long:
                yield batch
                batch, long = _next(batches)
                continue
            pool = pool or _one_thread(asked)
            asked.clear()
            coming = pool.submit(copy_context().run, _next, batches)
            yield batch
            asked.set()
            batch, long = coming.result()
    finally:
        asked.set()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread(asked: threading.Event) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "fastcnn-data", turn.follow, (asked,))


def _next(batches: Iterator[Batch]) -> tuple[Batch | None, bool]:
    """The next batch, None after the last, and whether it took long; it is a copy then."""
    begin = time.perf_counter()
    batch = next(batches, None)
    long = time.perf_counter() - begin > _LONG
    return (batch.copied() if long and batch is not None else batch), long
