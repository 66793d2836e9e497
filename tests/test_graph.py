# SPDX-License-Identifier: Apache-2.0
"""Specs, nodes, parameters, traces: what a graph remembers and refuses."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from fastcnn import Input, layers, ops
from fastcnn.drawing import Trace, assign, read, scope, tracing
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Parameter, Pending, Spec, constant, placeholder, topological
from fastcnn.ops.registry import BY_NAME, FAMILIES
from fastcnn.weights.contents import map_file, releaser


def test_specs_know_their_sizes_or_say_they_do_not() -> None:
    spec = Spec((None, 4, 3))
    assert not spec.is_static
    assert str(spec) == "float32(?, 4, 3)"
    with pytest.raises(ShapeError, match="bind the batch"):
        _ = spec.sizes
    assert Spec((2, 4, 3), "uint8").nbytes == 24


def test_nodes_remember_layer_and_line() -> None:
    x = placeholder((2, 3))
    with scope("outer"), scope("inner"):
        y = ops.relu(x)
    assert y.node.layer == "outer/inner"
    assert y.name == "outer/inner/relu"
    assert y.node.source.startswith(__file__)


def test_nodes_and_ops_are_frozen() -> None:
    y = ops.relu(placeholder((2, 3)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        y.node.layer = "x"  # type: ignore[misc]
    for op in BY_NAME.values():
        assert dataclasses.is_dataclass(op), op.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            op.__new__(op).name = "x"  # type: ignore[misc]


def test_names_of_ops_are_unique_and_spelled_in_snake_case() -> None:
    names = [op.name for family in FAMILIES for op in family]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.isidentifier() for name in names)


def test_symbolic_tensors_are_not_numbers() -> None:
    x = placeholder((2, 3))
    for use in (np.asarray, bool, len, lambda t: [*t] if t else None):
        with pytest.raises(TypeError, match="symbolic"):
            use(x)
    assert (np.ones((2, 3), np.float32) + x).node.op.name == "add"


def test_topological_order_puts_inputs_first_and_visits_once() -> None:
    x = placeholder((2,))
    y = ops.relu(x)
    z = ops.add(y, ops.multiply(y, x))
    order = topological([z])
    position = {id(node): i for i, node in enumerate(order)}
    assert len(position) == len(order) == 4
    for node in order:
        assert all(position[id(t.node)] < position[id(node)] for t in node.inputs)


def test_deep_graphs_need_no_recursion() -> None:
    y = placeholder((1,))
    for _ in range(3000):
        y = ops.relu(y)
    assert len(topological([y])) == 3001


def test_parameters_are_written_in_place() -> None:
    p = Parameter("w", np.zeros(3, np.float32))
    address, version = p.value.ctypes.data, p.version
    p.assign([1, 2, 3])
    assert p.value.ctypes.data == address
    assert p.version == version + 1
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        p.assign([1, 2])
    np.testing.assert_array_equal(p.numpy(), [1, 2, 3])


def test_a_trace_reads_what_was_assigned_last() -> None:
    p = Parameter("w", np.zeros(3, np.float32))
    with tracing(Trace()) as trace:
        assert read(p) == p.tensor
        one = ops.add(read(p), 1.0)
        assign(p, one)
        assert read(p) == one
        assign(p, ops.add(read(p), 1.0))
        with pytest.raises(ShapeError, match="same shape"):
            assign(p, constant(np.zeros(4, np.float32)))
    assert [q for q, _ in trace.updates] == [p]
    assert trace.updates[0][1].node.inputs[0] == one


def test_a_batch_norm_used_twice_moves_its_statistics_twice() -> None:
    from fastcnn import Model

    x = Input((3,))
    norm = layers.BatchNormalization(momentum=0.5)
    model = Model(x, norm(norm(x) * 2.0))
    model.compile("sgd", "mse")
    data = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    model.train_on_batch(data, np.zeros_like(data))
    first, second = data.mean(0), np.zeros(3)
    expected = 0.5 * (0.5 * 0 + 0.5 * first) + 0.5 * second
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, atol=1e-5)


def test_errors_name_the_layer_on_the_users_line() -> None:
    x = Input((8, 8, 3))
    with pytest.raises(ShapeError, match="layer 'too_big'") as caught:
        layers.Conv2D(4, 9, name="too_big")(x)
    assert __file__ in [str(entry.path) for entry in caught.traceback]


def test_a_layer_without_an_input_says_so() -> None:
    with pytest.raises(ArgumentError, match="Input"):
        layers.Dense(3)(None)


def mapped(tmp_path: Any, value: Any) -> tuple[Any, Any]:
    """An array in a mapped file, and what gives its pages back."""
    path = tmp_path / "numbers"
    path.write_bytes(value.tobytes())
    array = np.frombuffer(memoryview(map_file(path)), value.dtype).reshape(value.shape)
    array.flags.writeable = False
    return array, releaser(array)


def test_a_parameter_adopts_the_memory_of_a_file(tmp_path: Any) -> None:
    numbers = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    array, release = mapped(tmp_path, numbers)
    p = Parameter("w", Pending(Spec((200, 200)), lambda: pytest.fail("drawn in vain")))
    before, version = Parameter.last_write, p.version
    p.adopt(array, release)
    assert p.adopted
    assert p.version == version + 1
    assert Parameter.last_write is not before
    address = p.value.ctypes.data
    assert address == array.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        p.value[0, 0] = 1.0
    p.release()
    np.testing.assert_array_equal(p.value, numbers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(p)).value, numbers)
    p.assign(numbers + 1)
    assert not p.adopted
    p.release()  # would lose what was assigned
    np.testing.assert_array_equal(p.value, numbers + 1)
    assert p.value.ctypes.data == address
    assert np.fromfile(tmp_path / "numbers", np.float32)[0] == 0.0, "the file was written to"


def test_what_cannot_be_adopted_is_copied(tmp_path: Any) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    array, release = mapped(tmp_path, numbers)
    double, _ = mapped(tmp_path, numbers.astype(np.float64))
    for given, how in ((array, None), (double, releaser(double)), (array.T, release)):
        p = Parameter("w", Pending(Spec(given.shape), lambda: pytest.fail("drawn in vain")))
        p.adopt(given, how)
        assert not p.adopted
        np.testing.assert_array_equal(p.value, given)
        p.value[...] = 0
    drawn = Parameter("w", np.zeros((2, 3), np.float32))
    address = drawn.value.ctypes.data
    drawn.adopt(array, release)
    assert drawn.value.ctypes.data == address, "plans may be bound to it"
    with pytest.raises(ShapeError, match="'w' has shape"):
        Parameter("w", Pending(Spec((3, 3)), lambda: np.zeros((3, 3)))).adopt(array, release)


def test_only_arrays_in_files_can_be_released() -> None:
    assert releaser(np.zeros(4)) is None
    assert releaser(np.frombuffer(b"12345678", np.float32)) is None
