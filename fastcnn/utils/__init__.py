# SPDX-License-Identifier: Apache-2.0
"""Small helpers in Keras spelling: files, labels, batch sources."""

from fastcnn.random import set_random_seed
from fastcnn.utils.files import fastcnn_home, get_file
from fastcnn.utils.labels import to_categorical
from fastcnn.utils.naming import clear_session
from fastcnn.utils.py_dataset import PyDataset, Sequence

__all__ = [
    "PyDataset",
    "Sequence",
    "clear_session",
    "fastcnn_home",
    "get_file",
    "set_random_seed",
    "to_categorical",
]
