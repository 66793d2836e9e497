# SPDX-License-Identifier: Apache-2.0
"""Writing a plan to a file, in the records of `src_c/plan_file.h`."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.backends import _cpu, cpu
from fastcnn.backends.calls import Array, Call, Slot
from fastcnn.errors import ArgumentError, UnsupportedError
from fastcnn.graph import Spec
from fastcnn.models import Model
from fastcnn.models.lowering import batch_specs
from fastcnn.placement import ARENA
from fastcnn.plan import Plan
from fastcnn.storage import ALIGNMENT
from fastcnn.utils.atomic import write_atomically

_MAGIC, _FORMAT = b"FCNNPLAN", 1
_HEADER = struct.Struct("<8sII16s3q8i")
_CALL = struct.Struct("<6i")
_CANDIDATE = struct.Struct("<2i")
_TENSOR = struct.Struct("<4i2q6q")
_PAGE = 4096

_WEIGHTS, _PORTS = 1, 2  # buffers; inputs and outputs begin at the second


def export(model: Model, filepath: Any, input_shape: Any = None) -> None:
    """Write what `predict_on_batch` runs for batches of one shape; `deploy.load` opens it.

    The file holds weights as kernels read them, so it may be larger than the model's own:
    Winograd's filters take four times as much. It runs on any processor, with the version of
    fastcnn that wrote it alone; keep the model to export it again. Results are those of the model,
    to the bit where the instruction set is the same.

    Args:
        model: a float32 model that is built.
        filepath: by convention "name.plan".
        input_shape: shape of the input with the batch, or a list of shapes for several; the
            model's own and a batch of 1 when None.

    Raises:
        ArgumentError: sizes that are not known.
        ShapeError: `input_shape` does not fit.
        UnsupportedError: the model is of float64 or on another backend, or draws random numbers
            when it predicts.
        FileError: the folder is missing or cannot be written; an old file is as it was.
    """
    where = f"model '{model.name}': export"
    path = arguments.path(where, "filepath", filepath)
    backend = model.inference_backend()
    if backend != "cpu":
        raise UnsupportedError(
            f"{where}: found a model of {model.dtype} on the backend '{backend}', "
            "expected float32 on 'cpu', since plans name its kernels"
        )
    inference = model.inference_plan(_specs(model, where, input_shape))
    if inference.draws:
        raise UnsupportedError(
            f"{where}: a layer that is called with training=True draws random numbers, which a "
            "plan has none of; call it without"
        )
    inference.refresh_weights()
    plan = inference.plan
    numbered = [f"output_{i}" for i in range(len(plan.output_slots))]
    names = [*(t.node.layer for t in plan.inputs), *(model.output_names or numbered)]
    write_atomically(path, *_pieces(plan, names))


def _specs(model: Model, where: str, input_shape: Any) -> list[Spec]:
    """Specs of the inputs: every size is known, and a batch that is not told is 1."""
    specs = batch_specs(model, input_shape, where)
    shapes = [(s.shape[0] or 1, *s.shape[1:]) for s in specs]
    if any(d is None for shape in shapes for d in shape):
        raise ArgumentError(
            f"{where}: found input shapes {[s.shape for s in specs]}, expected sizes alone, since "
            "a plan is for one shape; give input_shape with the batch"
        )
    return [Spec(shape, spec.dtype) for shape, spec in zip(shapes, specs, strict=True)]


def _pieces(plan: Plan, names: Sequence[str]) -> Iterator[bytes | memoryview]:
    """The bytes of a file, in order."""
    weights = _Weights(plan.fixed)
    yield _Records(plan, names, weights).to_bytes(weights.nbytes)
    yield from weights.pieces()


class _Weights:
    """Weights and constants, end to end in the order in which a run reads them first."""

    def __init__(self, fixed: Mapping[int, Array]) -> None:
        self._arrays = [np.ascontiguousarray(array) for array in fixed.values()]
        self.offsets: dict[int, int] = {}
        self.nbytes = 0
        for buffer, array in zip(fixed, self._arrays, strict=True):
            self.offsets[buffer] = self.nbytes
            self.nbytes += -(-array.nbytes // ALIGNMENT) * ALIGNMENT

    def pieces(self) -> Iterator[bytes | memoryview]:
        for array in self._arrays:
            yield array.reshape(-1).view(np.uint8).data
            yield bytes(-array.nbytes % ALIGNMENT)


class _Records:
    """Calls and all they name, as records."""

    def __init__(self, plan: Plan, names: Sequence[str], weights: _Weights) -> None:
        self._backend = cpu.backend()
        self._plan, self._weights = plan, weights
        self._text, self._attributes = _Pool(1), _Pool(8)
        self._calls, self._candidates = bytearray(), bytearray()
        self._tensors, self._ports = bytearray(), bytearray()
        inputs = [Slot(b, 0, t.spec.sizes, t.dtype)
                  for b, t in zip(plan.input_buffers, plan.inputs, strict=True)]  # fmt: skip
        ports = [*inputs, *plan.output_slots]
        self._port = {slot.buffer: _PORTS + i for i, slot in enumerate(ports)}
        for slot, name in zip(ports, names, strict=True):
            self._ports += self._tensor(slot, name)
        for call, threads in zip(plan.calls, cpu.worth_threads(plan.calls), strict=True):
            self._add(call, threads)

    def _add(self, call: Call, threads: int) -> None:
        candidates = list(zip(*self._backend.candidates(call), strict=True))
        slots = [*call.inputs, *call.outputs]
        self._calls += _CALL.pack(
            len(self._candidates) // _CANDIDATE.size,
            len(candidates),
            len(self._tensors) // _TENSOR.size,
            len(call.inputs),
            len(call.outputs),
            threads,
        )
        for index, attributes in candidates:
            name = self._backend.kernels[index][0]
            self._candidates += _CANDIDATE.pack(
                self._text_at(name), self._attributes.at(attributes)
            )
        for slot in slots:
            self._tensors += self._tensor(slot)

    def _tensor(self, slot: Slot, name: str = "") -> bytes:
        buffer, offset = slot.buffer, slot.offset
        if buffer in self._weights.offsets:
            buffer, offset = _WEIGHTS, offset + self._weights.offsets[buffer]
        elif buffer != ARENA:
            buffer = self._port[buffer]
        shape = slot.shape
        ld = slot.ld or (shape[-1] if shape else 1)
        dims = (*shape, *[0] * (cpu.MAX_RANK - len(shape)))
        dtype = _cpu.DTYPES[slot.dtype]
        return _TENSOR.pack(buffer, self._text_at(name), dtype, len(shape), offset, ld, *dims)

    def _text_at(self, text: str) -> int:
        return self._text.at(text.encode() + b"\0")

    def to_bytes(self, weight_bytes: int) -> bytes:
        """Header, records, and padding up to where weights begin."""
        sections = [self._calls, self._candidates, self._tensors, self._ports]
        sections += [self._attributes.data, self._text.data]
        weights_at = _HEADER.size + sum(map(len, sections))
        weights_at = math.ceil(weights_at / _PAGE) * _PAGE
        counts = (
            len(self._calls) // _CALL.size,
            len(self._candidates) // _CANDIDATE.size,
            len(self._tensors) // _TENSOR.size,
            len(self._plan.input_buffers),
            len(self._plan.output_slots),
            len(self._attributes.data),
            len(self._text.data),
            0,
        )
        numbers = (self._plan.arena_bytes, weights_at, weight_bytes, *counts)

        def content(checksum: int) -> bytes:
            head = _HEADER.pack(_MAGIC, _FORMAT, checksum, _cpu.BUILD.encode(), *numbers)
            return b"".join([head, *sections]).ljust(weights_at, b"\0")

        return content(zlib.crc32(content(0)))


class _Pool:
    """Byte strings, each once, at multiples of an alignment."""

    def __init__(self, alignment: int) -> None:
        self._alignment = alignment
        self._places: dict[bytes, int] = {}
        self.data = bytearray()

    def at(self, value: bytes) -> int:
        """Where `value` stands."""
        if value not in self._places:
            self._places[value] = len(self.data)
            self.data += value + bytes(-len(value) % self._alignment)
        return self._places[value]
