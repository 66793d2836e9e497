# SPDX-License-Identifier: Apache-2.0
"""What all built-in networks share: where they begin, how they end, where weights come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastcnn import arguments
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import Dense, GlobalAveragePooling2D, GlobalMaxPooling2D, Input
from fastcnn.models import Functional, Model

PathLike = str | os.PathLike[str]
Shape = tuple[int, int, int]

POOLINGS = {"avg": GlobalAveragePooling2D, "max": GlobalMaxPooling2D}


def image_input(name: str, input_shape: Any) -> Tensor:
    """The symbolic image (N, H, W, C) that a network begins with.

    Raises:
        ArgumentError: `input_shape` is not three whole numbers above zero.
    """
    try:
        height, width, channels = input_shape
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{name}: found input_shape={input_shape!r}, expected (height, width, channels)"
        ) from None
    sizes = [arguments.integer(name, "input_shape", d, 1) for d in (height, width, channels)]
    return Input(shape=tuple(sizes), name="image")


def pool_features(name: str, x: Tensor, pooling: str | None) -> Tensor:
    """The end of a network without its top: feature maps, or one number per channel."""
    arguments.one_of(name, "pooling", pooling, (None, *POOLINGS))
    return x if pooling is None else POOLINGS[pooling](name=f"{pooling}_pool")(x)


def classify(
    name: str, layer: str, x: Tensor, classes: int, activation: Any, **kwargs: Any
) -> Tensor:
    """The classifier: a Dense layer called `layer` with one output per class."""
    units = arguments.integer(name, "classes", classes, 1)
    scores: Tensor = Dense(units, activation=activation, name=layer, **kwargs)(x)
    return scores


def finish(name: str, inputs: Tensor, outputs: Tensor, weights: Any) -> Model:
    """The model, with weights read from a file where one is named.

    Raises:
        ArgumentError: `weights` is neither None nor a file.
        FileError, ShapeError: the file cannot be read or holds the weights of another network.
    """
    if weights is not None and not (
        isinstance(weights, (str, os.PathLike)) and Path(weights).is_file()
    ):
        raise ArgumentError(
            f"{name}: found weights={weights!r}, expected None or the path of a file that "
            "Model.save or Model.save_weights wrote"
        )
    model = Functional(inputs, outputs, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model
