# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a crash leaves the old file, never half of the new one."""

from __future__ import annotations

import os
from pathlib import Path

from fastcnn.errors import FileError


def write_atomically(path: str | os.PathLike[str], *pieces: bytes | memoryview) -> None:
    """Replace the content of `path` by `pieces`, one behind the other, at once.

    Raises:
        FileError: the folder is missing or cannot be written; an old file is as it was.
    """
    import tempfile  # takes 9 ms to import, for the few who write

    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, (OSError, ValueError)):
            raise FileError(
                f"cannot write '{target}' ({error}); check that the folder '{target.parent}' "
                "exists and may be written"
            ) from error
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it, or raise a FileError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder '{path}' ({error}); choose one that may be written"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
