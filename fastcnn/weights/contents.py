# SPDX-License-Identifier: Apache-2.0
"""What a file of weights holds, and how its bytes are reached."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

import numpy as np

from fastcnn.errors import FileError
from fastcnn.graph import Array

Kind = Literal["fastcnn", "safetensors", "torch", "keras"]


@final
@dataclass(frozen=True)
class WeightsFile:
    """Tensors by the file's own names, in its own layout.

    Attributes:
        path: the file.
        kind: who wrote it. "fastcnn": `Model.save` or `save_weights`, names with their prefix
            "weights/" or "optimizer/", arrays in fastcnn's layout. "safetensors" and "torch":
            names and layout of PyTorch modules. "keras": `<layer>.<variable>`, Keras' layout.
        tensors: arrays, read-only; those of safetensors and torch files are the file's memory.
        metadata: what else the file says, as text.
    """

    path: Path
    kind: Kind
    tensors: Mapping[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)


def damaged(path: Path, what: object) -> FileError:
    """The error for a file that breaks the rules of its own format."""
    return FileError(f"'{path}' is damaged or cut short: {what}; fetch or save it again")


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file, mapped; what is written to them stays in this process.

    Raises:
        FileError: there is no such file, or it cannot be read, or it is empty.
    """
    try:
        if path.is_dir():
            raise FileError(f"'{path}' is a folder, expected a file of weights; name a file in it")
        if not path.is_file():
            raise FileError(f"there is no file '{path}'; check the path")
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise FileError(f"'{path}' is empty, expected weights; fetch or save it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read '{path}' ({error}); check its permissions") from error


def releaser(array: Array) -> Callable[[], None] | None:
    """What gives back the memory under an array that lies in a mapped file, or None elsewhere.

    The system reads the pages again when someone looks at them. Never call it once the array has
    been written to: the file does not know of that.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    data = base.obj if isinstance(base, memoryview) else base
    if not isinstance(data, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    start = array.ctypes.data - np.frombuffer(data, np.uint8).ctypes.data
    begin = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (start + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE

    def release() -> None:
        if end > begin:
            data.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    return release
