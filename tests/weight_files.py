# SPDX-License-Identifier: Apache-2.0
"""Writers of weight files for tests, independent of the readers and of PyTorch.

A pickle is spelled out opcode by opcode, so that it may say what no honest program would.
"""

import gzip
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import weights
from fastcnn.errors import FileError

DATA = Path(__file__).parent / "data" / "weights"

SAFETENSORS = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}


@dataclass(frozen=True)
class Global:
    """A name that a pickle refers to, as "module.name"."""

    name: str


@dataclass(frozen=True)
class Call:
    """A name called with arguments."""

    function: Global
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class State:
    """A value that is given a state (BUILD)."""

    value: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    identity: tuple[Any, ...]


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + encode(value) + b"."


def encode(value: Any) -> bytes:
    """Opcodes that push a value."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        digits = value.to_bytes(16, "little", signed=True)
        return b"\x8a\x10" + digits
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encode, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
    if isinstance(value, Global):
        module, _, name = value.name.rpartition(".")
        return b"c" + f"{module}\n{name}\n".encode()
    if isinstance(value, Call):
        return encode(value.function) + encode(value.arguments) + b"R"
    if isinstance(value, State):
        return encode(value.value) + encode(value.state) + b"b"
    assert isinstance(value, Persistent)
    return encode(value.identity) + b"Q"


def storage(key: str, size: int, kind: str = "FloatStorage") -> Persistent:
    """A storage of `size` numbers."""
    return Persistent(("storage", Global(f"torch.{kind}"), key, "cpu", size))


def tensor(
    held: Any, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0
) -> Call:
    """A tensor in a storage; contiguous if no strides are given."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    hooks = Call(Global("collections.OrderedDict"))
    rebuild = Global("torch._utils._rebuild_tensor_v2")
    return Call(rebuild, (held, offset, shape, strides, False, hooks))


def write_zip(
    path: Path, value: Any, storages: dict[str, bytes], order: str = "little", **extra: bytes
) -> Path:
    """The layout of torch.save since PyTorch 1.6; `value` may be the bytes of a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickled(value))
        archive.writestr("archive/byteorder", order)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in extra.items():
            archive.writestr(f"archive/{name}", data)
    return path


def write_legacy(path: Path, value: Any, storages: dict[str, tuple[int, bytes]]) -> Path:
    """The layout before; storages are numbers of elements and bytes."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickled(v) for v in (0x1950A86A20F9469CFC6C, 1001, system, value, list(storages))]
    parts += [struct.pack("<q", size) + data for size, data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def write_safetensors(
    path: Path, tensors: dict[str, Any], header: dict[str, Any] | None = None, **metadata: str
) -> Path:
    """A safetensors file; `header` replaces entries of the one that would be right."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, array in tensors.items():
        data = array.tobytes()
        entries[name] = {
            "dtype": SAFETENSORS[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps({**entries, **(header or {})}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def readable(path: Path) -> bool:
    """Whether a file can be read; if not, the one error there is must name it."""
    try:
        weights.read(path)
    except FileError as error:
        message = str(error)
    else:
        return True
    assert str(path) in message
    return False


def unpacked(name: str, folder: Path) -> Path:
    """A file of `data/weights` that is kept compressed."""
    path = folder / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    return path
