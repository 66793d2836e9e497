# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: `cases` is importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
