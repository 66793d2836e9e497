# SPDX-License-Identifier: Apache-2.0
"""ResNet, ResNeXt and WideResNet; ours are torchvision's names, which timm shares."""

from __future__ import annotations

import re

from fastcnn.weights.dialects.base import Dialect, Shapes, Tensors, by_layer

_HF_PARTS = {"convolution": "conv", "normalization": "bn"}
_DOWNSAMPLE = {"conv": 0, "convolution": 0, "bn": 1, "normalization": 1}


def _hf_block(match: re.Match[str]) -> str:
    stage, block, layer, part = match.groups()
    return f"layer{int(stage) + 1}.{block}.{_HF_PARTS[part]}{int(layer) + 1}"


def _hf_shortcut(match: re.Match[str]) -> str:
    stage, block, part = match.groups()
    return f"layer{int(stage) + 1}.{block}.downsample.{_DOWNSAMPLE[part]}"


HUGGING_FACE = Dialect(
    "Hugging Face's names of ResNet",
    "torch",
    by_layer(
        (
            (r"(?:resnet\.)?embedder\.embedder\.convolution", "conv1"),
            (r"(?:resnet\.)?embedder\.embedder\.normalization", "bn1"),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\."
                r"(convolution|normalization)",
                _hf_block,
            ),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\."
                r"(convolution|normalization)",
                _hf_shortcut,
            ),
            (r"classifier\.1", "fc"),
        )
    ),
)


def _keras_block(match: re.Match[str]) -> str:
    stage, block, layer, part = match.groups()
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}"
    return f"{prefix}.downsample.{_DOWNSAMPLE[part]}" if layer == "0" else f"{prefix}.{part}{layer}"


def _old_keras_block(match: re.Match[str]) -> str:
    part, stage, block, layer = match.groups()
    part = "conv" if part == "res" else "bn"
    prefix = f"layer{int(stage) - 1}.{ord(block) - ord('a')}"
    if layer == "1":
        return f"{prefix}.downsample.{_DOWNSAMPLE[part]}"
    return f"{prefix}.{part}{ord(layer[1]) - ord('a') + 1}"


def _norm_behind(conv: str) -> str:
    """The batch normalization behind a convolution."""
    if conv.endswith(".downsample.0"):
        return conv[:-1] + "1"
    return re.sub(r"conv(\d)$", r"bn\1", conv)


def _without_biases(tensors: Tensors, shapes: Shapes) -> Tensors:
    """Biases that our convolutions lack move into the running means: y + b - m = y - (m - b)."""
    found = dict(tensors)
    for name, bias in tensors.items():
        layer, _, variable = name.rpartition(".")
        mean = f"{_norm_behind(layer)}.moving_mean"
        if variable != "bias" or name in shapes or mean not in found:
            continue
        if bias.shape == found[mean].shape:
            found[mean] = found[mean] - found.pop(name)
    return found


KERAS = Dialect(
    "Keras' names of ResNet",
    "keras",
    by_layer(
        (
            (r"conv1_(conv|bn)", lambda m: f"{m[1]}1"),
            (r"conv(\d)_block(\d+)_(\d)_(conv|bn)", _keras_block),
            (r"predictions|probs|fc1000", "fc"),
            # The first files of Keras.
            (r"conv1", "conv1"),
            (r"bn_conv1", "bn1"),
            (r"(res|bn)(\d)([a-z])_branch(1|2[abc])", _old_keras_block),
        )
    ),
    _without_biases,
)

ALL = (HUGGING_FACE, KERAS)
