# SPDX-License-Identifier: Apache-2.0
"""Prepare items ahead of their use, in threads, without changing their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

S = TypeVar("S")
T = TypeVar("T")

# Bytes of a batch from which a thread pays: handing one over takes 50 µs, as does copying less.
LARGE_BATCH = 1 << 19


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
