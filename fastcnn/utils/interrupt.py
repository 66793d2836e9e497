# SPDX-License-Identifier: Apache-2.0
"""Keeping Ctrl-C from tearing apart what belongs together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT that arrives inside is dealt with at the end, so that nothing is left half done.

    Only the main thread is ever interrupted; elsewhere, and where SIGINT is not handled by Python,
    this does nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received: list[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            handler(*received[0])
