# SPDX-License-Identifier: Apache-2.0
"""Keras' name for a part of `resnet`."""

from fastcnn.applications.resnet import ResNet50 as ResNet50
from fastcnn.applications.resnet import decode_predictions as decode_predictions
from fastcnn.applications.resnet import preprocess_input as preprocess_input
