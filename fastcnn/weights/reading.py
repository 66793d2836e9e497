# SPDX-License-Identifier: Apache-2.0
"""Any file of weights, recognised by what is in it; its name and ending do not matter."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

from fastcnn import arguments
from fastcnn.errors import FileError
from fastcnn.weights import safetensors_file
from fastcnn.weights.contents import Kind, WeightsFile, map_file

_ZIP = b"PK\x03\x04"
_EXPECTED = "expected safetensors, .pth, .weights.h5, .h5 or .keras"
# Files people take for weights, by how they begin.
_FOREIGN = {
    b"version https://git-lfs": "is the pointer of a file in Git LFS; fetch it with git lfs pull",
    b"<": "is a web page; download the file itself",
}
_TAR_MAGIC, _TAR_AT = b"ustar", 257


def read(path: str | os.PathLike[str]) -> WeightsFile:
    """All tensors of a file: safetensors, PyTorch's (both layouts), Keras' (.h5, .keras).

    Nothing in the file is run. float16, bfloat16 and float8 become float32; arrays are read-only
    and, but for these and Keras' files, lie in the file.

    Args:
        path: the file.

    Raises:
        FileError: it is missing, damaged, cut short, of another kind, or tries to run code.
        MissingDependencyError: it is Keras' and h5py is not installed.
    """
    place = Path(arguments.path("weights", "path", path))
    data = map_file(place)
    view = memoryview(data)
    if view[:4] == _ZIP:
        return _read_archive(place, data)
    if safetensors_file.recognises(view):
        tensors, metadata = safetensors_file.read(place, view)
        kind: Kind = "fastcnn" if metadata.get("format") == "fastcnn" else "safetensors"
        return WeightsFile(place, kind, tensors, metadata)
    from fastcnn.weights import keras_file, torch_file

    if keras_file.recognises(view):
        with place.open("rb") as file:
            return WeightsFile(place, "keras", keras_file.read(place, file, len(view)))
    if torch_file.recognises_legacy(view):
        return WeightsFile(place, "torch", torch_file.read_legacy(place, data))
    raise _unknown(place, view)


def _read_archive(path: Path, data: mmap.mmap) -> WeightsFile:
    from fastcnn.weights import keras_file, torch_file
    from fastcnn.weights.archive import Archive

    archive = Archive(path, data)
    if torch_file.recognises_zip(archive):
        return WeightsFile(path, "torch", torch_file.read_zip(path, archive))
    if keras_file.INNER in archive.names:
        inner = archive.entry(keras_file.INNER)
        return WeightsFile(path, "keras", keras_file.read(path, io.BytesIO(inner), len(inner)))
    raise FileError(
        f"'{path}' is a zip archive without data.pkl or {keras_file.INNER}, {_EXPECTED}"
    )


def _unknown(path: Path, view: memoryview) -> FileError:
    for beginning, what in _FOREIGN.items():
        if view[: len(beginning)] == beginning:
            return FileError(f"'{path}' {what}")
    if view[_TAR_AT : _TAR_AT + len(_TAR_MAGIC)] == _TAR_MAGIC:
        return FileError(
            f"'{path}' is a tar archive as PyTorch wrote before version 0.1.10; load it with "
            "PyTorch and save it again"
        )
    return FileError(
        f"'{path}' begins with {bytes(view[:8])!r} as no known file of weights does, {_EXPECTED}"
    )
