# SPDX-License-Identifier: Apache-2.0
"""The IDX format of MNIST and its relatives, plain or gzipped.

Layout: two zero bytes, a type code, the number of axes, one big-endian uint32 per axis, then the
values in row-major order, big-endian. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST
database of handwritten digits", section "The IDX file format".
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastcnn.datasets._local import cache_folder, fetch, find_file, local_folder, open_maybe_gzip
from fastcnn.errors import DataError, FileError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

UInt8 = npt.NDArray[np.uint8]


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an IDX file; gzip is recognised by its content.

    Returns:
        An array in native byte order with the shape the file states.

    Raises:
        FileError: the file cannot be opened.
        DataError: not an IDX file, damaged, cut short or with bytes left over.
    """
    import gzip

    path = Path(path)
    try:
        with open_maybe_gzip(path) as stream:
            return _parse(stream, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip stream is damaged or cut short ({error}); delete the file and "
            "download it again."
        ) from error
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}).") from error


def _parse(stream: BinaryIO, path: Path) -> npt.NDArray[Any]:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _DTYPES or head[3] == 0:
        raise DataError(
            f"{path}: starts with bytes {head.hex(' ') or '(none)'}, expected an IDX header "
            "00 00 <type 08 … 0e> <axes>; this is another kind of file."
        )
    axes = head[3]
    sizes = stream.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise DataError(f"{path}: ends inside its header; delete it and download it again.")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    dtype = np.dtype(_DTYPES[head[2]])
    expected = math.prod(shape) * dtype.itemsize
    # In pieces: a damaged header may promise more than fits into memory.
    pieces = []
    received = 0
    while received <= expected and (piece := stream.read(min(1 << 24, expected - received + 1))):
        pieces.append(piece)
        received += len(piece)
    if received != expected:
        found = f"more than {expected}" if received > expected else str(received)
        raise DataError(
            f"{path}: holds {found} bytes of data, expected {expected} for shape {shape}; it is "
            "cut short or damaged: delete it and download it again."
        )
    return np.frombuffer(b"".join(pieces), dtype).reshape(shape).astype(dtype.newbyteorder("="))


def load_mnist_like(
    data_set: str,
    path: str | os.PathLike[str] | None,
    mirrors: Sequence[str],
    hashes: dict[str, str],
    folder_names: Sequence[str],
) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    """Load the four files of MNIST or a data set in its format.

    Args:
        data_set: its name, also of its folder in the cache.
        path: a folder with the files, or None for the cache and then the network.
        mirrors: URLs the file names are appended to.
        hashes: SHA-256 of each gzipped file.
        folder_names: sub-folders of `path` to look into as well.

    Raises:
        FileError: a file is missing or cannot be fetched.
        DataError: a file is damaged or does not fit the others.
    """
    files = [_locate(part, data_set, path, mirrors, hashes, folder_names) for part in _PARTS]
    x_train, y_train = _pair(files[0], files[1])
    x_test, y_test = _pair(files[2], files[3])
    return (x_train, y_train), (x_test, y_test)


def _locate(
    part: str,
    data_set: str,
    path: str | os.PathLike[str] | None,
    mirrors: Sequence[str],
    hashes: dict[str, str],
    folder_names: Sequence[str],
) -> Path:
    name = f"{part}-ubyte"
    # Some copies on the network spell the last hyphen but one as a dot.
    dotted = name.replace("-idx", ".idx")
    names = (name, f"{name}.gz", dotted, f"{dotted}.gz")
    if path is None:
        found = find_file([cache_folder(data_set)], names)
        return found or fetch(data_set, f"{name}.gz", mirrors, hashes[f"{name}.gz"])
    folder = local_folder(path, data_set)
    found = find_file([folder, *(folder / inner for inner in folder_names)], names)
    if found is None:
        raise FileError(
            f"{data_set}: {folder} has no {name} or {name}.gz, expected the four original files; "
            "leave path out to download them."
        )
    return found


def _pair(image_path: Path, label_path: Path) -> tuple[UInt8, UInt8]:
    images, labels = read_idx(image_path), read_idx(label_path)
    for path, array, axes, kind in (
        (image_path, images, 3, "images"),
        (label_path, labels, 1, "labels"),
    ):
        if array.dtype != np.uint8 or array.ndim != axes:
            raise DataError(
                f"{path}: holds {array.dtype} of shape {array.shape}, expected {kind} as uint8 "
                f"with {axes} axes; the files may have been mixed up."
            )
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels, "
            "expected equally many and at least one; the files belong to different sets."
        )
    if labels.max() > 9:
        raise DataError(f"{label_path}: has label {labels.max()}, expected 0 … 9.")
    return images, labels
