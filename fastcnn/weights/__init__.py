# SPDX-License-Identifier: Apache-2.0
"""Weights from other people's files: reading them, and finding out which tensor is whose.

    read     any file -> WeightsFile: tensors by the file's own names, in its own layout
    match    WeightsFile + what a network expects -> Checkpoint: tensors by the network's names
    fetch    "hub:owner/name" -> a file on this machine

Nothing here knows layers or models: names and shapes come in, arrays go out.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastcnn.weights.contents import WeightsFile as WeightsFile
from fastcnn.weights.contents import releaser as releaser
from fastcnn.weights.reading import read as read

if TYPE_CHECKING:
    from fastcnn.weights.hub import fetch as fetch
    from fastcnn.weights.matching import Checkpoint as Checkpoint
    from fastcnn.weights.matching import match as match

# A model's own file needs none of them.
_LATER = {"Checkpoint": "matching", "fetch": "hub", "match": "matching"}


def __getattr__(name: str) -> Any:
    """Names that are imported on first use."""
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
