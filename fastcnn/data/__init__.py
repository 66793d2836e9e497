# SPDX-License-Identifier: Apache-2.0
"""From the user's data to batches: arrays, generators and batch sources behind one interface."""

from fastcnn.data.adapter import DataAdapter, make_adapter
from fastcnn.data.batch import ArraySpec, Batch
from fastcnn.data.packing import (
    pack_x_y_sample_weight,
    train_validation_split,
    unpack_x_y_sample_weight,
)
from fastcnn.data.sampling import permutation
from fastcnn.data.shifts import ShiftedImages
from fastcnn.data.structure import Structure

__all__ = [
    "ArraySpec",
    "Batch",
    "DataAdapter",
    "ShiftedImages",
    "Structure",
    "make_adapter",
    "pack_x_y_sample_weight",
    "permutation",
    "train_validation_split",
    "unpack_x_y_sample_weight",
]
