# SPDX-License-Identifier: Apache-2.0
"""Keras' name for a part of `vgg`."""

from fastcnn.applications.vgg import VGG19 as VGG19
from fastcnn.applications.vgg import decode_predictions as decode_predictions
from fastcnn.applications.vgg import preprocess_input as preprocess_input
