# SPDX-License-Identifier: Apache-2.0
"""The UCI optical handwritten digits: 1,797 real images that come with the package.

E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; see DIGITS-ATTRIBUTION.txt.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastcnn.data.sampling import permutation
from fastcnn.errors import ArgumentError, FileError

CLASS_NAMES = tuple("0123456789")

_PIXEL_MAX = 16
_SIZE = 8
# Any fixed number does; it must never change, or published accuracies lose their meaning.
_SPLIT_SEED = 1797

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


def load_data(
    image_size: int = _SIZE, test_fraction: float = 0.2
) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Load the digits, split into a training and a test part.

    The split is the same on every machine and in every call: of each digit, the same fraction
    is held out. The 13 writers appear in both parts, so the test accuracy tells about new images
    of known writers.

    Args:
        image_size: height and width; above 8 the images are enlarged bilinearly.
        test_fraction: the part held out, between 0 and 1.

    Returns:
        (x_train, y_train), (x_test, y_test); x float32 (n, image_size, image_size, 1) in 0 … 1
        with bright ink on a dark ground, y int32 (n,) in 0 … 9.

    Raises:
        ArgumentError: an impossible size or fraction.
        FileError: the bundled file is missing or damaged.
    """
    try:
        size = operator.index(image_size)
    except TypeError:
        size = 0
    if size < _SIZE:
        raise ArgumentError(
            f"digits: found image_size={image_size!r}, expected a whole number of at least "
            f"{_SIZE}, the size of the originals."
        )
    if not 0 < test_fraction < 1:
        raise ArgumentError(f"digits: found test_fraction={test_fraction!r}, expected 0 < it < 1.")
    images, labels = _read()
    held_out = _held_out(labels, test_fraction)
    x = resize_bilinear(images.astype(np.float32) / np.float32(_PIXEL_MAX), size)[..., np.newaxis]
    y = labels.astype(np.int32)
    return (x[~held_out], y[~held_out]), (x[held_out], y[held_out])


def resize_bilinear(images: Images, size: int) -> Images:
    """Enlarge square images (n, s, s) to (n, size, size), pixel centres at half integers."""
    low, high, part = _taps(images.shape[1], size)
    rows = images[:, low] + part[:, np.newaxis] * (images[:, high] - images[:, low])
    return rows[:, :, low] + part * (rows[:, :, high] - rows[:, :, low])


def _taps(
    old: int, new: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The two neighbours of each new pixel and how far it is towards the second."""
    centre = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(centre).astype(np.intp)
    return low, np.minimum(low + 1, old - 1), (centre - low).astype(np.float32)


def _held_out(labels: npt.NDArray[Any], fraction: float) -> npt.NDArray[np.bool_]:
    """A mask with the same fraction of every class, rounded so that the total fits too."""
    counts = np.bincount(labels)
    exact = counts * fraction
    quota = np.floor(exact).astype(int)
    missing = round(fraction * len(labels)) - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:missing]] += 1
    mask = np.zeros(len(labels), bool)
    for digit, count in enumerate(quota):
        members = np.flatnonzero(labels == digit)
        mask[members[permutation(len(members), _SPLIT_SEED, digit)[:count]]] = True
    if mask.all() or not mask.any():
        raise ArgumentError(
            f"digits: test_fraction={fraction} of {len(labels)} images leaves a part empty."
        )
    return mask


def _read() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    from zipfile import BadZipFile

    path = Path(__file__).with_name("digits.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["images"], file["labels"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise FileError(
            f"digits: cannot read {path} ({error}), which is part of fastcnn; install it again: "
            "pip install --force-reinstall fastcnn"
        ) from error
