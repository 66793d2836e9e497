# SPDX-License-Identifier: Apache-2.0
"""The data sets of the command line, as float images of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastcnn import datasets
from fastcnn.errors import ArgumentError

DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10")

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ImageSet:
    """Images (n, size, size, C) in 0 … 1 with their class numbers (n,)."""

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    class_names: tuple[str, ...]


def load_images(name: str, size: int, path: Any = None) -> ImageSet:
    """Load a data set at `size` x `size` pixels.

    Digits are enlarged from 8x8; the others keep their pixels and get a border of zeros, as
    LeCun et al. 1998 put 28x28 digits into 32x32 images.

    Args:
        name: one of `DATASETS`.
        size: height and width.
        path: folder with the original files; looked for and downloaded when None.

    Raises:
        ArgumentError: unknown name, a path for the bundled digits, or a size that is too small.
        DataError, FileError: see `fastcnn.datasets`.
    """
    if name not in DATASETS:
        raise ArgumentError(f"there is no data set '{name}'; choose one of {', '.join(DATASETS)}")
    if name == "digits":
        if path is not None:
            raise ArgumentError("digits come with fastcnn and take no path; leave --data-path out")
        train, test = datasets.digits.load_data(image_size=size)
        return ImageSet(name, *train, *test, datasets.digits.CLASS_NAMES)
    module = getattr(datasets, name)
    (x_train, y_train), (x_test, y_test) = module.load_data(path)
    return ImageSet(
        name,
        _framed(name, x_train, size),
        y_train.reshape(-1).astype(np.int32),
        _framed(name, x_test, size),
        y_test.reshape(-1).astype(np.int32),
        tuple(module.CLASS_NAMES),
    )


def _framed(name: str, images: npt.NDArray[np.uint8], size: int) -> Images:
    """Bytes (n, H, W[, C]) as floats in the middle of a black square."""
    images = images.reshape(*images.shape[:3], -1)
    found = images.shape[1]
    if size < found:
        raise ArgumentError(
            f"{name}: the images are {found}x{found}, found size {size}; give {found} or more"
        )
    begin = (size - found) // 2
    framed = np.zeros((len(images), size, size, images.shape[3]), np.float32)
    np.divide(images, np.float32(255), out=framed[:, begin : begin + found, begin : begin + found])
    return framed
