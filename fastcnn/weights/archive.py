# SPDX-License-Identifier: Apache-2.0
"""The uncompressed entries of a zip archive, in place."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast, final

from fastcnn.errors import FileError
from fastcnn.weights.contents import damaged

# Of a local header (PKWARE's APPNOTE, 4.3.7): its size, and where it gives the lengths of the
# name and of the extra field behind it.
_HEADER, _LENGTHS = 30, 26
_ENCRYPTED = 1


@final
class Archive:
    """A zip archive whose entries are handed out as views of the mapped file.

    Raises:
        FileError: the archive is damaged.
    """

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self._view = memoryview(data)
        try:
            with zipfile.ZipFile(cast(IO[bytes], data)) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
        except (
            zipfile.BadZipFile,
            EOFError,
            IndexError,
            NotImplementedError,
            OSError,
            OverflowError,
            ValueError,
            struct.error,
        ) as error:
            raise damaged(path, f"it begins as a zip archive but is none ({error})") from None

    @property
    def names(self) -> list[str]:
        """Names of the entries."""
        return list(self._entries)

    def entry(self, name: str) -> memoryview:
        """The bytes of an entry.

        Raises:
            FileError: it is missing, compressed, or does not have the checksum it should have.
        """
        found = self._entries.get(name)
        if found is None:
            raise damaged(self.path, f"its archive has no entry '{name}'")
        if found.compress_type != zipfile.ZIP_STORED or found.flag_bits & _ENCRYPTED:
            raise FileError(
                f"'{self.path}' is a zip archive whose entry '{name}' is compressed or encrypted, "
                "expected a stored one; unpack it and pack it again with zip -0"
            )
        start = found.header_offset
        lengths = self._view[start + _LENGTHS : start + _HEADER]
        if bytes(self._view[start : start + 4]) != b"PK\x03\x04" or len(lengths) != 4:
            raise damaged(self.path, f"its archive has no entry '{name}' at byte {start:,}")
        start += _HEADER + sum(struct.unpack("<HH", lengths))
        data = self._view[start : start + found.file_size]
        if len(data) != found.file_size:
            raise damaged(self.path, f"its entry '{name}' ends after {len(data):,} bytes")
        # PyTorch writes no checksum, 0, if it is told so.
        if found.CRC and zlib.crc32(data) != found.CRC:
            raise damaged(self.path, f"its entry '{name}' has not the checksum it should have")
        return data
