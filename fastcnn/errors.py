# SPDX-License-Identifier: Apache-2.0
"""The errors of fastcnn.

Every message is one sentence that says where, what was found, what was expected and what to try.
They are raised in Python before any kernel runs, and leave weights and optimizer as they were.
"""

from __future__ import annotations


class FastcnnError(Exception):
    """Base of all errors raised by fastcnn."""


class ShapeError(FastcnnError, ValueError):
    """A rank, size or geometry that cannot work."""


class DtypeError(FastcnnError, TypeError):
    """An array of a type that the operation does not take."""


class ArgumentError(FastcnnError, ValueError):
    """An argument outside the values it may take."""


class DataError(FastcnnError, ValueError):
    """A data set, batch or label that cannot be used."""


class FileError(FastcnnError, OSError):
    """A file that is missing, truncated, foreign or of a newer version."""


class UnsupportedError(FastcnnError, NotImplementedError):
    """A file or network asks for something that fastcnn does not have; all of it is named."""


class BackendError(FastcnnError, RuntimeError):
    """A backend, instruction set or thread count that this machine cannot provide."""


class KernelMissing(BackendError):
    """One or more operations have no kernel on the chosen backend."""


class NonFiniteError(FastcnnError, ArithmeticError):
    """A loss that became NaN or infinite; the weights are those before the batch."""


class NotDifferentiableError(FastcnnError, RuntimeError):
    """A gradient was asked through an operation, or for a tensor, that has none."""


class MissingDependencyError(FastcnnError, ImportError):
    """An optional package is not installed; the message is the pip line that installs it."""


def located(error: FastcnnError, where: str) -> FastcnnError:
    """The same error with `where` (a layer or function) in front of its sentence."""
    return type(error)(f"{where}: {error}")
