# SPDX-License-Identifier: Apache-2.0
"""Keras' name for `preprocessing`."""

from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.preprocessing import preprocess_input as preprocess_input
