# SPDX-License-Identifier: Apache-2.0
"""The errors fastcnn raises; every one also derives from a built-in class."""


class FastcnnError(Exception):
    """Base of every error raised on purpose by fastcnn."""


class ShapeError(FastcnnError, ValueError):
    """A shape that does not fit."""


class DtypeError(FastcnnError, TypeError):
    """An element type that is not supported."""


class DataError(FastcnnError, ValueError):
    """A data set, label or file content that cannot be used."""


class FileError(FastcnnError, OSError):
    """A file that is missing or cannot be read, written or fetched."""
