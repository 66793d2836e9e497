# SPDX-License-Identifier: Apache-2.0
"""Exact numbers about a model: receptive fields, and what its layers hold, cost and compute."""

from fastcnn.analysis.arithmetic import explain_count
from fastcnn.analysis.counts import Count, LayerCount, count
from fastcnn.analysis.effective import EffectiveField, effective_receptive_field
from fastcnn.analysis.field import ReceptiveField, receptive_field
from fastcnn.analysis.footprint import Memory, memory
from fastcnn.analysis.pictures import draw_effective_receptive_field, draw_receptive_field
from fastcnn.analysis.probing import Machine, Team, probe
from fastcnn.analysis.roofline import Prediction, predict_time

__all__ = [
    "Count",
    "EffectiveField",
    "LayerCount",
    "Machine",
    "Memory",
    "Prediction",
    "ReceptiveField",
    "Team",
    "count",
    "draw_effective_receptive_field",
    "draw_receptive_field",
    "effective_receptive_field",
    "explain_count",
    "memory",
    "predict_time",
    "probe",
    "receptive_field",
]
