# SPDX-License-Identifier: Apache-2.0
"""Whose names are whose: one file per family of names, each a few pure functions.

Ours are those of torchvision, or else of timm, in `state_dict()`; in `named_weights()` the layers
are called the same and variables as in Keras. A dialect translates someone else's into either.
"""

from fastcnn.weights.dialects import (
    densenet,
    generic,
    inception,
    mobilenet,
    resnet,
    senet,
    vgg,
    xception,
)
from fastcnn.weights.dialects.base import Dialect as Dialect
from fastcnn.weights.dialects.base import Layout as Layout

# The first of equals is taken, so names that are ours stand first.
ALL: tuple[Dialect, ...] = (
    *generic.ALL,
    *densenet.ALL,
    *inception.ALL,
    *mobilenet.ALL,
    *resnet.ALL,
    *vgg.ALL,
    *xception.ALL,
    *senet.ALL,
)
