# SPDX-License-Identifier: Apache-2.0
"""Models: drawn, trained, run, saved."""

from fastcnn.models.functional import Functional as Functional
from fastcnn.models.model import Model as Model
from fastcnn.models.saving import load_model as load_model
from fastcnn.models.saving import save_model as save_model
from fastcnn.models.sequential import Sequential as Sequential
from fastcnn.models.serialization import register_serializable as register_serializable
