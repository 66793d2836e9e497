# SPDX-License-Identifier: Apache-2.0
"""Files as people have them: halves, auxiliary heads, old names and containers, training states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fastcnn import Model, applications
from parity import harness, peers

State = dict[str, torch.Tensor]


def filled(peer: str, size: int = 64, **arguments: Any) -> nn.Module:
    module = peers.build(peer, arguments)
    peers.fill(module, seed=1)
    peers.settle(module, harness.images(8, size, size), seed=2)
    return module


def assert_agree(model: Model, peer: nn.Module, size: int = 64) -> None:
    x = harness.images(2, size, size)
    assert harness.of_largest(model.predict_on_batch(x), peers.logits(peer, x)) < 1e-4


def network(name: str, size: int = 64, **arguments: Any) -> Model:
    arguments["input_shape"] = (size, size, 3)
    return getattr(applications, name)(classifier_activation=None, **arguments)


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    peer = filled("torchvision:resnet18").to(dtype)
    model = network("ResNet18")
    model.load_weights(peers.save(peer, tmp_path)[kind])
    peer.float()
    harness.assert_same(model.state_dict(), peers.state(peer))
    assert_agree(model, peer)


@pytest.mark.parametrize(
    ("name", "peer", "size"),
    [("GoogLeNet", "torchvision:googlenet", 64), ("InceptionV3", "torchvision:inception_v3", 299)],
)
def test_auxiliary_heads_are_left_out(name: str, peer: str, size: int, tmp_path: Path) -> None:
    module = filled(peer, size, aux_logits=True, init_weights=False)
    assert any("aux" in key.lower() for key in module.state_dict())
    model = network(name, size, weights=peers.save(module, tmp_path)["pth"])
    assert_agree(model, module, size)


def test_old_names_of_densenet(tmp_path: Path) -> None:
    module = filled("torchvision:densenet121")
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): tensor
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in renamed
    torch.save(renamed, tmp_path / "densenet121.pth")
    model = network("DenseNet121")
    model.load_weights(tmp_path / "densenet121.pth")
    assert_agree(model, module)


def test_the_container_of_pytorch_before_1_6(tmp_path: Path) -> None:
    module = filled("torchvision:resnet18")
    torch.save(module.state_dict(), tmp_path / "resnet18.pth", _use_new_zipfile_serialization=False)
    model = network("ResNet18")
    model.load_weights(tmp_path / "resnet18.pth")
    assert_agree(model, module)


def test_a_whole_training_state(tmp_path: Path) -> None:
    """Weights in a dict beside other things, from several processes."""
    module = filled("torchvision:resnet18")
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    weights = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    state = {"state_dict": weights, "epoch": 90, "optimizer": optimizer.state_dict()}
    torch.save(state, tmp_path / "checkpoint.pth.tar")
    model = network("ResNet18")
    model.load_weights(tmp_path / "checkpoint.pth.tar")
    assert_agree(model, module)


def test_timm_writes_vgg_as_convolutions(tmp_path: Path) -> None:
    module = filled("timm:vgg11", 224)
    model = network("VGG11", 224)
    model.load_weights(peers.save(module, tmp_path)["safetensors"])
    assert_agree(model, module, 224)


def test_what_is_saved_here_loads_in_torchvision(tmp_path: Path) -> None:
    model = network("ResNet18")
    random = np.random.default_rng(1)
    for weight in model.weights:
        one = len(weight.shape) == 1
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if one else weight.value / 2)
    model.save_weights(tmp_path / "ours.safetensors")
    module = peers.build("torchvision:resnet18", {})
    missing, unexpected = module.load_state_dict(load_file(tmp_path / "ours.safetensors"), False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert_agree(model, module)


def test_the_weights_of_another_network_change_nothing(tmp_path: Path) -> None:
    save_file(filled("torchvision:resnet34").state_dict(), tmp_path / "resnet34.safetensors")
    model = network("ResNet18")
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"unexpected: 'layer1\.2\."):
        model.load_weights(tmp_path / "resnet34.safetensors")
    harness.assert_same(model.state_dict(), before)
