# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: `cases` is importable, hypothesis sets no deadline."""

import sys
from pathlib import Path

from hypothesis import settings

# Needs PyTorch: `make parity` names the folder, which pytest then collects.
collect_ignore = ["parity"]

sys.path.insert(0, str(Path(__file__).parent))

# A time limit per example fails tests on a busy machine and says nothing about the code.
settings.register_profile("fastcnn", deadline=None)
settings.load_profile("fastcnn")
