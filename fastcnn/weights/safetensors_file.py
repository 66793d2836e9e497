# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, read in place.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of a JSON
header, the header, then the tensors without gaps. It is read here rather than by the safetensors
package because NumPy has no bfloat16 and float8, which that package refuses without PyTorch.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from fastcnn.graph import Array
from fastcnn.weights import numbers
from fastcnn.weights.contents import damaged

# The limit that the format sets.
LONGEST_HEADER = 100_000_000

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def recognises(data: memoryview) -> bool:
    """Whether the bytes begin as a safetensors file does."""
    return len(data) > 8 and data[8] == ord("{") and _header_length(data) <= LONGEST_HEADER


def read(path: Path, data: memoryview) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors and metadata.

    Raises:
        FileError: the file is damaged or holds numbers of an unknown type.
    """
    end = 8 + _header_length(data)
    if end > len(data):
        raise damaged(path, f"its header is to end at byte {end:,} of {len(data):,}")
    try:
        header = json.loads(bytes(data[8:end]).decode())
        metadata = header.pop("__metadata__", {})
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        tensors = _tensors(entries, data[end:])
        text = {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"its header cannot be understood ({error})") from None
    return {name: tensors[name] for name in header}, text


def _header_length(data: memoryview) -> int:
    return int(struct.unpack_from("<Q", data)[0])


def _tensors(entries: list[tuple[str, Any]], body: memoryview) -> dict[str, Array]:
    tensors = {}
    at = 0
    for name, entry in entries:
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if not all(isinstance(d, int) and d >= 0 for d in (begin, end, *shape)):
            raise ValueError(f"'{name}' has shape {shape} at {begin} … {end}")
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"'{name}' has the unknown dtype {entry['dtype']}")
        dtype = DTYPES[entry["dtype"]]
        size = numbers.count(shape) * numbers.itemsize(dtype)
        if begin != at or end != at + size or end > len(body):
            raise ValueError(
                f"'{name}' of {size:,} bytes lies at {begin:,} … {end:,} of {len(body):,}"
            )
        at = end
        tensors[name] = numbers.decode(body[begin:end], dtype).reshape(shape)
    if at != len(body):
        raise ValueError(f"{len(body) - at:,} bytes belong to no tensor")
    return tensors
