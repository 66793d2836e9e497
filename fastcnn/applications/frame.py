# SPDX-License-Identifier: Apache-2.0
"""What all built-in networks share: how they begin, how they end, where weights come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from fastcnn import arguments
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import Dense, GlobalAveragePooling2D, GlobalMaxPooling2D, Input
from fastcnn.models import Functional, Model
from fastcnn.models.saving import load_checkpoint
from fastcnn.weights import hub

PathLike = str | os.PathLike[str]
Shape = tuple[int | None, int | None, int]

IMAGENET_CLASSES = 1000
POOLINGS = {"avg": GlobalAveragePooling2D, "max": GlobalMaxPooling2D}


@final
@dataclass(frozen=True)
class Frame:
    """The arguments that every network takes, in Keras' words.

    Args:
        name: name of the model.
        weights: file to read weights from (see `Model.load_weights`), the address of one on the
            Hugging Face Hub, "hub:owner/name", or "imagenet" for trained ones where they are
            known; None draws them anew.
        include_top: with the classifier.
        input_shape: (H, W, C); None is the size the network was published with, or, without the
            top, any size.
        pooling: without the top, None (feature maps), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
    """

    name: str
    weights: PathLike | None
    include_top: bool
    input_shape: Shape | None
    pooling: str | None
    classes: int
    classifier_activation: Any

    def image(self, default: Shape = (224, 224, 3), smallest: int = 1) -> Tensor:
        """The symbolic image (N, H, W, C) that the network begins with.

        Args:
            default: (H, W, C) that the network was published with.
            smallest: H and W must have at least so many pixels.

        Raises:
            ArgumentError: `input_shape` is not three sizes, or too small.
        """
        shape = self.input_shape
        if shape is None:
            shape = default if self.include_top else (None, None, default[2])
        try:
            height, width, channels = shape
        except (TypeError, ValueError):
            raise ArgumentError(
                f"{self.name}: found input_shape={shape!r}, expected (height, width, channels)"
            ) from None
        sizes = [self._size(height, smallest), self._size(width, smallest)]
        channels = arguments.integer(self.name, "input_shape", channels, 1)
        return Input(shape=(*sizes, channels), name="image")

    def _size(self, size: Any, smallest: int) -> int | None:
        if size is None:
            return None
        return arguments.integer(self.name, "input_shape", size, smallest)

    def classify(self, x: Tensor, layer: str, **kwargs: Any) -> Tensor:
        """The classifier: a Dense layer called `layer` with one output per class."""
        units = arguments.integer(self.name, "classes", self.classes, 1)
        y: Tensor = Dense(units, activation=self.classifier_activation, name=layer, **kwargs)(x)
        return y

    def model(
        self,
        image: Tensor,
        features: Tensor,
        top: Callable[[Tensor], Any],
        ignore: Sequence[str] = (),
    ) -> Model:
        """The model, with weights read where they are asked for.

        Args:
            image: from `image`.
            features: the last feature maps.
            top: adds the layers behind them up to the classifier, if it is included.
            ignore: prefixes of tensors in public checkpoints that have no layer here.

        Raises:
            ArgumentError: `pooling` is unknown.
            FileError, ShapeError: the file cannot be read or holds the weights of another network.
        """
        arguments.one_of(self.name, "pooling", self.pooling, (None, *POOLINGS))
        self._check_weights()
        outputs = top(features) if self.include_top else self._pooled(features)
        model = Functional(image, outputs, name=self.name)
        if self.weights is not None:
            surplus = not self.include_top
            load_checkpoint(model, self.weights, ignore=ignore, surplus=surplus)
        return model

    def trained(self, network: str, same: bool = True) -> Frame:
        """The frame with weights="imagenet" resolved, so that `weights` is a file or an address.

        Args:
            network: its name in the table of trained weights.
            same: whether the arguments at hand make the very network that was trained.

        Raises:
            ArgumentError: "imagenet" with other arguments than these weights are for.
        """
        if self.weights != "imagenet":
            return self
        if not same or (self.include_top and self.classes != IMAGENET_CLASSES):
            raise ArgumentError(
                f'{self.name}: found weights="imagenet" with arguments that they do not fit, '
                f"expected the default ones and {IMAGENET_CLASSES} classes; use include_top=False "
                "and a classifier of your own, or name a file"
            )
        return replace(self, weights=hub.imagenet(network))

    def _check_weights(self) -> None:
        found: Any = self.weights
        if isinstance(found, (str, os.PathLike)) and Path(found).is_dir():
            raise ArgumentError(
                f"{self.name}: found weights={str(found)!r}, which is a folder, expected a file; "
                "name a file in it"
            )
        known = found is None or (isinstance(found, str) and found.startswith(hub.PREFIX))
        if not known and not (isinstance(found, (str, os.PathLike)) and Path(found).is_file()):
            raise ArgumentError(
                f"{self.name}: found weights={found!r}, expected None, the path of a file that is "
                'there, an address such as "hub:timm/resnet18.a1_in1k", or "imagenet" where '
                "trained weights are known (see fastcnn.weights.hub.IMAGENET)"
            )

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pooling is None:
            return x
        y: Tensor = POOLINGS[self.pooling](name=f"{self.pooling}_pool")(x)
        return y
