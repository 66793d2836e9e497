# SPDX-License-Identifier: Apache-2.0
"""Exact numbers about a model: receptive fields, and what its layers hold, cost and compute."""

from fastcnn.analysis.field import ReceptiveField, receptive_field

__all__ = ["ReceptiveField", "receptive_field"]
