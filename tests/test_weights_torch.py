# SPDX-License-Identifier: Apache-2.0
"""Files of PyTorch: real ones, ones that nobody should write, and damaged ones."""

import os
import pickle
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn import weights
from fastcnn.errors import FileError
from weight_files import (
    DATA,
    Call,
    Global,
    Persistent,
    State,
    encode,
    pickled,
    readable,
    storage,
    tensor,
    write_legacy,
    write_zip,
)

LAYOUTS = ("zip.pth", "legacy.pth")
FOUR = np.arange(4, dtype="<f4").tobytes()


# --- what torch.save wrote -----------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_real_file(name):
    file = weights.read(DATA / name)
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    expected = {
        "float": base,
        "transposed": base.transpose(2, 0, 1),
        "part": base[1, :, 1:3],
        "half": base,
        "bfloat16": base,
        "double": base.astype(np.float64),
        "int64": np.arange(6),
        "uint8": np.arange(6, dtype=np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.float32(7),
        "empty": np.zeros((0, 3), np.float32),
        "parameter": np.ones(3, np.float32),
    }
    assert file.kind == "torch"
    assert list(file.tensors) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(file.tensors[key], array, strict=True)


@pytest.mark.parametrize("name", LAYOUTS)
def test_tensors_of_one_storage_share_memory(name):
    tensors = weights.read(DATA / name).tensors
    assert np.shares_memory(tensors["float"], tensors["part"])
    assert not tensors["float"].flags.writeable


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint_legacy.pth"])
def test_training_checkpoint(name):
    """Weights are found beside optimizer, Namespace and NumPy scalar; module. is taken off."""
    norm = {f"1.{n}": (2,) for n in ("weight", "bias", "running_mean", "running_var")}
    expected = {"0.weight": (2, 1, 3, 3), "0.bias": (2,), **norm}
    file = weights.read(DATA / name)
    assert set(file.tensors) == {f"module.{n}" for n in (*expected, "1.num_batches_tracked")}
    found = weights.match(file, expected, {}).tensors
    assert {name: array.shape for name, array in found.items()} == expected
    assert all((array == 1).all() for array in found.values())


def test_whole_module_is_refused():
    with pytest.raises(FileError, match=r"object torch\.nn\.modules.*state_dict"):
        weights.read(DATA / "module.pth")


# --- what is written here ------------------------------------------------------------------------


def test_strides_and_offsets(tmp_path):
    value = {"t": tensor(storage("0", 12), (2, 2), (1, 3), offset=4)}
    path = write_zip(tmp_path / "x.pth", value, {"0": np.arange(12, dtype="<f4").tobytes()})
    np.testing.assert_array_equal(weights.read(path).tensors["t"], [[4, 7], [5, 8]])


def test_big_endian(tmp_path):
    data = np.arange(4, dtype=">f4").tobytes()
    path = write_zip(tmp_path / "x.pth", {"t": tensor(storage("0", 4), (4,))}, {"0": data}, "big")
    found = weights.read(path).tensors["t"]
    np.testing.assert_array_equal(found, [0, 1, 2, 3])
    assert found.dtype.isnative


def test_typed_tensor_in_bytes(tmp_path):
    """PyTorch writes types without a storage class this way."""
    value = Call(
        Global("torch._utils._rebuild_tensor_v3"),
        (storage("0", 8, "storage.UntypedStorage"), 1, (2,), (1,), False, None)
        + (Global("torch.uint16"), False),
    )
    data = np.array([9, 7, 8, 9], "<u2").tobytes()
    path = write_zip(tmp_path / "x.pth", {"t": value}, {"0": data})
    np.testing.assert_array_equal(
        weights.read(path).tensors["t"], np.array([7, 8], np.uint16), strict=True
    )


def test_legacy_view_of_a_storage(tmp_path):
    held = Persistent(("storage", Global("torch.FloatStorage"), "a", "cpu", 4, ("b", 1, 3)))
    path = write_legacy(tmp_path / "x.pth", {"t": tensor(held, (2,), offset=1)}, {"a": (4, FOUR)})
    np.testing.assert_array_equal(weights.read(path).tensors["t"], [2, 3])


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state", "state_dict_ema"])
def test_wrappers(tmp_path, key):
    inner = {"t": tensor(storage("0", 4), (4,))}
    path = write_zip(tmp_path / "x.pth", {"epoch": 1, key: inner}, {"0": FOUR})
    assert list(weights.read(path).tensors) == ["t"]


def test_averaged_weights_are_preferred(tmp_path):
    value = {
        "state_dict": {"t": tensor(storage("0", 4), (4,))},
        "state_dict_ema": {"t": tensor(storage("1", 4), (4,))},
    }
    ones = np.ones(4, "<f4").tobytes()
    path = write_zip(tmp_path / "x.pth", value, {"0": FOUR, "1": ones})
    assert (weights.read(path).tensors["t"] == 1).all()


# --- what tries to run code ----------------------------------------------------------------------


class _Reduced:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _attacks(marker):
    """Pickles that would create the file `marker` if they were run."""
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    tensors = tensor(storage("0", 4), (4,))
    ordered = Global("collections.OrderedDict")
    return {
        "os.system": pickle.dumps(_Reduced(os.system, (command,)), 2),
        "protocol 0": pickle.dumps(_Reduced(os.system, (command,)), 0),
        "protocol 4": pickle.dumps(_Reduced(os.system, (command,)), 4),
        "eval": pickle.dumps(_Reduced(eval, (code,)), 4),
        "exec": pickle.dumps(_Reduced(exec, (code,)), 4),
        "in a dict": pickled({"t": tensors, "x": Call(Global("builtins.eval"), (code,))}),
        "attribute": pickled(Call(Global("builtins.getattr"), (ordered, "fromkeys"))),
        "dotted": b"\x80\x04\x8c\x05torch\x8c\x12_utils.os.systemX\x93(X\x02\x00\x00\x00lstR.",
        "stack global": b"\x80\x04"
        + encode("os")
        + encode("system")
        + b"\x93"
        + encode((command,))
        + b"R.",
        "INST": b"(X" + len(command).to_bytes(4, "little") + command.encode() + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nX" + len(command).to_bytes(4, "little") + command.encode() + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + encode((command,)) + b"\x81.",
        "setstate": pickled(State(Call(Global("fastcnn.Model")), {"__setstate__": 1})),
        "BUILD on a function": pickled(
            State(Global("torch._utils._rebuild_tensor_v2"), (None, {"__defaults__": (1,)}))
        ),
        "BUILD on a tensor": pickled({"t": State(tensors, {"shape": (1,)})}),
        "call of a call": pickled(Call(Call(ordered), (code,))),
        "call of a dtype": pickled(Call(Global("torch.FloatStorage"), (4,))),
        "extension": b"\x80\x02\x82\x01.",
        "import": pickled(Call(Global("importlib.import_module"), ("os",))),
        "persistent text": b"P0\n.",
    }


ATTACKS = sorted(_attacks("x"))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("layout", ["zip", "legacy", "alone"])
def test_no_code_runs(tmp_path, attack, layout):
    marker = tmp_path / "ran"
    data = _attacks(marker)[attack]
    path = tmp_path / "x.pth"
    if layout == "zip":
        write_zip(path, data, {"0": FOUR})
    elif layout == "legacy":
        write_legacy(path, {}, {})
        whole = path.read_bytes()
        # In place of the fourth pickle, the object.
        head = whole[: whole.index(pickled({}))]
        path.write_bytes(head + data + pickled(["0"]) + b"\x04" + bytes(7) + FOUR)
    else:
        path.write_bytes(data)
    with pytest.raises(FileError):
        weights.read(path)
    assert not marker.exists()


def test_the_attacks_are_real(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(_attacks(marker)["os.system"])
    assert marker.exists()


def test_a_pickle_of_something_else_is_not_read(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FileError, match=r"not written by torch\.save"):
        weights.read(path)


# --- what lies -----------------------------------------------------------------------------------

HUGE = 1 << 40
LIES = {
    "beyond the storage": tensor(storage("0", 4), (5,)),
    "offset": tensor(storage("0", 4), (4,), offset=1),
    "strides": tensor(storage("0", 4), (2, 2), (3, 1)),
    "negative size": tensor(storage("0", 4), (-1,)),
    "negative stride": tensor(storage("0", 4), (2,), (-1,)),
    "negative offset": tensor(storage("0", 4), (2,), offset=-1),
    "no stride": tensor(storage("0", 4), (HUGE, HUGE), (0, 0)),
    "huge": tensor(storage("0", HUGE), (HUGE,)),
    "huge product": tensor(storage("0", 4), (1 << 62, 1 << 62)),
    "ranks differ": tensor(storage("0", 4), (2, 2), (1,)),
    "many axes": tensor(storage("0", 4), (1,) * 80, (1,) * 80),
    "no numbers": tensor(storage("0", 4), ("a",), ("b",)),
    "missing storage": tensor(storage("1", 4), (4,)),
    "size of storage": tensor(storage("0", 3), (3,)),
    "storage of text": tensor("0", (4,)),
}


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("lie", sorted(LIES))
def test_lies_are_found_without_allocating(tmp_path, lie, layout):
    if layout == "zip":
        path = write_zip(tmp_path / "x.pth", {"t": LIES[lie]}, {"0": FOUR})
    elif lie == "size of storage":
        # Here the size stands in the storage itself.
        path = write_legacy(tmp_path / "x.pth", {"t": LIES[lie]}, {"0": (HUGE, FOUR)})
    else:
        path = write_legacy(tmp_path / "x.pth", {"t": LIES[lie]}, {"0": (4, FOUR)})
    tracemalloc.start()
    try:
        with pytest.raises(FileError):
            weights.read(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_memo_places_are_no_sizes(tmp_path):
    """LONG_BINPUT with place 4,294,967,295 makes Python's unpickler fill 64 GB."""
    data = b"\x80\x02}r\xff\xff\xff\xff."
    path = write_zip(tmp_path / "x.pth", data, {})
    with pytest.raises(FileError, match="no tensors"):
        weights.read(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "no tensors"),
        ({"epoch": 1}, "no tensors by name but 'epoch'"),
        ([1], "holds a list"),
        (tensor(storage("0", 4), (4,)), "holds a StridedTensor"),
    ],
)
def test_nothing_to_load(tmp_path, value, message):
    with pytest.raises(FileError, match=message):
        weights.read(write_zip(tmp_path / "x.pth", value, {"0": FOUR}))


def test_byte_order_must_be_known(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"t": tensor(storage("0", 4), (4,))}, {"0": FOUR}, "pdp")
    with pytest.raises(FileError, match="byte order"):
        weights.read(path)


# --- what is damaged -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LAYOUTS, "checkpoint.pth"])
def test_every_truncation(tmp_path, name):
    whole = (DATA / name).read_bytes()
    path = tmp_path / name
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert not readable(path)


@pytest.mark.parametrize("name", [*LAYOUTS, "checkpoint_legacy.pth"])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 12))
def test_flipped_bytes(tmp_path_factory, name, seed, count):
    data = bytearray((DATA / name).read_bytes())
    draw = random.Random(seed)
    for _ in range(count):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    readable(path)


@given(body=st.binary(max_size=200))
def test_any_pickle(tmp_path_factory, body):
    path = tmp_path_factory.getbasetemp() / "any.pth"
    path.write_bytes(b"\x80\x02" + body)
    readable(path)


def test_checksums_are_looked_at(tmp_path):
    data = bytearray((DATA / "zip.pth").read_bytes())
    at = data.index(np.arange(24, dtype="<f4").tobytes())
    data[at + 5] ^= 1
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    with pytest.raises(FileError, match="checksum"):
        weights.read(path)
