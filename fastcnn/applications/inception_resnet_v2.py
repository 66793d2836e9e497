# SPDX-License-Identifier: Apache-2.0
"""Keras' name for a part of `inception_resnet`."""

from fastcnn.applications.inception_resnet import InceptionResNetV2 as InceptionResNetV2
from fastcnn.applications.inception_resnet import decode_predictions as decode_predictions
from fastcnn.applications.inception_resnet import preprocess_input as preprocess_input
