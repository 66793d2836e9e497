# SPDX-License-Identifier: Apache-2.0
"""The harness itself, on a network of a few layers: it agrees where it must, and differs too."""

import numpy as np
import pytest
import torch
from torch import nn

from fastcnn import Input, Model, layers
from parity import harness, peers


@pytest.fixture
def peer():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 3 * 3, 5),
    )
    peers.fill(module, seed=1)
    peers.settle(module, harness.images(8, 16, 16), seed=2)
    return module


@pytest.fixture
def ours():
    norm = {"momentum": 0.9, "epsilon": 1e-5}
    image = Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding=1, use_bias=False, name="0")(image)
    x = layers.BatchNormalization(**norm, name="1")(x)
    x = layers.Activation("relu6")(x)
    x = layers.DepthwiseConv2D(3, padding=1, name="3")(x)
    x = layers.BatchNormalization(**norm, name="4")(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(12, 3, groups=2, activation="relu", name="6")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    return Model(image, layers.Dense(5, name="10")(x))


def test_both_compute_the_same(peer, ours, tmp_path):
    paths = peers.save(peer, tmp_path)
    ours.load_weights(paths["safetensors"])
    for batch in (1, 3):
        x = harness.images(batch, 16, 16)
        found, expected = ours.predict_on_batch(x), peers.logits(peer, x)
        assert harness.of_largest(found, expected) < 1e-5
    x, y = harness.images(4, 16, 16), harness.labels(4, 5)
    found = harness.gradients(ours, x, y)
    deviations = harness.deviations(found, peers.gradients(peer, x, y, torch.float64))
    assert max(deviations.values()) < 1e-3, deviations


def test_gradients_leave_the_weights(peer, ours):
    ours.load_state_dict(peers.state(peer))
    harness.gradients(ours, harness.images(4, 16, 16), harness.labels(4, 5))
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, peers.state(peer)[name])


def test_a_difference_is_seen(peer, ours):
    ours.load_state_dict(peers.state(peer))
    x, y = harness.images(4, 16, 16), harness.labels(4, 5)
    expected = peers.gradients(peer, x, y, torch.float64)
    peer[4].eps = 1e-3
    assert harness.of_largest(ours.predict_on_batch(x), peers.logits(peer, x)) > 1e-4
    other = peers.gradients(peer, x, y, torch.float64)
    assert max(harness.deviations(other, expected).values()) > 1e-3


def test_opened_relus_are_open_for_a_while(peer):
    before = peers.state(peer)["10.bias"].copy()
    shares = []
    for part in peer:
        if isinstance(part, (nn.ReLU, nn.ReLU6)):
            part.register_forward_pre_hook(
                lambda _, x: shares.append(float((x[0] > 0).float().mean()))
            )
    with peers.opened(peer):
        peers.gradients(peer, harness.images(4, 16, 16), harness.labels(4, 5), torch.float32)
    assert len(shares) == 3
    assert min(shares) > 0.98, shares
    np.testing.assert_array_equal(peers.state(peer)["10.bias"], before)


def test_filling_repeats():
    modules = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(2)]
    for module in modules:
        peers.fill(module, seed=3)
        peers.settle(module, harness.images(2, 8, 8), seed=3)
    for name, array in peers.state(modules[0]).items():
        np.testing.assert_array_equal(array, peers.state(modules[1])[name])
        assert np.ptp(array) > 0
