# SPDX-License-Identifier: Apache-2.0
"""The machine that the tables were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """Name, family and model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
    name = found.get("model name", platform.processor())
    return f"{name}, family {found.get('cpu family')}, model {found.get('model')}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def plural(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"
