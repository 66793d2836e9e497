# SPDX-License-Identifier: Apache-2.0
"""Batches made ahead do not read a model that a step is changing."""

from __future__ import annotations

import threading


class _Thread(threading.local):
    turn: threading.Event | None = None


_thread = _Thread()


def follow(turn: threading.Event) -> None:
    """Have `wait_turn` wait for `turn` where the calling thread calls it from now on."""
    _thread.turn = turn


def wait_turn() -> None:
    """Wait, in a thread that makes batches ahead, until the loop over the batches waits for it.

    Called by models before they run or reset anything. A source that asks a model so finds it as
    the last step left it, whatever the time its batches take. Elsewhere this does nothing.
    """
    turn = _thread.turn
    if turn is not None:
        turn.wait()
