# SPDX-License-Identifier: Apache-2.0
"""Where data set files are: named by the user, in the fastcnn folder, or on the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from fastcnn.errors import FileError
from fastcnn.utils.files import fastcnn_home, get_file


def find_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of `names` in the first of `folders` that has one."""
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def open_maybe_gzip(path: Path) -> BinaryIO:
    """Open a file for reading; gzip is recognised by its content, not by its name."""
    import gzip

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def local_folder(path: str | os.PathLike[str], data_set: str) -> Path:
    """`path` as an existing file or folder.

    Raises:
        FileError: nothing is there.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise FileError(
            f"{data_set}: {found} does not exist, expected the folder with the original files; "
            "leave path out to download them."
        )
    return found


def cache_folder(data_set: str) -> Path:
    """The folder of `data_set` below `$FASTCNN_HOME/datasets`."""
    return fastcnn_home() / "datasets" / data_set


def fetch(data_set: str, name: str, mirrors: Sequence[str], file_hash: str) -> Path:
    """Download `name` from the first mirror that delivers it, checked by `file_hash`.

    Raises:
        FileError: no mirror delivered the file.
    """
    failures = []
    for mirror in mirrors:
        try:
            subdir = f"datasets/{data_set}"
            return Path(get_file(name, mirror + name, file_hash=file_hash, cache_subdir=subdir))
        except FileError as error:
            failures.append(str(error))
    raise FileError(
        f"{data_set}: cannot download {name}; put it into {cache_folder(data_set)} or pass "
        f"path=<its folder>. Tried: {' | '.join(failures)}"
    )
