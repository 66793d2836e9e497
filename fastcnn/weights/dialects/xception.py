# SPDX-License-Identifier: Apache-2.0
"""Xception; ours are timm's names (`legacy_xception`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastcnn.weights.dialects.base import Dialect, by_layer, layers_of, numbered

# Keras counts the two convolutions at the start as block 1, and the two at the end as block 14.
_FIRST, _LAST = 1, 14
# Blocks, as we count them, whose shortcut is a convolution.
_PROJECTED = (1, 2, 3, 12)
_KERNELS = {"depthwise_kernel": "conv1.kernel", "pointwise_kernel": "pointwise.kernel"}


def _separable(match: re.Match[str]) -> str:
    """A separable convolution or its normalization."""
    block, number, norm = int(match[1]), int(match[2]), match[3]
    if block == _LAST:
        return f"{'bn' if norm else 'conv'}{number + 2}"
    # A block is ReLU, convolution, normalization, three times; the first lacks its first ReLU.
    place = 3 * (number - 1) + (0 if block == _FIRST + 1 else 1) + bool(norm)
    return f"block{block - 1}.rep.{place}"


_rename = by_layer(
    (
        (r"block1_conv([12])", r"conv\1"),
        (r"block1_conv([12])_bn", r"bn\1"),
        (r"block(\d+)_sepconv(\d)(_bn)?", _separable),
        (r"predictions", "fc"),
    )
)


def _keras(names: Sequence[str]) -> dict[str, str]:
    layers = layers_of(names)
    convs, norms = numbered(layers, "conv2d"), numbered(layers, "batch_normalization")
    rules = []
    if len(convs) == len(norms) == len(_PROJECTED):
        rules += [(c, f"block{b}.skip") for c, b in zip(convs, _PROJECTED, strict=True)]
        rules += [(n, f"block{b}.skipbn") for n, b in zip(norms, _PROJECTED, strict=True)]
    found = _rename(names) | by_layer(rules)(names)
    for name, ours in found.items():
        layer, _, variable = ours.rpartition(".")
        found[name] = f"{layer}.{_KERNELS.get(variable, variable)}"
    return found


KERAS = Dialect("Keras' names of Xception", "keras", _keras)
CADENE = Dialect("Cadène's names of Xception", "torch", by_layer(((r"last_linear", "fc"),)))

ALL = (KERAS, CADENE)
