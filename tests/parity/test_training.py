# SPDX-License-Identifier: Apache-2.0
"""Trajectories: from the same weights and batches, the losses of step after step are PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fastcnn
from fastcnn import Input, Model, applications, config, layers
from parity import harness, peers

RATE, MOMENTUM = 0.001, 0.9
Array = np.ndarray[Any, Any]


def losses_of_torch(peer: nn.Module, batches: list[tuple[Array, Array]]) -> Array:
    """Loss of each batch before its step."""
    optimizer = torch.optim.SGD(peer.parameters(), RATE, momentum=MOMENTUM)
    found = []
    peer.train()
    for x, y in batches:
        optimizer.zero_grad()
        images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        loss = nn.functional.cross_entropy(peer(images), torch.from_numpy(y).long())
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def losses_of(model: Model, batches: list[tuple[Array, Array]]) -> Array:
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(fastcnn.optimizers.SGD(RATE, momentum=MOMENTUM), loss)
    found = []
    for x, y in batches:
        model.reset_metrics()
        found.append(float(model.train_on_batch(x, y)))
    return np.array(found)


def cifar_resnet18() -> nn.Module:
    """torchvision's, with a stem for small images."""
    peer = peers.build("torchvision:resnet18", {"num_classes": 10})
    peer.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    peer.maxpool = nn.Identity()
    peers.fill(peer, seed=4)
    return peer


def nudged(peer: nn.Module, seed: int) -> nn.Module:
    """A copy, each of whose weights differs by nothing or by its last bit."""
    copied = copy.deepcopy(peer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            signs = torch.randint(-1, 2, weight.shape, generator=generator)
            weight.mul_(1 + torch.finfo(weight.dtype).eps * signs)
    return copied


def as_model(peer: nn.Module) -> Model:
    model = applications.ResNet18(
        input_shape=(32, 32, 3), stem="cifar", classes=10, classifier_activation=None
    )
    model.load_state_dict({k: v.numpy() for k, v in peer.state_dict().items()})
    return model


def test_losses_of_a_residual_network_follow(monkeypatch: Any) -> None:
    """100 steps with Winograd's algorithm in forward and in both gradients.

    The first 20 stay within 1 %. What rounding has begun then grows by itself, in PyTorch too, so
    all together are measured by how far its float32 goes from its float64. How far one trajectory
    goes is chance, between a third of the mean and twice as much: both are sent three times, from
    weights that differ in their last bits.
    """
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    peer = cifar_resnet18()
    # Four batches in turn: losses fall all the way, and rounding has something to work on.
    batches = [
        (harness.images(4, 32, 32, seed=i % 4), harness.labels(4, 10, seed=i % 4))
        for i in range(100)
    ]
    exact = copy.deepcopy(peer).double()
    expected = losses_of_torch(exact, [(x.astype(np.float64), y) for x, y in batches])
    assert expected[-4:].max() < 0.5 * expected[:4].min()  # it learns them
    starts = [peer, nudged(peer, seed=1), nudged(peer, seed=2)]
    ours = np.array([losses_of(as_model(start), batches) for start in starts])
    theirs = np.array([losses_of_torch(start, batches) for start in starts])
    np.testing.assert_allclose(ours[:, :20], theirs[:, :20], rtol=1e-2)
    assert distance(ours, expected) < 3 * distance(theirs, expected)


def distance(losses: Array, expected: Array) -> float:
    """Root of the mean square of the relative deviations."""
    return float(np.sqrt(np.mean(np.square(losses / expected - 1))))


def small_pair() -> tuple[nn.Module, Model]:
    """A network of every kind of layer that trains, in float64."""
    peer = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    peers.fill(peer, seed=2)
    peer = peer.double()
    image = Input((12, 12, 3))
    y = layers.Conv2D(8, 3, padding=1, use_bias=False)(image)
    y = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(y)
    y = layers.MaxPooling2D(2)(layers.ReLU()(y))
    y = layers.Conv2D(16, 3, strides=2, padding=1, groups=2, activation="relu")(y)
    y = layers.GlobalAveragePooling2D()(y)
    model = Model(image, layers.Dense(4)(y))
    values = [p.detach().numpy() for p in peer.parameters()]
    kernel, gamma, beta, grouped, bias, dense, last = values
    model.set_weights(
        [
            kernel.transpose(2, 3, 1, 0),
            gamma,
            beta,
            np.zeros(8),
            np.ones(8),
            grouped.transpose(2, 3, 1, 0),
            bias,
            dense.T,
            last,
        ]
    )
    return peer, model


@pytest.fixture
def double() -> Iterator[None]:
    """Models of float64, which run on the references."""
    config.set_floatx("float64")
    yield
    config.set_floatx("float32")


@pytest.mark.usefixtures("double")
def test_the_reference_follows_in_float64() -> None:
    """10 steps to 1e-9."""
    peer, model = small_pair()
    batches = [
        (harness.images(6, 12, 12, seed=i).astype(np.float64), harness.labels(6, 4, seed=i))
        for i in range(10)
    ]
    ours, expected = losses_of(model, batches), losses_of_torch(peer, batches)
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
