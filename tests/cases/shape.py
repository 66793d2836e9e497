# SPDX-License-Identifier: Apache-2.0
"""Cases of the shape family."""

from __future__ import annotations

from cases.case import Case

CASES: list[Case] = []
