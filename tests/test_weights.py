# SPDX-License-Identifier: Apache-2.0
"""Recognising files of weights, and safetensors files."""

import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcnn
from fastcnn import weights
from fastcnn.errors import ArgumentError, FileError
from fastcnn.weights import numbers
from weight_files import DATA, readable, unpacked, write_safetensors

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3)


# --- recognising ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zip.pth", "torch"),
        ("legacy.pth", "torch"),
        ("tiny.weights.h5", "keras"),
        ("tiny.h5", "keras"),
        ("tiny.keras", "keras"),
    ],
)
def test_content_decides_and_not_the_name(tmp_path, name, kind):
    path = tmp_path / "weights.safetensors"
    source = DATA / name if kind == "torch" else unpacked(name, tmp_path)
    path.write_bytes(source.read_bytes())
    assert weights.read(path).kind == kind


def test_files_of_fastcnn_are_told_apart(tmp_path):
    model = fastcnn.Sequential([fastcnn.Input((3,)), fastcnn.layers.Dense(2, name="fc")])
    model.save(tmp_path / "model.pth")
    file = weights.read(tmp_path / "model.pth")
    assert file.kind == "fastcnn"
    np.testing.assert_array_equal(file.tensors["weights/fc.kernel"], model.get_weights()[0])
    model.save_weights(tmp_path / "w.bin")
    assert weights.read(tmp_path / "w.bin").kind == "safetensors"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello world, this is no file of weights", "begins with"),
        (b"x", "begins with"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (bytes(257) + b"ustar\x00" + bytes(300), "tar archive"),
        (b"PK\x03\x04 and no more", "zip archive"),
        (b"\x08\x07\x12\x07pytorch\x1a\x06", "begins with"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        weights.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileError, match="there is no file"):
        weights.read(tmp_path / "absent.pth")
    with pytest.raises(FileError, match="is a folder"):
        weights.read(tmp_path)
    with pytest.raises(ArgumentError, match="name of a file"):
        weights.read(None)


def test_archives_of_something_else(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError, match=r"without data\.pkl"):
        weights.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(1000))
    with pytest.raises(FileError, match="compressed or encrypted"):
        weights.read(path)


# --- safetensors ---------------------------------------------------------------------------------


def test_safetensors(tmp_path):
    path = write_safetensors(tmp_path / "x", {"b": B, "a": A}, format="pt")
    file = weights.read(path)
    assert (file.kind, file.path, dict(file.metadata)) == ("safetensors", path, {"format": "pt"})
    assert list(file.tensors) == ["b", "a"]
    np.testing.assert_array_equal(file.tensors["a"], A, strict=True)
    np.testing.assert_array_equal(file.tensors["b"], B, strict=True)


def test_arrays_are_the_file(tmp_path):
    """A large file is not copied: what is read is mapped."""
    large = np.zeros(10_000_000, np.float32)
    path = write_safetensors(tmp_path / "x", {"large": large})
    tracemalloc.start()
    try:
        found = weights.read(path).tensors["large"]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert found.shape == large.shape
    assert not found.flags.writeable


def test_written_by_the_package(tmp_path):
    from safetensors.numpy import save_file

    tensors = {"a": A, "half": A.astype(np.float16), "empty": np.zeros((0, 2), np.float32)}
    save_file(tensors, tmp_path / "x")
    found = weights.read(tmp_path / "x").tensors
    for name, array in tensors.items():
        expected = array.astype(np.float32)
        np.testing.assert_array_equal(found[name], expected, strict=True)


def test_short_floats():
    """Values from the tables of the formats."""
    halves = np.array([1.5, -2.0, 65504.0, np.inf], "<f2")
    np.testing.assert_array_equal(
        numbers.decode(memoryview(halves.tobytes()), "float16"), halves.astype(np.float32)
    )
    bfloat16 = memoryview(np.array([0x3FC0, 0xC000, 0x7F7F, 0x7F80, 0x0001], "<u2").tobytes())
    np.testing.assert_array_equal(
        numbers.decode(bfloat16, "bfloat16"),
        np.array([1.5, -2, 3.3895314e38, np.inf, 9.18355e-41], np.float32),
    )
    e4m3 = numbers.decode(memoryview(bytes([0x00, 0x01, 0x08, 0x38, 0x7E, 0xFE, 0x7F])), NAMES[0])
    np.testing.assert_array_equal(e4m3, [0, 2**-9, 2**-6, 1, 448, -448, np.nan])
    e5m2 = numbers.decode(memoryview(bytes([0x01, 0x3C, 0x7B, 0xFC, 0x7E])), NAMES[1])
    np.testing.assert_array_equal(e5m2, [2**-16, 1, 57344, -np.inf, np.nan])


NAMES = ("float8_e4m3fn", "float8_e5m2")


def _entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": _entry(0, 28, (2, 3))},
        {"a": _entry(0, 24, (2, 4))},
        {"a": _entry(0, 24, (1 << 40, 1 << 40))},
        {"a": _entry(0, 24, (-2, -3))},
        {"a": _entry(0, 24, (2, 3.0))},
        {"a": _entry(4, 24, (5,))},
        {"a": _entry(0, 24, (2, 3), "F7")},
        {"a": _entry(0, 20, (5,))},
        {"b": _entry(0, 24, (2, 3))},
        {"a": 3},
        {"a": {}},
        {"__metadata__": 3},
        {"b": _entry(24, 1 << 50, (1 << 48,))},
    ],
)
def test_lying_headers(tmp_path, header):
    path = write_safetensors(tmp_path / "x", {"a": A}, header)
    with pytest.raises(FileError, match="damaged or cut short"):
        weights.read(path)


def test_header_that_is_too_long(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", 1 << 26) + b"{}")
    with pytest.raises(FileError, match="header"):
        weights.read(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(FileError, match="begins with"):
        weights.read(path)
    nested = b'{"a":' * 100_000
    path.write_bytes(struct.pack("<Q", len(nested)) + nested)
    with pytest.raises(FileError, match="damaged"):
        weights.read(path)


def test_every_truncation(tmp_path):
    whole = write_safetensors(tmp_path / "x", {"a": A, "b": B}).read_bytes()
    path = tmp_path / "y"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            weights.read(path)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
def test_flipped_bytes(tmp_path_factory, seed, count):
    path = tmp_path_factory.getbasetemp() / "flipped"
    data = bytearray(write_safetensors(path, {"a": A, "b": B}, format="pt").read_bytes())
    draw = random.Random(seed)
    for _ in range(count):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)
    readable(path)
