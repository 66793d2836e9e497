# SPDX-License-Identifier: Apache-2.0
"""The norm family of operations."""

from __future__ import annotations

from fastcnn.graph import Op

OPS: tuple[type[Op], ...] = ()
