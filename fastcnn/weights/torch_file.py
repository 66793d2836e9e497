# SPDX-License-Identifier: Apache-2.0
"""Files of `torch.save`, read without PyTorch and without running what they hold.

Two layouts: since PyTorch 1.6 a zip archive with `data.pkl` and one entry per storage, before that
four pickles (magic number, version, system, object), one with the keys of the storages, and the
storages. A tensor is a storage, an offset, a shape and strides.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from fastcnn.errors import FileError
from fastcnn.graph import Array
from fastcnn.weights import numbers
from fastcnn.weights.archive import Archive
from fastcnn.weights.contents import damaged
from fastcnn.weights.pickles import Rebuild, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
PICKLE = "data.pkl"

# Where training scripts keep the weights; averaged ones first, as timm prefers them.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "module",
    "params",
)

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# What pickles.Unpickler raises for a damaged pickle, and NumPy for impossible shapes.
_DAMAGE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@final
@dataclass(frozen=True)
class Storage:
    """`size` numbers of one type under `key`, from number `offset` on."""

    key: str
    dtype: str
    size: int
    offset: int = 0


@final
@dataclass(frozen=True)
class StridedTensor:
    """A tensor as a pickle describes it; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        last = self.offset + sum((d - 1) * s for d, s in zip(self.shape, self.strides, strict=True))
        sizes = (self.offset, *self.shape, *self.strides)
        room, count = self.room, numbers.count(self.shape)
        if not all(type(d) is int and d >= 0 for d in sizes) or (count and last >= room):
            raise ValueError(
                f"a tensor of shape {self.shape} and strides {self.strides} at {self.offset} in a "
                f"storage of {room:,} numbers"
            )
        # Strides of 0 make a large tensor of few numbers; weights are never stored so.
        if count > room:
            raise ValueError(f"a tensor of shape {self.shape} in a storage of {room:,} numbers")

    @property
    def room(self) -> int:
        """How many numbers of the tensor's type its storage has."""
        size = self.storage.size * numbers.itemsize(self.storage.dtype)
        return size // numbers.itemsize(self.dtype)

    def within(self, found: Array) -> Array:
        """The tensor as a view of its storage's numbers."""
        if self.storage.offset + self.room > len(found):
            raise ValueError(f"its storage has {len(found):,} numbers")
        strides = tuple(s * found.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(
            found[self.storage.offset + self.offset :], self.shape, strides, writeable=False
        )


def recognises_legacy(data: memoryview) -> bool:
    """Whether the bytes begin as a pickle does, and hence the legacy layout."""
    return len(data) > 1 and data[0] == 0x80 and 2 <= data[1] <= 5


def recognises_zip(archive: Archive) -> bool:
    """Whether the archive holds a pickle where torch.save puts it."""
    return _root(archive.names) is not None


def read_zip(path: Path, archive: Archive) -> dict[str, Array]:
    """Tensors of the zip layout.

    Raises:
        FileError: the file is damaged, or holds other things than tensors.
    """
    root = _root(archive.names) or ""
    pickle = archive.entry(root + PICKLE)
    unpickler, storages = _unpickler(path)
    try:
        found = unpickler.load(io.BytesIO(pickle))
    except _DAMAGE as error:
        raise damaged(path, f"its pickle cannot be understood ({error})") from None
    order = bytes(archive.entry(root + "byteorder")) if root + "byteorder" in archive.names else b""
    if order not in (b"", b"little", b"big"):
        raise damaged(path, f"its byte order is {order!r}")
    tensors = _state_dict(path, found)
    arrays = {}
    for key in {tensor.storage.key for tensor in tensors.values()}:
        arrays[key] = archive.entry(f"{root}data/{key}")
        expected = storages[key].size * numbers.itemsize(storages[key].dtype)
        if len(arrays[key]) != expected:
            raise damaged(path, f"storage {key} has {len(arrays[key]):,} bytes")
    return _resolved(path, tensors, arrays, order == b"big")


def read_legacy(path: Path, data: mmap.mmap) -> dict[str, Array]:
    """Tensors of the layout before PyTorch 1.6.

    Raises:
        FileError: the file is damaged, or holds other things than tensors.
    """
    unpickler, storages = _unpickler(path)
    data.seek(0)
    try:
        if unpickler.load(data) != MAGIC:
            raise FileError(
                f"'{path}' is a pickle but was not written by torch.save, and is not read because "
                "pickles can run code; save the arrays as safetensors"
            )
        version, system = unpickler.load(data), unpickler.load(data)
        if version != LEGACY_VERSION:
            raise ValueError(f"it has version {version}")
        found, keys = unpickler.load(data), unpickler.load(data)
        tensors = _state_dict(path, found)
        big_endian = not system["little_endian"]
        arrays = _raw_storages(memoryview(data)[data.tell() :], keys, storages)
    except _DAMAGE as error:
        raise damaged(path, f"its pickles cannot be understood ({error})") from None
    return _resolved(path, tensors, arrays, big_endian)


# --- the pickle ----------------------------------------------------------------------------------


def _storage(
    kind: Any, dtype: Any, key: Any, location: Any, size: Any, view: Any = None
) -> Storage:
    """A persistent id; `view` of the legacy layout is (key, offset, size) within a larger one."""
    offset = 0
    if view is not None:
        _, offset, size = view
    if kind != "storage" or not isinstance(key, str) or type(size) is not int or size < 0:
        raise ValueError(f"a persistent id {kind!r} {key!r} of size {size!r}")
    if type(offset) is not int or offset < 0:
        raise ValueError(f"a view at {offset!r}")
    return Storage(key, _dtype(dtype), size, offset)


def _dtype(found: Any) -> str:
    """The type of numbers that a name stands for, e.g. torch.FloatStorage or torch.float32."""
    name = str(getattr(found, "name", found)).rpartition(".")[2]
    return _STORAGES.get(name, "uint8" if name == "UntypedStorage" else name)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StridedTensor:
    if not isinstance(storage, Storage):
        raise TypeError(f"a tensor in a {type(storage).__name__}")
    return StridedTensor(storage, offset, tuple(shape), tuple(strides), storage.dtype)


def _typed_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    *_: Any,
) -> StridedTensor:
    """A tensor whose storage is bytes."""
    return StridedTensor(storage, offset, tuple(shape), tuple(strides), _dtype(dtype))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _of_type(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with Python attributes, which are left out."""
    return rebuild.rebuild(*arguments)


def _numbers(*_: Any) -> Any:
    raise TypeError("a type of numbers that is called")


def _unpickler(path: Path) -> tuple[Unpickler, dict[str, Storage]]:
    """An unpickler, and the storages by key that it will have met."""
    storages: dict[str, Storage] = {}

    def persistent(*identity: Any) -> Storage:
        storage = _storage(*identity)
        known = storages.setdefault(storage.key, storage)
        if known.dtype != storage.dtype:
            raise ValueError(f"storage {storage.key} is {known.dtype} and {storage.dtype}")
        return storage

    named: dict[str, Rebuild] = {
        "collections.OrderedDict": dict,
        "collections.Counter": dict,
        "torch.Size": tuple,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _of_type,
        "torch.storage.UntypedStorage": _numbers,
        **{f"torch.{storage}": _numbers for storage in _STORAGES},
        **{f"torch.{dtype}": _numbers for dtype in numbers.NAMES},
    }
    inert = (
        "_codecs.encode",
        "argparse.Namespace",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "torch.Tensor",
        "torch.device",
        "torch.nn.parameter.Parameter",
    )
    return Unpickler(f"'{path}'", named, frozenset(inert), persistent), storages


def _state_dict(path: Path, found: Any) -> dict[str, StridedTensor]:
    """The tensors by name, out of what training scripts wrap them in."""
    for wrapper in WRAPPERS:
        inner = found.get(wrapper) if isinstance(found, dict) else None
        if isinstance(inner, dict) and any(isinstance(v, StridedTensor) for v in inner.values()):
            found = inner
            break
    if not isinstance(found, dict):
        raise FileError(
            f"'{path}' holds a {type(found).__name__}, expected tensors by name; save "
            "model.state_dict() with torch.save"
        )
    tensors = {
        name: value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, StridedTensor)
    }
    if not tensors:
        keys = ", ".join(repr(key) for key in list(found)[:8])
        raise FileError(
            f"'{path}' holds no tensors by name but {keys or 'nothing'}; save model.state_dict() "
            "with torch.save"
        )
    return tensors


# --- the storages --------------------------------------------------------------------------------


def _root(names: Iterable[str]) -> str | None:
    """The folder that holds data.pkl, with its slash; an archive has one folder."""
    found = [name for name in names if name == PICKLE or name.endswith("/" + PICKLE)]
    return min(found, key=len).removesuffix(PICKLE) if found else None


def _raw_storages(
    body: memoryview, keys: Any, storages: Mapping[str, Storage]
) -> dict[str, memoryview]:
    """Bytes of the legacy layout's storages: each its size, then its numbers, in order of keys."""
    arrays = {}
    at = 0
    for key in keys:
        (size,) = struct.unpack_from("<q", body, at)
        end = at + 8 + size * numbers.itemsize(storages[key].dtype)
        if size < 0 or end > len(body):
            raise ValueError(f"storage {key} of {size:,} numbers ends beyond the file")
        arrays[key] = body[at + 8 : end]
        at = end
    return arrays


def _resolved(
    path: Path,
    tensors: Mapping[str, StridedTensor],
    storages: Mapping[str, memoryview],
    big_endian: bool,
) -> dict[str, Array]:
    found: dict[tuple[str, str], Array] = {}
    arrays = {}
    for name, tensor in tensors.items():
        key = (tensor.storage.key, tensor.dtype)
        try:
            if key not in found:
                found[key] = numbers.decode(storages[key[0]], tensor.dtype, big_endian)
            arrays[name] = tensor.within(found[key])
        except _DAMAGE as error:
            raise damaged(path, f"tensor '{name}' cannot be read ({error})") from None
    return arrays
