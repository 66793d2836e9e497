# SPDX-License-Identifier: Apache-2.0
"""Small helpers in Keras spelling: files, labels, batch sources."""

from fastcnn.utils.files import fastcnn_home, get_file
from fastcnn.utils.labels import to_categorical
from fastcnn.utils.py_dataset import PyDataset, Sequence

__all__ = [
    "PyDataset",
    "Sequence",
    "fastcnn_home",
    "get_file",
    "to_categorical",
]
