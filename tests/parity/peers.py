# SPDX-License-Identifier: Apache-2.0
"""The public models of torchvision and timm: made, filled with numbers, run and differentiated.

Arrays go in and out in fastcnn's layout of images, NHWC; tensors are named as PyTorch names them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

# torchvision's wheel expects operators that PyTorch's CPU build lacks; declared, it imports, and
# no classification model uses them.
if not torch.backends.cuda.is_built():
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )

import timm
import torchvision

Arrays = dict[str, np.ndarray[Any, Any]]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Linear)
# What ReLUs see deviates by 1, or by 0.5 where nothing is normalized: shifted by 3 it is above 0.
_SHIFT = 3.0
_OPEN_GAIN = 0.1


def build(peer: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model called "torchvision:name" or "timm:name", without dropout, not yet filled."""
    library, _, name = peer.partition(":")
    if library == "torchvision":
        module = torchvision.models.get_model(name, weights=None, **arguments)
    else:
        module = timm.create_model(name, pretrained=False, **arguments)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "drop_rate"):
            part.drop_rate = 0.0
    return module


def fill(module: nn.Module, seed: int) -> None:
    """Draw all parameters in place, the same ones for the same seed.

    Shifts of batch norms are 0.25 in the mean. Around 0 a deep network of random weights is so
    chaotic that PyTorch's float32 and its float64 differ by some per cent.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, _NORMS) and part.affine:
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0.25, 0.1, generator=generator)
            elif isinstance(part, _LINEAR):
                deviation = math.sqrt(2.0 / part.weight[0].numel())
                part.weight.normal_(0.0, deviation, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0.0, 0.1, generator=generator)


@contextmanager
def opened(module: nn.Module) -> Iterator[None]:
    """For a while, shift what ReLUs see so far up that nearly all are open.

    Batch norms are shifted; without them biases are, and the weights before them made smaller.
    """
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, _LINEAR):
                part.weight.mul_(_OPEN_GAIN)
            if isinstance(part, _NORMS + _LINEAR) and part.bias is not None:
                part.bias.add_(_SHIFT)
    try:
        yield
    finally:
        module.load_state_dict(kept)


def settle(module: nn.Module, x: np.ndarray[Any, Any], seed: int) -> None:
    """Give batch norms random statistics near those of the images `x`, as training would."""
    generator = torch.Generator().manual_seed(seed)
    module.eval()  # without auxiliary heads, which want larger images
    norms = [part for part in module.modules() if isinstance(part, _NORMS)]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.train()
        part.momentum = 1.0
    with torch.no_grad():
        module(_nchw(x))
        for part, momentum in zip(norms, momenta, strict=True):
            part.momentum = momentum
            spread = torch.empty_like(part.running_var).uniform_(0.7, 1.4, generator=generator)
            moved = torch.empty_like(part.running_mean).normal_(0.0, 0.1, generator=generator)
            part.running_var.add_(1e-3).mul_(spread)
            part.running_mean.add_(moved * part.running_var.sqrt())
    module.eval()


def save(module: nn.Module, folder: Path) -> dict[str, Path]:
    """Write the state as PyTorch's programs do: one safetensors and one `.pth` file."""
    paths = {kind: folder / f"checkpoint.{kind}" for kind in ("safetensors", "pth")}
    save_file(module.state_dict(), paths["safetensors"], {"format": "pt"})
    torch.save(module.state_dict(), paths["pth"])
    return paths


def state(module: nn.Module) -> Arrays:
    """Parameters and running statistics, as the module holds them now."""
    found = module.state_dict()
    return {n: t.numpy() for n, t in found.items() if not n.endswith("num_batches_tracked")}


def logits(module: nn.Module, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Output (N, classes) in inference for images (N, H, W, C)."""
    module.eval()
    with torch.inference_mode():
        return module(_nchw(x)).numpy()


def gradients(
    module: nn.Module, x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], dtype: torch.dtype
) -> Arrays:
    """Gradient of the mean cross-entropy, summed over outputs, by each parameter, in training.

    It is computed in `dtype` and rounded to float32.
    """
    twin = copy.deepcopy(module).to(dtype).train()
    found = twin(_nchw(x).to(dtype))
    outputs = [found] if isinstance(found, torch.Tensor) else found
    target = torch.from_numpy(labels).long()
    sum(nn.functional.cross_entropy(output, target) for output in outputs).backward()
    return {name: p.grad.float().numpy() for name, p in twin.named_parameters()}


def _nchw(x: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
