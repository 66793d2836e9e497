# SPDX-License-Identifier: Apache-2.0
"""Weights from other people's files: reading them, and finding out which tensor is whose.

    read     any file -> WeightsFile: tensors by the file's own names, in its own layout
    match    WeightsFile + what a network expects -> Checkpoint: tensors by the network's names
    fetch    "hub:owner/name" -> a file on this machine

Nothing here knows layers or models: names and shapes come in, arrays go out.
"""

from fastcnn.weights.contents import WeightsFile as WeightsFile
from fastcnn.weights.contents import releaser as releaser
from fastcnn.weights.hub import fetch as fetch
from fastcnn.weights.matching import Checkpoint as Checkpoint
from fastcnn.weights.matching import match as match
from fastcnn.weights.reading import read as read
