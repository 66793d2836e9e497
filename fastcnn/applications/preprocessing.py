# SPDX-License-Identifier: Apache-2.0
"""From pixels to what a network was trained on, and from its output to names of ImageNet's classes.

Weights expect the numbers that they were trained on. Three conventions cover all public ones:

    torch   RGB / 255, then ImageNet's mean and standard deviation per channel
    tf      RGB / 127.5 - 1
    caffe   BGR - ImageNet's mean per channel, not scaled

A family of networks states in one line which of them its weights want, by where they come from:
`preprocess_input = PreprocessInput({"torchvision": "torch", "keras": "caffe"})`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fastcnn import arguments, ops
from fastcnn.errors import DtypeError, FileError, ShapeError
from fastcnn.graph import Tensor

CLASSES = 1000


@final
@dataclass(frozen=True)
class _Mode:
    """`(x / scale - mean) / deviation`, with the channels turned round first where `bgr`."""

    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...] = (1.0,)
    bgr: bool = False


# Mean and deviation of ImageNet's pixels, in the order of the channels after turning.
MODES = {
    "torch": _Mode(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tf": _Mode(127.5, (1.0,)),
    "caffe": _Mode(1.0, (103.939, 116.779, 123.68), bgr=True),
}


@final
@dataclass(frozen=True)
class PreprocessInput:
    """The `preprocess_input` of a family of networks.

    Attributes:
        modes: the mode that weights want, by the variant of the networks they are for; the first is
            the default, as it is for the networks.
    """

    modes: Mapping[str, str]

    def __call__(self, x: Any, data_format: str | None = None, variant: str | None = None) -> Any:
        """Images as the weights of these networks expect them; the input stays as it is.

        Args:
            x: RGB images (H, W, 3) or (N, H, W, 3) of values 0 … 255, of any number type, or a
                symbolic tensor of floats.
            data_format: None or "channels_last".
            variant: where the weights come from, as for the networks; a key of `modes`.

        Returns:
            Floats of the same shape, as `preprocess_input` of this module makes them.

        Raises:
            ArgumentError: an unknown variant.
            ShapeError, DtypeError: no images.
        """
        known = tuple(self.modes)
        chosen = known[0] if variant is None else variant
        arguments.one_of("preprocess_input", "variant", chosen, known)
        return preprocess_input(x, data_format, self.modes[chosen])


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Images as weights of the given convention expect them; the input stays as it is.

    Args:
        x: RGB images (H, W, C) or (N, H, W, C) of values 0 … 255, of any number type, or a symbolic
            tensor of floats. C is 3; with mode "tf" it may be any.
        data_format: None or "channels_last".
        mode: "torch" (RGB scaled to 0 … 1, then normalized by ImageNet's mean and deviation), "tf"
            (scaled to -1 … 1) or "caffe" (BGR, ImageNet's mean subtracted).

    Returns:
        An array or tensor of the same shape; floats keep their type, integers become float32.

    Raises:
        ArgumentError: an unknown mode.
        ShapeError: no images with their channels last.
        DtypeError: something that is no array of numbers, or a symbolic tensor of integers.
    """
    arguments.only_default("preprocess_input", "data_format", data_format, None, "channels_last")
    how = MODES[arguments.one_of("preprocess_input", "mode", mode, tuple(MODES))]
    image = _images(x, mode)
    if how.bgr and isinstance(image, Tensor):
        image = ops.concatenate(ops.split(image, 3, axis=-1)[::-1], axis=-1)
    elif how.bgr:
        image = image[..., ::-1]
    scale, mean, deviation = (
        np.asarray(values, image.dtype) for values in (how.scale, how.mean, how.deviation)
    )
    return (image / scale - mean) / deviation


def _images(x: Any, mode: str) -> Any:
    """`x` as float images, or an error that says what it is instead."""
    image = x if isinstance(x, Tensor) else np.asarray(x)
    if not isinstance(image, Tensor) and image.dtype.kind in "ui":
        image = image.astype(np.float32)
    if np.dtype(image.dtype).kind != "f":
        raise DtypeError(
            f"preprocess_input: found dtype {image.dtype}, expected images of numbers 0 … 255 "
            "(a symbolic tensor: of floats)"
        )
    channels = image.shape[-1] if image.ndim in (3, 4) else None
    if channels is None or (mode != "tf" and channels != 3):
        raise ShapeError(
            f"preprocess_input: found shape {tuple(image.shape)}, expected (H, W, 3) or "
            "(N, H, W, 3); channels come last, and a grey image can be repeated to three channels"
        )
    return image


def decode_predictions(preds: npt.ArrayLike, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The likeliest classes of ImageNet for each image.

    Args:
        preds: class scores (N, 1000), from a network with ImageNet's classes.
        top: how many classes per image.

    Returns:
        For each image a list of (WordNet id, name, score), the highest score first; equal scores in
        the order of the classes. Names are WordNet's, and two of them stand for two classes each
        (crane, maillot); ids are unique.

    Raises:
        ShapeError: `preds` is not (N, 1000).
        ArgumentError: `top` is not an integer of at least 1.
    """
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != CLASSES:
        raise ShapeError(
            f"decode_predictions: found predictions of shape {scores.shape}, expected "
            f"(N, {CLASSES}), one score per class of ImageNet; for one image pass preds[None], for "
            "other classes use their own names"
        )
    count = arguments.integer("decode_predictions", "top", top, 1)
    classes = imagenet_classes()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return [
        [(*classes[number], float(row[number])) for number in numbers]
        for row, numbers in zip(scores, best, strict=True)
    ]


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of ImageNet's 1,000 classes in the order of their numbers.

    Raises:
        FileError: the bundled list is missing or damaged.
    """
    path = Path(__file__).with_name("imagenet_classes.txt")
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        found = tuple((wnid, name) for wnid, name in map(str.split, lines))
    except (OSError, ValueError) as error:
        raise FileError(
            f"decode_predictions: cannot read {path} ({error}), which is part of fastcnn; install "
            "it again: pip install --force-reinstall fastcnn"
        ) from error
    return found
