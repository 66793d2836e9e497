# SPDX-License-Identifier: Apache-2.0
"""Networks that Keras has: weights it saved load here, and outputs agree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import zoo
from parity import harness
from zoo.row import Row

os.environ["KERAS_BACKEND"] = "torch"
import keras
from keras.src.legacy.saving import legacy_h5_format

# Keras' variables are what h5py complains of when Keras saves them.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# A VGG is the same network everywhere.
ROWS = [
    row
    for row in zoo.ROWS
    if row.arguments.get("variant") == "keras"
    or (row.network in ("VGG16", "VGG19") and not row.arguments)
]


def peer_of(row: Row, size: int) -> Any:
    """Keras' network, with random weights and statistics."""
    widths = {k: v for k, v in row.arguments.items() if k != "variant"}
    network = getattr(keras.applications, row.network)(
        weights=None, input_shape=(size, size, 3), classifier_activation=None, **widths
    )
    random = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(draw(random, weight.path.rpartition("/")[2], tuple(weight.shape)))
    return network


def draw(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> harness.Array:
    if name == "kernel":
        # A depthwise kernel (R, S, C, 1) sums over R and S alone.
        terms = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
        return random.normal(0, np.sqrt(2 / terms), shape).astype(np.float32)
    if name in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    return random.normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_weights_load_and_outputs_agree(row: Row, tmp_path: Path) -> None:
    # A VGG flattens its last maps, so that its size is given.
    size = 224 if row.network.startswith("VGG") else 139
    peer = peer_of(row, size)
    path = tmp_path / "network.weights.h5"
    peer.save_weights(path)
    model = row.build(input_shape=(size, size, 3), classifier_activation=None)
    model.load_weights(path)
    for batch in (1, 3):
        x = harness.images(batch, size, size)
        expected = np.asarray(peer(x, training=False).detach())
        assert harness.of_largest(model.predict_on_batch(x), expected) < 1e-4


def test_files_of_old_versions_load_too(tmp_path: Path) -> None:
    """The layout of the files that Keras publishes for its applications."""
    row = next(row for row in ROWS if row.network == "MobileNet")
    peer = peer_of(row, 64)
    path = tmp_path / "network.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, peer)
    model = row.build(input_shape=(64, 64, 3), classifier_activation=None)
    model.load_weights(path)
    x = harness.images(2, 64, 64)
    expected = np.asarray(peer(x, training=False).detach())
    assert harness.of_largest(model.predict_on_batch(x), expected) < 1e-4
