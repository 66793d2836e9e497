# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: `cases` is importable, no deadline, small work is for all threads too.

What `autotune` found on this machine is not looked at.
"""

import os
import sys
from pathlib import Path

from hypothesis import settings

from fastcnn.backends import cpu
from fastcnn.models import choices

# Needs PyTorch: `make parity` names the folder, which pytest then collects.
collect_ignore = ["parity"]

sys.path.insert(0, str(Path(__file__).parent))

# A time limit per example fails tests on a busy machine and says nothing about the code.
settings.register_profile("fastcnn", deadline=None)
settings.load_profile("fastcnn")

# Small calls would run on one thread, and tests are made of small calls.
cpu.THREAD_NS, cpu.TEAM_NS = 1e-6, 0.0

# A folder that cannot be: nothing is found there, and nothing can be left there.
choices.folder = lambda: Path(os.devnull)
