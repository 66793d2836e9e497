# SPDX-License-Identifier: Apache-2.0
"""How many threads a run uses: one number for the C kernels and the reference kernels."""

from __future__ import annotations

import os

from fastcnn.errors import BackendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MAX_THREADS = 1024
_UNLIMITED = 1 << 16

_num_threads: int | None = None
_followers: list[Callable[[int], None]] = []


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


def _cgroup_quota(root: str = "/") -> int:
    """Whole processors that the control groups of this process grant; many where none limits it.

    Two and a half count as two: three threads would use up what is granted before its period ends,
    and stand still until the next one begins. Less than one is one.
    """
    return max(1, int(min(_quotas(root), default=_UNLIMITED)))


def _quotas(root: str) -> Iterator[float]:
    """Processors granted to each group on the way from this process' own to the outermost.

    Lines are "number:controllers:path" (cgroups(7)); version 2 has no controllers there. What a
    container cannot see of a path is not looked for.
    """
    for line in (_read(root, "proc/self/cgroup") or "0::/").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        groups = [group for group in path.split("/") if group]
        for mount in ("cpu", controllers) if controllers else ("", "unified"):
            for depth in range(len(groups) + 1 if ".." not in groups else 1):
                yield _granted(os.path.join(root, "sys/fs/cgroup", mount, *groups[:depth]))


def _granted(group: str) -> float:
    """Processors granted to one group: microseconds by those of a period, in one file or in two."""
    text = _read(group, "cpu.max")
    text = text or f"{_read(group, 'cpu.cfs_quota_us')} {_read(group, 'cpu.cfs_period_us')}"
    try:
        quota, period = map(int, text.split())
    except ValueError:  # "max", or nothing
        return _UNLIMITED
    return quota / period if quota > 0 and period > 0 else _UNLIMITED


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


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
    for follower in _followers:
        follower(_num_threads)


def follow(follower: Callable[[int], None]) -> None:
    """Call `follower` with the number of threads whenever it is set, and now if it has been.

    Nothing is asked of the environment: that is for the first run, not for an import.
    """
    _followers.append(follower)
    if _num_threads is not None:
        follower(_num_threads)


def get_num_threads() -> int:
    """Threads that a run uses."""
    if _num_threads is None:
        set_num_threads(default_num_threads())
    assert _num_threads is not None
    return _num_threads
