# SPDX-License-Identifier: Apache-2.0
"""Plans in files: the results of `predict_on_batch`, without NumPy, from C, and damaged."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, applications, deploy, layers, ops
from fastcnn.backends import _cpu, isas
from fastcnn.backends.threads import get_num_threads
from fastcnn.errors import (
    ArgumentError,
    BackendError,
    DtypeError,
    FileError,
    ShapeError,
    UnsupportedError,
)

ROOT = Path(__file__).parent.parent
Array = np.ndarray[Any, Any]


def small() -> Model:
    return Sequential(
        [
            Input((9, 9, 3), name="image"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(5, activation="softmax", name="scores"),
        ]
    )


def two_ends() -> Model:
    """Two inputs, one of them bytes; three outputs, one of them another's input as well."""
    image = Input((12, 10, 3), dtype="uint8", name="image")
    numbers = Input((6,), name="numbers")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="features")(x)
    y = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), numbers])
    return Model([image, numbers], [x, layers.Dense(4)(y), layers.Softmax()(numbers)])


def joined() -> Model:
    """Joins that copy nothing, and a Winograd convolution."""
    image = Input((16, 16, 8))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(image)
    x = layers.Concatenate()([x, layers.Conv2D(32, 1)(image), image])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return Model(image, layers.Conv2D(48, 3, padding="same")(x))


class WithNothing(layers.Layer):
    """Its input behind no rows of it."""

    def call(self, x: Any) -> Any:
        _, _, columns, channels = x.shape
        return ops.concatenate([ops.slice(x, (0, 0, 0, 0), (None, 0, columns, channels)), x], 1)


def nothing_inside() -> Model:
    image = Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    return Model(image, layers.Conv2D(4, 3)(WithNothing()(x)))


NETWORKS: dict[str, Callable[[], Model]] = {
    "small": small,
    "two-ends": two_ends,
    "joined": joined,
    "nothing-inside": nothing_inside,
    "mobilenet": lambda: applications.MobileNetV2(
        alpha=0.35, input_shape=(64, 64, 3), classes=7, weights=None
    ),
    "shufflenet": lambda: applications.ShuffleNetV2(
        input_shape=(64, 64, 3), classes=7, weights=None
    ),
    "densenet": lambda: applications.DenseNet121(input_shape=(64, 64, 3), classes=7, weights=None),
}


def batch_of(model: Model, count: int) -> list[Array]:
    random = np.random.default_rng(count)
    found = []
    for tensor in model.inputs:
        values = random.uniform(0, 255, (count, *tensor.shape[1:]))
        found.append(values.astype(tensor.dtype) if tensor.dtype == "uint8" else values / 255)
    return [a.astype(t.dtype) for a, t in zip(found, model.inputs, strict=True)]


def shapes_of(arrays: list[Array]) -> list[tuple[int, ...]]:
    return [a.shape for a in arrays]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.plan"
    small().export(path, format="plan")
    return path


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_computes_what_the_model_does(name: str, count: int, tmp_path: Path) -> None:
    model = NETWORKS[name]()
    arrays = batch_of(model, count)
    many = len(arrays) > 1
    path = tmp_path / "net.plan"
    deploy.export(model, path, shapes_of(arrays) if many else arrays[0].shape)
    network = deploy.load(path)
    expected = model.predict_on_batch(arrays if many else arrays[0])
    found = network.predict_on_batch(arrays if many else arrays[0])
    expected, found = ([e] if isinstance(e, np.ndarray) else e for e in (expected, found))
    raw = network.run(*arrays)
    assert [port.name for port in network.inputs] == model.input_names
    assert [port.name for port in network.outputs] == model.output_names
    for want, array, memory, port in zip(expected, found, raw, network.outputs, strict=True):
        np.testing.assert_array_equal(array, want)
        np.testing.assert_array_equal(np.asarray(memory), want)
        assert (array.dtype.name, array.shape) == (port.dtype, port.shape)
        assert (memory.shape, memory.nbytes) == (port.shape, port.nbytes)


def test_what_is_exported_follows_the_weights(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "net.plan"
    x = batch_of(model, 1)[0]
    model.predict_on_batch(x)
    model.set_weights([2 * w + 0.1 for w in model.get_weights()])
    model.export(path, format="plan")
    np.testing.assert_array_equal(deploy.load(path).predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.parametrize("isa", isas.available_isas())
@pytest.mark.parametrize("name", ["small", "joined", "mobilenet"])
def test_a_file_runs_on_every_instruction_set(name: str, isa: str, tmp_path: Path) -> None:
    """Written on the best one, it takes the kernels of any: layouts are the same."""
    model, path = NETWORKS[name](), tmp_path / "net.plan"
    x = batch_of(model, 2)[0]
    model.export(path, format="plan", input_shape=x.shape)
    network = deploy.load(path, isa)
    assert network.isa == isa
    expected = model.predict_on_batch(x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(network.predict_on_batch(x), expected, rtol=0, atol=1e-5 * scale)


def test_the_environment_chooses_the_instruction_set(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTCNN_ISA", "scalar")
    assert deploy.load(plan).isa == "scalar"
    monkeypatch.setenv("FASTCNN_ISA", "mmx")
    with pytest.raises(BackendError, match="FASTCNN_ISA='mmx' is unknown"):
        deploy.load(plan)
    with pytest.raises(BackendError, match="isa='sse' is unknown"):
        deploy.load(plan, "sse")


def test_the_same_bits_for_any_number_of_threads(tmp_path: Path) -> None:
    model, path = NETWORKS["mobilenet"](), tmp_path / "net.plan"
    x = batch_of(model, 3)[0]
    model.export(path, format="plan", input_shape=x.shape)
    before, results = get_num_threads(), []
    try:
        for count in (3, 1, 2):
            fastcnn.set_num_threads(count)
            results.append(deploy.load(path).predict_on_batch(x))
            opened = deploy.load(path)
            fastcnn.set_num_threads(2)
            results.append(opened.predict_on_batch(x))
    finally:
        fastcnn.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_process_needs_neither_numpy_nor_a_model(plan: Path) -> None:
    x = batch_of(small(), 1)[0]
    expected = deploy.load(plan).predict_on_batch(x)
    code = (
        "import sys, fastcnn\n"
        "fastcnn.set_num_threads(2)\n"
        f"network = fastcnn.deploy.load({str(plan)!r})\n"
        "scores = network.run(sys.stdin.buffer.read())[0]\n"
        "print(*[value.hex() for value in scores.tolist()[0]])\n"
        "unwanted = {'numpy', 'typing', 'safetensors', 'fastcnn.ops', 'fastcnn.models'}\n"
        "print(sorted(unwanted & sys.modules.keys()))\n"
    )
    # -S: what `site` imports for an editable installation is not ours.
    paths = os.pathsep.join([str(Path(fastcnn.__file__).parents[1]), *sys.path])
    output = subprocess.run(
        [sys.executable, "-S", "-c", code],
        input=x.tobytes(),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    ).stdout.decode()
    scores, unwanted = output.splitlines()
    assert [float.fromhex(word) for word in scores.split()] == expected[0].tolist()
    assert unwanted == "[]"


def test_threads_share_a_network(tmp_path: Path) -> None:
    model, path = NETWORKS["joined"](), tmp_path / "net.plan"
    model.export(path, format="plan")
    network = deploy.load(path)
    inputs = [batch_of(model, 1)[0] + i for i in range(4)]
    expected = [network.predict_on_batch(x) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(network.predict_on_batch(inputs[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_forked_child_runs_on(plan: Path) -> None:
    x = batch_of(small(), 1)[0]
    network = deploy.load(plan)
    expected = network.predict_on_batch(x)
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(network.predict_on_batch(x), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_file_may_be_replaced_while_it_is_open(plan: Path) -> None:
    x = batch_of(small(), 1)[0]
    network = deploy.load(plan)
    expected = network.predict_on_batch(x)
    small().export(plan, format="plan")
    np.testing.assert_array_equal(network.predict_on_batch(x), expected)
    plan.unlink()
    np.testing.assert_array_equal(network.predict_on_batch(x), expected)


# --- inputs --------------------------------------------------------------------------------------


def test_inputs_of_any_layout_are_taken(plan: Path) -> None:
    network = deploy.load(plan)
    x = batch_of(small(), 1)[0]
    expected = network.predict_on_batch(x)
    apart = np.repeat(x, 2, axis=2)[:, :, ::2]
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not shifted.flags.aligned
    for same in (apart, shifted, x.astype(np.float64), np.asfortranarray(x)):
        np.testing.assert_array_equal(network.predict_on_batch(same), expected)
    for same in (apart, np.asfortranarray(x), bytearray(x.tobytes()), memoryview(x)):
        np.testing.assert_array_equal(np.asarray(network.run(same)[0]), expected)
    with pytest.raises(ArgumentError, match=r"'image' does not lie at a multiple"):
        network.run(shifted)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 9, 9, 3), "f"), ShapeError, r"'image' has shape \(2, 9, 9, 3\), expected"),
        (np.zeros((9, 9, 3), "f"), ShapeError, r"expected \(1, 9, 9, 3\); a plan is for one shape"),
        (np.zeros((1, 9, 9, 3), "i"), DtypeError, "has dtype int32, expected float32"),
        (b"short", DtypeError, "has dtype uint8, expected float32"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    plan: Path, x: Any, error: type[Exception], message: str
) -> None:
    network = deploy.load(plan)
    for run in (network.run, network.predict_on_batch):
        if run == network.run or not isinstance(x, bytes):
            with pytest.raises(error, match=message):
                run(x)


def test_other_things_are_refused(plan: Path) -> None:
    network = deploy.load(plan)
    with pytest.raises(ShapeError, match=r"'small\.plan' was given 2 inputs, expected 1: 'image'"):
        network.run(b"", b"")
    with pytest.raises(DtypeError, match="'image' is a float, expected bytes or an array"):
        network.run(3.0)
    with pytest.raises(DtypeError, match="has dtype of format 'e', expected float32"):
        network.run(np.zeros((1, 9, 9, 3), np.float16))
    for path in (3, "", None):
        with pytest.raises(ArgumentError, match="expected the name of a file"):
            deploy.load(path)


# --- models that cannot be exported --------------------------------------------------------------


def test_models_that_a_plan_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.plan"
    path.write_bytes(b"as it was")
    image = Input((8, 8, 3))
    noisy = Model(image, layers.Dropout(0.5)(image, training=True))
    with pytest.raises(UnsupportedError, match="draws random numbers"):
        noisy.export(path, format="plan")
    slow = small()
    slow.compile("sgd", "mse", backend="reference")
    fastcnn.config.set_floatx("float64")
    try:
        double = small()
    finally:
        fastcnn.config.set_floatx("float32")
    for model in (slow, double):
        with pytest.raises(UnsupportedError, match="on the backend 'reference', expected float32"):
            model.export(path, format="plan")
    free = Sequential([Input((None, None, 3)), layers.Conv2D(4, 3)])
    with pytest.raises(ArgumentError, match="a plan is for one shape; give input_shape"):
        free.export(path, format="plan")
    with pytest.raises(ShapeError, match="expected sizes that fit"):
        free.export(path, format="plan", input_shape=(1, 8, 8, 4))
    with pytest.raises(ArgumentError, match="opset=13, which is of format='onnx' alone"):
        free.export(path, format="plan", opset=13)
    with pytest.raises(ArgumentError, match="expected one of 'onnx', 'plan'"):
        free.export(path, format="tf_saved_model")
    with pytest.raises(FileError, match="cannot write"):
        small().export(tmp_path / "nowhere" / "net.plan", format="plan")
    assert path.read_bytes() == b"as it was"
    free.export(path, format="plan", input_shape=(None, 8, 7, 3))
    assert deploy.load(path).inputs[0].shape == (1, 8, 7, 3)


# --- files that are damaged ----------------------------------------------------------------------

_HEADER = "<8sII16s3q8i"


def fixed(data: bytes | bytearray) -> bytes:
    """The same with the checksum that belongs to it."""
    head = list(struct.unpack_from(_HEADER, data))
    weights_at = head[5]
    blank = bytearray(data)
    blank[12:16] = bytes(4)
    blank[12:16] = struct.pack("<I", zlib.crc32(blank[:weights_at]))
    return bytes(blank)


def test_checksums_are_those_of_zlib(plan: Path) -> None:
    assert fixed(plan.read_bytes()) == plan.read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 87, 88, 500, 4096, 5000, -1])
def test_files_that_were_cut_off_are_refused(plan: Path, keep: int) -> None:
    plan.write_bytes(plan.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"small\.plan' (is not a plan|has \d+ bytes, expected)"):
        deploy.load(plan)


def test_a_longer_file_is_refused(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes() + b"\0")
    with pytest.raises(FileError, match="it was cut off"):
        deploy.load(plan)


def test_every_byte_before_the_weights_counts(plan: Path) -> None:
    data = plan.read_bytes()
    for at in (*range(0, 88, 3), *range(88, struct.unpack_from(_HEADER, data)[5], 97)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        plan.write_bytes(damaged)
        with pytest.raises(FileError, match=r"small\.plan'"):
            deploy.load(plan)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"'.*none\.plan' cannot be opened \(No such file"):
        deploy.load(tmp_path / "none.plan")
    with pytest.raises(FileError, match="is not a plan of fastcnn"):
        deploy.load(tmp_path)
    with pytest.raises(FileError, match="is not a plan of fastcnn"):
        deploy.load(__file__)
    with pytest.raises(FileError, match="there is a 0 in its name"):
        deploy.load("a\0b")
    small().save(tmp_path / "m.fastcnn")
    with pytest.raises(FileError, match="is not a plan of fastcnn"):
        deploy.load(tmp_path / "m.fastcnn")


def test_files_of_other_kernels_are_refused(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[16:32] = b"0123456789abcdef"
    plan.write_bytes(fixed(data))
    with pytest.raises(FileError, match=f"kernels 0123456789abcdef, here {_cpu.BUILD}"):
        deploy.load(plan)


def test_numbers_that_lead_astray_are_refused(plan: Path) -> None:
    """With a checksum that fits, each number of a record: refused, or as harmless as before."""
    data = plan.read_bytes()
    head = struct.unpack_from(_HEADER, data)
    calls, candidates, tensors, inputs, outputs = head[7:12]
    records = 24 * calls + 8 * candidates + 80 * (tensors + inputs + outputs)
    refused = 0
    for at in range(32, 88 + records, 4):
        for value in (-1, 2**31 - 1, 1 << 20):
            changed = bytearray(data)
            struct.pack_into("<i", changed, at, value)
            if at in (40, 44):  # where weights begin, up to which the checksum goes
                changed = bytearray(data[:40] + struct.pack("<q", value) + data[48:])
                plan.write_bytes(changed)
            else:
                plan.write_bytes(fixed(changed))
            try:
                network = deploy.load(plan)
            except FileError:
                refused += 1
            else:
                assert all(port.nbytes >= 0 for port in (*network.inputs, *network.outputs))
    assert refused > records // 4


# --- C -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_c_program_runs_a_plan(plan: Path, tmp_path: Path) -> None:
    x = batch_of(small(), 1)[0]
    program, image = tmp_path / "run_plan", tmp_path / "image"
    image.write_bytes(x.tobytes())
    sources = ["network", "plan_file", "memory", "runtime", "dispatch", "isa_scalar"]
    subprocess.run(
        ["cc", "-std=gnu99", "-O1", "-Wall", "-Werror", f"-I{ROOT / 'src_c'}", "-o", program]
        + [f'-DFC_BUILD="{_cpu.BUILD}"', ROOT / "examples" / "run_plan.c"]
        + [ROOT / "src_c" / f"{name}.c" for name in sources]
        + ["-lm", "-pthread"],
        check=True,
    )
    output = subprocess.run(
        [program, plan, image], capture_output=True, text=True, check=True
    ).stdout
    scores = [float(line.split()[1]) for line in output.splitlines() if line[:1].isdigit()]
    expected = deploy.load(plan, "scalar").predict_on_batch(x)[0]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    plan.write_bytes(b"no plan")
    failed = subprocess.run([program, plan, image], capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"{plan} is not a plan of fastcnn" in failed.stderr
