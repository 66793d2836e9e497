# SPDX-License-Identifier: Apache-2.0
"""Keras' files: real ones, old ones, and ones that reach for other files."""

import random
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn import weights
from fastcnn.errors import FileError, MissingDependencyError
from weight_files import readable, unpacked

FILES = ("tiny.weights.h5", "tiny.keras", "tiny.h5", "tiny_model.h5")

# The model of data/weights/make.py: the number is that of the weight in it.
TINY = {
    "separable.depthwise_kernel": (0, (3, 3, 2, 1)),
    "separable.pointwise_kernel": (1, (1, 1, 2, 2)),
    "separable.bias": (2, (2,)),
    "depthwise.kernel": (3, (2, 2, 2, 1)),
    "depthwise.bias": (4, (2,)),
    "inner.one.kernel": (5, (1, 1, 2, 3)),
    "inner.one.bias": (6, (3,)),
    "inner.batch_normalization.beta": (7, (3,)),
    "inner.batch_normalization.moving_mean": (8, (3,)),
    "inner.batch_normalization.moving_variance": (9, (3,)),
    "dense.kernel": (10, (3, 2)),
    "dense.bias": (11, (2,)),
}


@pytest.mark.parametrize("name", FILES)
def test_real_file(tmp_path, name):
    file = weights.read(unpacked(name, tmp_path))
    assert file.kind == "keras"
    found = {key: (int(a.flat[0]), a.shape) for key, a in file.tensors.items()}
    assert found == TINY
    assert all((a == a.flat[0]).all() and a.dtype == np.float32 for a in file.tensors.values())


def test_file_of_keras_1(tmp_path):
    """Names such as those of VGG16's first public file; slashes in names of layers."""
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"block1_conv1", b"flatten", b"conv1/bn"])
        conv = file.create_group("block1_conv1")
        conv.attrs["weight_names"] = np.array([b"block1_conv1_W_1:0", b"block1_conv1_b_1:0"])
        conv["block1_conv1_W_1:0"] = np.ones((3, 3, 3, 4), np.float32)
        conv["block1_conv1_b_1:0"] = np.ones(4, np.float32)
        file.create_group("flatten").attrs["weight_names"] = np.array([], "S1")
        norm = file.create_group("conv1/bn")
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        norm.attrs["weight_names"] = np.array([f"conv1/bn/{n}:0".encode() for n in names])
        for name in names:
            norm[f"conv1/bn/{name}:0"] = np.ones(4, np.float16)
    found = weights.read(path).tensors
    assert list(found) == [
        "block1_conv1.kernel",
        "block1_conv1.bias",
        *(f"conv1_bn.{name}" for name in names),
    ]
    assert found["conv1_bn.gamma"].dtype == np.float32


def test_lists_in_several_attributes(tmp_path):
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        for chunk, layer in enumerate(("a", "b")):
            file.attrs[f"layer_names{chunk}"] = np.array([layer.encode()])
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/kernel:0".encode()])
            group[f"{layer}/kernel:0"] = np.ones((2, 2), np.float32)
    assert list(weights.read(path).tensors) == ["a.kernel", "b.kernel"]


def test_first_files_of_keras_3_have_no_names(tmp_path):
    path = tmp_path / "nameless.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/conv2d_1/vars/0"] = np.ones((1, 1, 2, 3), np.float32)
        file["optimizer/vars/0"] = np.ones(3, np.float32)
        file["layers/dropout/seed_generator/vars/0"] = np.ones(2, np.uint32)
    file = weights.read(path)
    assert list(file.tensors) == ["layers.conv2d_1.kernel"]
    found = weights.match(file, {}, {"conv2d_1.kernel": (1, 1, 2, 3)})
    assert list(found.tensors) == ["conv2d_1.kernel"]


def test_bfloat16(tmp_path):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        bits = np.array([[0x3FC0], [0xC000]], np.uint16).view("V2")
        dataset = file.create_dataset("layers/dense/vars/0", data=bits)
        dataset.attrs["dtype"] = "bfloat16"
        file["layers/dense/vars"].attrs["name"] = "fc"
    np.testing.assert_array_equal(weights.read(path).tensors["fc.kernel"], [[1.5], [-2]])


def test_h5py_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[hdf5\]"'):
        weights.read(unpacked("tiny.h5", tmp_path))


# --- what a file may not do ----------------------------------------------------------------------


def _other_file(folder):
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2), np.float32)
    return path


@pytest.mark.parametrize("place", ["layers", "layers/dense", "layers/dense/vars/0"])
def test_links_to_other_files_are_not_followed(tmp_path, place):
    secret = _other_file(tmp_path)
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file[place] = h5py.ExternalLink(secret.name, place)
    with pytest.raises(FileError):
        weights.read(path)


def test_data_in_other_files_is_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    for number in (1, 2):
        path = tmp_path / f"{number}.weights.h5"
        with h5py.File(path, "w") as file:
            if number == 1:
                file.create_dataset(
                    "layers/dense/vars/0", (2, 2), "f4", external=[("secret", 0, 16)]
                )
            else:
                layout = h5py.VirtualLayout((2, 2), "f4")
                source = h5py.VirtualSource(_other_file(tmp_path), "layers/dense/vars/0", (2, 2))
                layout[:] = source
                file.create_virtual_dataset("layers/dense/vars/0", layout)
        with pytest.raises(FileError, match="another file"):
            weights.read(path)


def test_groups_that_contain_themselves(tmp_path):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2), np.float32)
        file["layers/dense/again"] = file["layers"]
    assert list(weights.read(path).tensors) == ["layers.dense.kernel"]


def test_shapes_beyond_the_file(tmp_path):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 20), "f4", chunks=(64, 64))
    with pytest.raises(FileError, match="more than the file holds"):
        weights.read(path)


@pytest.mark.parametrize("value", [np.array([b"text"]), np.array([1j])])
def test_only_numbers(tmp_path, value):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = value
    with pytest.raises(FileError, match="expected numbers"):
        weights.read(path)


def test_hdf5_of_something_else(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.ones(3)
    with pytest.raises(FileError, match="without a Keras model's weights"):
        weights.read(path)


@pytest.mark.parametrize("name", FILES)
def test_truncations(tmp_path, name):
    whole = unpacked(name, tmp_path).read_bytes()
    path = tmp_path / "cut"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            weights.read(path)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
def test_flipped_bytes(tmp_path_factory, seed, count):
    """The archive's checksum keeps damage from the HDF5 library, which does not always survive."""
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(unpacked("tiny.keras", folder).read_bytes())
    draw = random.Random(seed)
    for _ in range(count):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path = folder / "flipped.keras"
    path.write_bytes(data)
    readable(path)
