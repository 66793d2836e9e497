# SPDX-License-Identifier: Apache-2.0
"""Every network that torchvision or timm has: the same checkpoints, outputs and gradients."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from fastcnn import Model, applications
from parity import harness, peers
from zoo.row import Row

ROWS = [row for row in zoo.ROWS if row.peer]

Shape = tuple[int, int, int, int]

# (H, W) beside the default; not square, so that nothing can be the wrong way round.
OTHER_SIZE = {32: (48, 40), 224: (160, 128), 299: (203, 171)}
# For gradients: small, with more than one pixel left where the last maps are normalized.
SMALL_SIZE = {32: 32, 224: 64, 299: 128}
BATCHES = 5


@dataclass(frozen=True)
class Pair:
    """A network in both worlds, of logits and without dropout.

    Attributes:
        sizes: shapes (N, H, W, C) of images for outputs.
        small: shape of those for gradients.
        classes: number of them.
    """

    peer: torch.nn.Module
    model: Model
    sizes: tuple[Shape, Shape]
    small: Shape
    classes: int


@pytest.fixture(scope="module", params=ROWS, ids=str)
def pair(request: Any) -> Pair:
    row = request.param
    _, size, _, channels = row.build().inputs[0].shape
    keywords = inspect.signature(getattr(applications, row.network)).parameters
    dropout = {name: 0.0 for name in keywords if name.endswith("dropout")}
    model = row.build(input_shape=(None, None, channels), classifier_activation=None, **dropout)
    peer = peers.build(row.peer, row.peer_arguments)
    peers.fill(peer, seed=1)
    other, small = other_sizes(row, size)
    peers.settle(peer, harness.images(4, size // 2, size // 2, channels), seed=2)
    sizes = (1, size, size, channels), (3, *other, channels)
    return Pair(peer, model, sizes, (*small, channels), row.output[-1])


def other_sizes(row: Row, size: int) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """(H, W) for outputs and (N, H, W) for gradients."""
    if row.network == "InceptionV3" and row.arguments.get("auxiliary"):
        return (331, 299), (2, 299, 299)  # the auxiliary head needs maps of 17x17
    side = 32 if row.network.startswith("VGG") else SMALL_SIZE[size]
    return OTHER_SIZE[size], (4, side, side)


def test_checkpoints_load_and_outputs_agree(pair: Pair, tmp_path: Path) -> None:
    paths = peers.save(pair.peer, tmp_path)
    pair.model.load_weights(paths["safetensors"])
    for size in pair.sizes:
        x = harness.images(*size)
        found, expected = harness.logits(pair.model, x), peers.logits(pair.peer, x)
        assert harness.of_largest(found, expected) < 1e-4
    kept = pair.model.state_dict()
    harness.forget(pair.model)
    pair.model.load_weights(paths["pth"])
    harness.assert_same(pair.model.state_dict(), kept)


def test_pytorch_takes_what_is_saved_here(pair: Pair) -> None:
    expected = {name: array.copy() for name, array in peers.state(pair.peer).items()}
    pair.model.load_state_dict(expected)
    with torch.no_grad():
        for tensor in pair.peer.state_dict().values():
            tensor.zero_()
    given = {name: torch.from_numpy(a) for name, a in pair.model.state_dict().items()}
    missing, unexpected = pair.peer.load_state_dict(given, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    harness.assert_same(peers.state(pair.peer), expected)


def test_gradients_agree_where_relus_are_open(pair: Pair) -> None:
    """Within 1e-3 of the largest entry of each parameter's gradient."""
    with peers.opened(pair.peer):
        assert_gradients_agree(pair, 1e-3)


def test_gradients_agree_where_half_of_the_relus_are_open(pair: Pair) -> None:
    """Within three times the difference between PyTorch's float32 and its float64."""
    assert_gradients_agree(pair, 0.0)


def assert_gradients_agree(pair: Pair, tolerance: float) -> None:
    """On some batch gradients are as near to PyTorch's float64 as is asked for.

    That is `tolerance`, or three times the most that PyTorch's own float32 deviates. Now and then a
    ReLU sees 0 but for rounding, or two pixels under a max-pooling are as close, and float32 takes
    another turn than float64. A wrong gradient is wrong on every batch.
    """
    pair.model.load_state_dict(peers.state(pair.peer))
    own, found = 0.0, []
    for seed in range(BATCHES):
        x, y = harness.images(*pair.small, seed), harness.labels(pair.small[0], pair.classes, seed)
        exact = peers.gradients(pair.peer, x, y, torch.float64)
        ours = harness.deviations(harness.gradients(pair.model, x, y), exact)
        found.append(sorted(ours.items(), key=lambda item: -item[1])[:3])
        if max(ours.values()) < tolerance:
            return
        single = harness.deviations(peers.gradients(pair.peer, x, y, torch.float32), exact)
        own = max(own, *single.values())
        if min(worst[0][1] for worst in found) < 3 * own:
            return
    raise AssertionError(f"gradients deviate, PyTorch's by {own:.1e} and ours most in {found}")
