# SPDX-License-Identifier: Apache-2.0
"""Names that need no table: our own, and those of a user's Keras model with our layer names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastcnn.weights.dialects.base import Dialect, layers_of, numbered
from fastcnn.weights.keras_file import NAMELESS, VARIABLES


def _unchanged(names: Sequence[str]) -> dict[str, str]:
    return {}


TORCH = Dialect("state_dict names", "torch", _unchanged)
OWN = Dialect("fastcnn's own names", "keras", _unchanged)


def _within_file(names: Sequence[str]) -> dict[str, str]:
    """Files without layer names count classes within the file, as we do."""
    return {name: name.removeprefix(NAMELESS) for name in names}


def _renumbered(names: Sequence[str]) -> dict[str, str]:
    """conv2d_17, conv2d_18 of a model that was not a process's first are conv2d, conv2d_1."""
    layers = layers_of(names)
    ours: dict[str, str] = {}
    for class_name in VARIABLES:
        for number, layer in enumerate(numbered(layers, re.escape(class_name))):
            ours[layer] = f"{class_name}_{number}" if number else class_name
    found = {}
    for name in names:
        layer, _, variable = name.rpartition(".")
        found[name] = f"{ours.get(layer, layer)}.{variable}"
    return found


KERAS_NAMELESS = Dialect("Keras' paths of layers", "keras", _within_file)
KERAS_NUMBERED = Dialect("Keras' automatic names of layers", "keras", _renumbered)

ALL = (TORCH, OWN, KERAS_NAMELESS, KERAS_NUMBERED)
