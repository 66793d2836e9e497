# SPDX-License-Identifier: Apache-2.0
"""An exported plan, opened and run. Imports as little as can be: neither NumPy nor `typing`."""

from __future__ import annotations

import os
import struct

from fastcnn import arguments
from fastcnn.backends import _cpu, isas, threads
from fastcnn.errors import ArgumentError, DtypeError, FileError, ShapeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Formats of the `struct` module.
_FORMATS = {
    "float32": "f", "float64": "d", "uint8": "B", "int32": "i", "uint32": "I", "int64": "q",
}  # fmt: skip
_DTYPES = {letter: dtype for dtype, letter in _FORMATS.items()}
if struct.calcsize("l") == struct.calcsize("q"):
    _DTYPES["l"] = "int64"


def load(filepath: Any, isa: str | None = None) -> Network:
    """Open a plan that `Model.export(filepath, format="plan")` wrote.

    The file stays mapped while the network lives; replace it, but do not write into it. It names
    kernels and places in memory, so open none from people you do not trust.

    Args:
        filepath: by convention "name.plan".
        isa: instruction set; the best that runs here, or FASTCNN_ISA's, when None.

    Raises:
        FileError: the file is missing, damaged, or was written by another version of fastcnn.
        BackendError: this processor cannot run `isa`.
    """
    return Network(filepath, isa)


class Port:
    """An input or output: its name, dtype, shape with the batch, and bytes."""

    __slots__ = ("dtype", "name", "nbytes", "shape")

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> None:
        self.name, self.dtype, self.shape, self.nbytes = name, dtype, shape, nbytes

    def __repr__(self) -> str:
        return f"Port('{self.name}', {self.dtype}, {self.shape})"


class Network:
    """A network that runs as its file says.

    Threads of Python may share one; they take turns. A run uses as many threads as
    `set_num_threads` says, but not more than it said when the file was opened.

    Attributes:
        inputs, outputs: in the order of the model's, as `Port`s.
        isa: the instruction set of its kernels.
    """

    def __init__(self, filepath: Any, isa: str | None = None) -> None:
        path = arguments.path("deploy.load", "filepath", filepath)
        chosen = isas.default_isa() if isa is None else isas.check_isa(isa, "isa")
        try:
            self._network = _cpu.Network(os.fsencode(path), chosen, threads.get_num_threads())
        except OSError as error:
            raise FileError(f"'{path}' {error}") from None
        self._name = os.path.basename(path)
        self.isa = self._network.isa
        self.inputs = tuple(Port(*port) for port in self._network.inputs)
        self.outputs = tuple(Port(*port) for port in self._network.outputs)

    def __repr__(self) -> str:
        return f"<Network '{self._name}' inputs={list(self.inputs)} outputs={list(self.outputs)}>"

    def run(self, *inputs: Any) -> list[memoryview]:
        """Outputs for inputs that are any objects with the buffer protocol; NumPy is not needed.

        Args:
            inputs: each of its port's dtype and shape, as an array or as plain bytes.

        Returns:
            Fresh memory of each output's dtype and shape; `numpy.asarray` makes an array of it
            without a copy.

        Raises:
            ShapeError, DtypeError: an input is not what its port says; nothing ran.
        """
        self._check_count(inputs)
        given = [self._buffer(x, port) for x, port in zip(inputs, self.inputs, strict=True)]
        outputs = [bytearray(port.nbytes) for port in self.outputs]
        self._run(given, outputs)
        return [
            memoryview(memory).cast(_FORMATS[port.dtype], port.shape)  # type: ignore[call-overload]
            for memory, port in zip(outputs, self.outputs, strict=True)
        ]

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs for one batch, as `Model.predict_on_batch` gives them.

        Args:
            x: an array, or a list of them for several inputs; float64 is rounded.

        Returns:
            A NumPy array, or a list of them for several outputs.

        Raises:
            ShapeError, DtypeError: an input is not what its port says; nothing ran.
        """
        import numpy as np

        several = isinstance(x, (list, tuple)) and len(self.inputs) > 1
        arrays = [np.asarray(a) for a in (x if several else [x])]
        self._check_count(arrays)
        given = []
        for array, port in zip(arrays, self.inputs, strict=True):
            if array.dtype.kind == np.dtype(port.dtype).kind == "f":
                array = array.astype(port.dtype, copy=False)
            self._check(array.dtype.name, array.shape, port)
            given.append(np.require(array, requirements=["C", "A"]))
        outputs = [np.empty(port.shape, port.dtype) for port in self.outputs]
        self._run(given, outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _run(self, inputs: list[Any], outputs: list[Any]) -> None:
        try:
            self._network.run(inputs, outputs, threads.get_num_threads())
        except BufferError as error:
            raise ArgumentError(f"'{self._name}': {error}") from None

    def _check_count(self, inputs: Sequence[Any]) -> None:
        if len(inputs) != len(self.inputs):
            names = ", ".join(f"'{port.name}'" for port in self.inputs)
            raise ShapeError(
                f"'{self._name}' was given {len(inputs)} inputs, expected {len(self.inputs)}: "
                f"{names}"
            )

    def _buffer(self, x: Any, port: Port) -> Any:
        try:
            view = memoryview(x)
        except TypeError:
            raise DtypeError(
                f"'{self._name}': input '{port.name}' is a {type(x).__name__}, expected bytes or "
                "an array"
            ) from None
        if view.format == "B" and view.ndim == 1 and view.nbytes == port.nbytes:
            return view if view.c_contiguous else view.tobytes()
        dtype = _DTYPES.get(view.format.lstrip("@=<"), f"of format '{view.format}'")
        self._check(dtype, view.shape or (), port)
        return view if view.c_contiguous else view.tobytes()

    def _check(self, dtype: str, shape: Sequence[int], port: Port) -> None:
        where = f"'{self._name}': input '{port.name}'"
        if dtype != port.dtype:
            raise DtypeError(f"{where} has dtype {dtype}, expected {port.dtype}; convert it")
        if tuple(shape) != port.shape:
            raise ShapeError(
                f"{where} has shape {tuple(shape)}, expected {port.shape}; a plan is for one "
                "shape, so export another with input_shape=..., the batch included"
            )
