# SPDX-License-Identifier: Apache-2.0
"""What a dialect is: a pure function from foreign names to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from fastcnn.graph import Array

# "torch": names and layout of `state_dict()`. "keras": those of `named_weights()`, fastcnn's own.
Layout = Literal["torch", "keras"]
Tensors = dict[str, Array]
Sizes = tuple[int, ...]
Shapes = Mapping[str, Sizes]
# Patterns that match the whole of a layer's name, with what it is called here.
Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def _as_they_are(tensors: Tensors, shapes: Shapes) -> Tensors:
    return tensors


@final
@dataclass(frozen=True)
class Dialect:
    """A way to name the tensors of one family of networks.

    Attributes:
        name: for messages: whose names of what.
        layout: how the tensors lie.
        rename: names in a file to ours; a name that is left out is ours already.
        adapt: what has to be done beside renaming, given the expected names and shapes.
    """

    name: str
    layout: Layout
    rename: Callable[[Sequence[str]], dict[str, str]]
    adapt: Callable[[Tensors, Shapes], Tensors] = _as_they_are


def by_layer(rules: Sequence[Rule]) -> Callable[[Sequence[str]], dict[str, str]]:
    """A `rename` that puts layers' names through the first rule that matches."""
    compiled = [(re.compile(pattern), ours) for pattern, ours in rules]

    def rename(names: Sequence[str]) -> dict[str, str]:
        found = {}
        for name in names:
            layer, _, variable = name.rpartition(".")
            for pattern, ours in compiled:
                match = pattern.fullmatch(layer)
                if match:
                    renamed = match.expand(ours) if isinstance(ours, str) else ours(match)
                    found[name] = f"{renamed}.{variable}"
                    break
        return found

    return rename


def numbered(layers: Iterable[str], class_name: str) -> list[str]:
    """Layers that Keras named after their class, in the order of their making.

    The count runs on through a process, so the first may be conv2d_17.
    """
    pattern = re.compile(rf"{class_name}(?:_(\d+))?")
    found = {int(m[1] or 0): m[0] for m in map(pattern.fullmatch, layers) if m}
    return [found[number] for number in sorted(found)]


def layers_of(names: Iterable[str]) -> list[str]:
    """Each layer once, in order."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def with_gammas(tensors: Tensors, shapes: Shapes) -> Tensors:
    """Scales of one where Keras' batch normalization has none and ours has."""
    found = dict(tensors)
    for name, shape in shapes.items():
        layer, _, variable = name.rpartition(".")
        if variable == "gamma" and name not in found and f"{layer}.moving_mean" in found:
            found[name] = np.ones(shape, np.float32)
    return found
