# SPDX-License-Identifier: Apache-2.0
"""The networks as PyTorch defines them, with weights drawn from a seed.

No trained weights are fetched: speed does not depend on them as long as activations keep a sane
size, neither growing without bounds nor fading into denormal numbers. Batch norms therefore get
the statistics that their own inputs have.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

# torchvision's wheel expects operators that PyTorch's CPU build lacks; declared, it imports, and
# no classification model uses them.
if not torch.backends.cuda.is_built():
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )

import torchvision

from .cases import NETWORKS, TRAIN, Case, Files

SEED = 20240131
OPSET = 18


def build(network: str) -> nn.Module:
    """The public definition of `network`, its weights as the library draws them."""
    found = NETWORKS[network]
    library, _, name = found.source.partition(":")
    if library == "torchvision":
        module: nn.Module = torchvision.models.get_model(name, weights=None, **found.arguments)
    elif library == "source":
        module = DEFINED[name]()
    else:
        import timm

        module = timm.create_model(name, pretrained=False, **found.arguments)
    return module.eval()


def lenet5() -> nn.Module:
    """LeNet-5 as it is taught: average pooling, tanh (LeCun et al. 1998)."""
    layers = {
        "c1": nn.Conv2d(1, 6, 5),
        "a1": nn.Tanh(),
        "s2": nn.AvgPool2d(2),
        "c3": nn.Conv2d(6, 16, 5),
        "a3": nn.Tanh(),
        "s4": nn.AvgPool2d(2),
        "flatten": nn.Flatten(),
        "c5": nn.Linear(400, 120),
        "a5": nn.Tanh(),
        "f6": nn.Linear(120, 84),
        "a6": nn.Tanh(),
        "output": nn.Linear(84, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def cifar_resnet18() -> nn.Module:
    """torchvision's ResNet-18 with a stem for images of 32x32."""
    module = torchvision.models.resnet18(num_classes=10)
    module.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    module.maxpool = nn.Identity()
    return module


DEFINED = {"lenet5": lenet5, "cifar_resnet18": cifar_resnet18}


def load(case: Case, files: Files) -> nn.Module:
    """The network of a case with the weights that `make` has written."""
    module = build(case.network)
    module.load_state_dict(load_file(files.weights))
    return module


def make(case: Case, files: Files) -> None:
    """Write weights, images and PyTorch's logits of a case; the same ones in every run."""
    random = np.random.default_rng([SEED, case.batch])
    images = random.standard_normal((case.batch, *case.image), np.float32)
    labels = random.integers(0, NETWORKS[case.network].classes, case.batch)
    module = build(case.network)
    draw(module)
    settle(module, case)
    save_file(module.state_dict(), files.weights)
    if case.task == TRAIN:
        prepare_training(module)
    else:
        module.eval()
    with torch.no_grad():
        logits = module(channels_first(images))
        if case.task == TRAIN:
            logits = nn.functional.cross_entropy(logits, torch.from_numpy(labels)).reshape(1)
    np.save(files.images, images)
    np.save(files.labels, labels)
    np.save(files.logits, logits.numpy())


def prepare_training(module: nn.Module) -> None:
    """Training mode without dropout, whose draws no two libraries share: losses can be compared."""
    module.train()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def draw(module: nn.Module) -> None:
    """Draw all weights: He et al. (2015) for sums, scales around one, shifts around zero."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            elif isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
            else:
                continue
            if part.bias is not None:
                part.bias.normal_(0.0, 0.1)


def settle(module: nn.Module, case: Case) -> None:
    """Let every batch norm take over the statistics of a batch of images of its own."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    height, width, channels = case.image
    with torch.no_grad():
        module.train()(torch.randn(4, channels, height, width))


def write_onnx(case: Case, files: Files) -> None:
    """Write the network as ONNX, the batch fixed, so that its readers may plan for it."""
    if files.of("onnx").exists():
        return
    images = channels_first(np.load(files.images))
    torch.onnx.export(
        load(case, files),
        (images,),
        files.of("onnx"),
        dynamo=False,  # the other exporter needs one package more and gains nothing here
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits"],
    )


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Images (N, H, W, C) as PyTorch has them, (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
