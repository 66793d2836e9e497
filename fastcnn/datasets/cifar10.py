# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: 60,000 colour photographs, 32x32, from the original binary version (no pickle).

A. Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images",
https://www.cs.toronto.edu/~kriz/cifar.html. A record is one label byte and then 1024 red, 1024
green and 1024 blue bytes, each row by row.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastcnn.datasets._local import cache_folder, fetch, find_file, local_folder, open_maybe_gzip
from fastcnn.errors import DataError, FileError

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = "cifar-10-binary.tar.gz"
# SHA-256 of the archive whose MD5 the author's page gives (c32a1d4a…).
HASH = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_RECORD = 1 + 3 * 32 * 32
_REMEDY = f"put {ARCHIVE} there or leave path out to download it"

UInt8 = npt.NDArray[np.uint8]


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    """Load CIFAR-10 from the original binary version.

    Args:
        path: the archive `cifar-10-binary.tar.gz`, or a folder with it or with the unpacked
            `data_batch_*.bin` and `test_batch.bin`. When None it is looked for in
            `$FASTCNN_HOME/datasets/cifar10` and downloaded to it.

    Returns:
        (x_train, y_train), (x_test, y_test); x uint8 (n, 32, 32, 3) RGB in 0 … 255,
        y uint8 (n, 1), as in Keras.

    Raises:
        FileError: a file is missing and cannot be downloaded.
        DataError: a file is damaged or is not the binary version.
    """
    place = cache_folder("cifar10") if path is None else local_folder(path, "cifar10")
    if place.is_file():
        return _load_archive(place)
    folders = [place, place / "cifar-10-batches-bin"]
    found = {name: find_file(folders, (name,)) for name in (*_TRAIN, _TEST)}
    files = {name: file for name, file in found.items() if file is not None}
    if len(files) == len(found):
        return _arrange({name: (file.read_bytes(), str(file)) for name, file in files.items()})
    archive = find_file([place], (ARCHIVE,))
    if archive is None and path is None:
        archive = fetch("cifar10", ARCHIVE, MIRRORS, HASH)
    if archive is None:
        missing = ", ".join(sorted(set(found) - set(files)))
        raise FileError(f"cifar10: {place} has no {ARCHIVE} and lacks {missing}; {_REMEDY}.")
    return _load_archive(archive)


def _load_archive(path: Path) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    import gzip
    import tarfile

    contents: dict[str, tuple[bytes, str]] = {}
    try:
        # Members are read into memory and never unpacked, so their paths cannot do harm.
        with open_maybe_gzip(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and (name in _TRAIN or name == _TEST):
                    file = archive.extractfile(member)
                    assert file is not None
                    contents[name] = (file.read(), f"{path}:{member.name}")
            # tarfile stops at its end mark; gzip compares its checksum only at the very end.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: is not a readable tar archive or is cut short ({error}), expected "
            f"{ARCHIVE}; delete it and download it again."
        ) from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}).") from error
    missing = ", ".join(sorted({*_TRAIN, _TEST} - set(contents)))
    if missing:
        raise DataError(
            f"{path}: lacks {missing}, expected the binary version of CIFAR-10 (the Python version "
            f"holds pickles, which are not read); get {MIRRORS[0]}{ARCHIVE}."
        )
    return _arrange(contents)


def _arrange(
    contents: dict[str, tuple[bytes, str]],
) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    parts = [_decode(*contents[name]) for name in _TRAIN]
    x_train = np.concatenate([images for images, _ in parts])
    y_train = np.concatenate([labels for _, labels in parts])
    return (x_train, y_train), _decode(*contents[_TEST])


def _decode(content: bytes, where: str) -> tuple[UInt8, UInt8]:
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{where}: has {len(content)} bytes, expected a multiple of {_RECORD} (one label and "
            "32x32 RGB pixels per image); it is cut short or another kind of file."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = records[:, :1].copy()
    if labels.max() > 9:
        raise DataError(
            f"{where}: has label {labels.max()}, expected 0 … 9; it is not a CIFAR-10 file."
        )
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
