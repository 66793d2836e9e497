# SPDX-License-Identifier: Apache-2.0
"""How many threads a run uses: one number for the C kernels and the reference kernels."""

from __future__ import annotations

import os
from typing import Any

from fastcnn.backends import _reference
from fastcnn.errors import BackendError

MAX_THREADS = 1024

_num_threads: int | None = None


def default_num_threads() -> int:
    """FASTCNN_NUM_THREADS, else the processors this process may use (affinity and cgroup quota)."""
    asked = os.environ.get("FASTCNN_NUM_THREADS")
    if asked:
        return check_num_threads(asked, "FASTCNN_NUM_THREADS")
    return max(1, min(_affinity(), _cgroup_quota()))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_quota() -> int:
    """Whole processors of the control group's quota; a large number where there is none."""
    unlimited = 1 << 16
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return unlimited
    return unlimited if quota == "max" else max(1, int(quota) // int(period))


def check_num_threads(value: Any, where: str) -> int:
    """`value` as a number of threads, or an error that says what is possible."""
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        count = 0
    if not 1 <= count <= MAX_THREADS:
        raise BackendError(f"{where}={value!r} is not a number of threads; give 1 to {MAX_THREADS}")
    return count


def set_num_threads(count: int) -> None:
    """Use `count` threads in every run from now on; results keep the same bits."""
    global _num_threads
    _num_threads = check_num_threads(count, "set_num_threads")
    _reference.set_num_threads(_num_threads)


def get_num_threads() -> int:
    """Threads that a run uses."""
    if _num_threads is None:
        set_num_threads(default_num_threads())
    assert _num_threads is not None
    return _num_threads
