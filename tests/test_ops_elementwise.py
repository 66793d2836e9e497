# SPDX-License-Identifier: Apache-2.0
"""Elementwise operations and reductions as users call them: shapes, operators, dropout, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastcnn import ops
from fastcnn.autodiff import evaluate, gradient
from fastcnn.errors import ArgumentError, DtypeError, NotDifferentiableError, ShapeError
from fastcnn.graph import Parameter, Tensor, placeholder
from fastcnn.ops.elementwise_binary import broadcast_shapes
from fastcnn.ops.elementwise_dropout import philox4x32

Array = np.ndarray[Any, Any]
RNG = np.array([1, 2, 3, 4], np.uint32)


def values(*shape: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


def value_of(tensor: Tensor, feeds: dict[Tensor, Array]) -> Array:
    return evaluate([tensor], feeds)[0]


# --- broadcasting ------------------------------------------------------------------------------

PAIRS = {
    ops.add: np.add,
    ops.subtract: np.subtract,
    ops.multiply: np.multiply,
    ops.divide: np.divide,
    ops.maximum: np.maximum,
    ops.minimum: np.minimum,
    ops.equal: np.equal,
    ops.greater: np.greater,
    ops.greater_equal: np.greater_equal,
}
SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=6, max_side=5)


@settings(max_examples=60, deadline=None)
@given(shapes=SHAPES, which=st.sampled_from(list(PAIRS)))
def test_binary_operations_broadcast_like_numpy(shapes: Any, which: Any) -> None:
    a, b = (values(*shape) for shape in shapes.input_shapes)
    found = which(a, b)
    assert found.shape == shapes.result_shape
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, PAIRS[which](a, b).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=5, max_side=4))
def test_where_broadcasts_like_numpy(shapes: Any) -> None:
    mask, a, b = (values(*shape) for shape in shapes.input_shapes)
    np.testing.assert_array_equal(ops.where(mask, a, b), np.where(mask > 0, a, b))
    np.testing.assert_array_equal(ops.where(mask > 0, a, b), np.where(mask > 0, a, b))


@settings(max_examples=40, deadline=None)
@given(shapes=SHAPES)
def test_gradients_have_the_shapes_of_the_inputs(shapes: Any) -> None:
    a, b = (values(*shape, dtype="float64") for shape in shapes.input_shapes)
    da, db = gradient(ops.multiply, a, b)
    ones = np.ones(shapes.result_shape)
    assert (da.shape, db.shape) == (a.shape, b.shape)
    np.testing.assert_allclose(da.sum(), (ones * a * 0 + b).sum(), atol=1e-9)
    np.testing.assert_allclose(db.sum(), (ones * b * 0 + a).sum(), atol=1e-9)


def test_unknown_sizes_pass_through() -> None:
    x = placeholder((None, 4, 1))
    assert ops.add(x, values(4, 3)).shape == (None, 4, 3)
    assert ops.add(x, placeholder((7, 4, 1))).shape == (7, 4, 1)
    assert ops.relu(x).shape == (None, 4, 1)
    assert ops.mean(x, axis=(1, 2)).shape == (None,)
    assert broadcast_shapes((None, 1), (1, None)) == (None, None)


def test_maximum_gives_the_gradient_of_a_tie_to_the_first() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    for function, expected in ((ops.maximum, [1, 0, 1]), (ops.minimum, [1, 1, 0])):
        da, db = gradient(function, a, b)
        np.testing.assert_array_equal(da, expected)
        np.testing.assert_array_equal(db, 1 - np.array(expected))


# --- reductions --------------------------------------------------------------------------------

REDUCTIONS = {ops.sum: np.sum, ops.mean: np.mean, ops.max: np.max, ops.min: np.min}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), which=st.sampled_from(list(REDUCTIONS)), keepdims=st.booleans())
def test_reductions_agree_with_numpy(data: Any, which: Any, keepdims: bool) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=6, max_side=5))
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape)))
    x = values(*shape)
    found = which(x, axis=axes, keepdims=keepdims)
    wanted = REDUCTIONS[which](x.astype(np.float64), axis=axes, keepdims=keepdims)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4_000_000,), (500_000, 8), (8, 500_000)])
def test_long_sums_of_float32_stay_accurate(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, np.float32)
    for axis in range(len(shape)):
        wanted = x.sum(axis, dtype=np.float64)
        assert np.max(np.abs(ops.sum(x, axis) / wanted - 1)) < 5e-7
        np.testing.assert_allclose(ops.mean(x, axis), wanted / shape[axis], rtol=5e-7)


def test_an_integer_axis_is_an_axis() -> None:
    x = values(3, 4, 5)
    np.testing.assert_array_equal(ops.max(x, -1), x.max(-1))
    np.testing.assert_array_equal(ops.max(x, np.int64(1)), x.max(1))
    np.testing.assert_array_equal(ops.argmax(x, 1), x.argmax(1))
    assert ops.argmax(x).dtype == np.int32


def test_max_gives_its_gradient_to_the_first_in_row_order() -> None:
    x = np.array([[1.0, 5.0, 5.0], [5.0, 0.0, 2.0]])
    (rows,) = gradient(lambda t: ops.max(t, 1), x)
    (all_of_it,) = gradient(ops.max, x)
    np.testing.assert_array_equal(rows, [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(all_of_it, [[0, 1, 0], [0, 0, 0]])


def test_sums_of_nothing_are_zero_and_extrema_are_refused() -> None:
    empty = np.zeros((0, 3), np.float32)
    np.testing.assert_array_equal(ops.sum(empty, 0), np.zeros(3))
    assert ops.add(empty, 1.0).shape == (0, 3)
    with pytest.raises(ShapeError, match="no elements along axis 0"):
        ops.max(empty, 0)


# --- operators ---------------------------------------------------------------------------------


def formula(x: Any, y: Any) -> Any:
    return 1 - (2 * x + y / 2 - x * y) / (3 / y + 1.5) + (-x) ** 2 - abs(y) + 2.0**x


def test_operators_of_tensors_compute_what_python_does() -> None:
    a, b = values(3, 4, dtype="float64"), values(4, dtype="float64")
    x, y = placeholder(a.shape, "float64"), placeholder(b.shape, "float64")
    np.testing.assert_allclose(value_of(formula(x, y), {x: a, y: b}), formula(a, b), rtol=1e-12)


def test_operators_of_parameters_and_arrays() -> None:
    a = values(3, 4)
    weight = Parameter("weight", values(4))
    x = placeholder(a.shape)
    for symbolic, wanted in [
        (weight * x, weight.value * a),
        (x - weight, a - weight.value),
        (a + x, a + a),
        (a / weight, a / weight.value),
    ]:
        assert isinstance(symbolic, Tensor)
        np.testing.assert_allclose(value_of(symbolic, {x: a}), wanted, rtol=1e-6)


def test_numbers_take_the_type_of_the_tensor() -> None:
    for dtype in ("float32", "float64"):
        x = placeholder((2,), dtype)
        assert (x + 1).dtype == (2 * x).dtype == (x / np.float64(3)).dtype == dtype


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 3, 2.5, 70])
def test_power_of_a_number(exponent: float) -> None:
    x = np.array([0.5, 1.0, 1.7], np.float32)
    np.testing.assert_allclose(ops.power(x, exponent), x.astype(float) ** exponent, rtol=1e-5)


def test_rounding_and_the_error_function() -> None:
    x = np.array([-2.5, -1.5, -0.25, 0.0, 0.5, 1.5, 2.0, 1e9], np.float32)
    for function in (np.floor, np.ceil):
        np.testing.assert_array_equal(getattr(ops, function.__name__)(x), function(x))
    np.testing.assert_array_equal(ops.round(x), np.rint(x))
    np.testing.assert_allclose(ops.erf(x), [math.erf(v) for v in x], rtol=1e-6)


def test_power_of_a_tensor_says_what_to_write() -> None:
    with pytest.raises(ArgumentError, match=r"ops\.exp\(exponent"):
        ops.power(values(2), placeholder((2,)))


# --- activations -------------------------------------------------------------------------------


def test_relu_in_the_general_form_of_keras() -> None:
    x = np.array([-2, -1, 0, 1, 2, 5, 7], np.float32)
    np.testing.assert_allclose(ops.relu(x), [0, 0, 0, 1, 2, 5, 7])
    np.testing.assert_allclose(ops.relu(x, max_value=6), [0, 0, 0, 1, 2, 5, 6])
    np.testing.assert_allclose(ops.relu(x, negative_slope=0.1), [-0.2, -0.1, 0, 1, 2, 5, 7])
    general = ops.relu(x, negative_slope=0.5, max_value=6, threshold=1)
    np.testing.assert_allclose(general, [-1.5, -1, -0.5, 1, 2, 5, 6])
    (slope,) = gradient(ops.relu, np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(slope, [0, 0, 1])


def test_known_values_of_activations() -> None:
    """Values by the formulas in double precision, to seven digits."""
    one, minus = np.float32(1), np.float32(-1)
    for function, at_one, at_minus_one in [
        (ops.elu, 1.0, -0.6321206),
        (ops.selu, 1.0507010, -1.1113307),
        (ops.sigmoid, 0.7310586, 0.2689414),
        (ops.hard_sigmoid, 2 / 3, 1 / 3),
        (ops.scaled_tanh, 1.7159 * math.tanh(2 / 3), -1.7159 * math.tanh(2 / 3)),
        (ops.softplus, 1.3132617, 0.3132617),
        (ops.softsign, 0.5, -0.5),
        (ops.silu, 0.7310586, -0.2689414),
        (ops.hard_swish, 2 / 3, -1 / 3),
        (ops.mish, 0.8650984, -0.3034015),
        (ops.gelu, 0.8411920, -0.1588080),
        (lambda x: ops.gelu(x, approximate=False), 0.8413447, -0.1586553),
        (ops.leaky_relu, 1.0, -0.2),
    ]:
        assert float(function(one)) == pytest.approx(at_one, abs=2e-7)
        assert float(function(minus)) == pytest.approx(at_minus_one, abs=2e-7)


def test_prelu_takes_alpha_per_channel_or_per_position() -> None:
    x = values(2, 3, 4, 5)
    for shape in ((5,), (1, 1, 5), (3, 4, 5)):
        alpha = values(*shape)
        np.testing.assert_allclose(ops.prelu(x, alpha), np.where(x > 0, x, alpha * x), rtol=1e-6)
    with pytest.raises(ShapeError, match="alpha of shape"):
        ops.prelu(x[0], values(2, 3, 4, 5))


# --- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint32", "int64", "bool"])
def test_cast_makes_floats_of_integers(dtype: str) -> None:
    x = np.arange(60).reshape(4, 15).astype(dtype)
    for target in ("float32", "float64"):
        found = ops.cast(x, target)
        assert found.dtype == target
        np.testing.assert_array_equal(found, x.astype(target))


def test_cast_between_floats() -> None:
    x = values(3, dtype="float64")
    np.testing.assert_array_equal(ops.cast(x, "float32"), x.astype("float32"))
    assert ops.cast(x, "float64") is x


def test_one_hot_rows() -> None:
    found = ops.one_hot([2, 0, -1, 3], 3)
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert ops.one_hot(np.zeros((2, 3), np.int64), 5, "float64").shape == (2, 3, 5)


# --- dropout -----------------------------------------------------------------------------------


def test_philox_gives_the_words_of_its_paper() -> None:
    """Known answers of the authors' Random123: zeros, ones, and the digits of pi."""
    for counter, key, words in [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ]:
        assert philox4x32(np.array([counter], np.uint32), key)[0].tolist() == words


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_and_the_mean(rate: float) -> None:
    y = ops.dropout(np.ones(200_000, np.float32), RNG, rate)
    assert set(np.unique(y)) == {0.0, np.float32(1 / (1 - rate))}
    deviation = math.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 5 * deviation


def test_dropout_repeats_and_depends_on_seed_step_and_salt() -> None:
    x = np.ones(4096, np.float32)
    first = ops.dropout(x, RNG, 0.5, salt=1)
    np.testing.assert_array_equal(first, ops.dropout(x, RNG, 0.5, salt=1))
    others = [ops.dropout(x, RNG, 0.5, salt=2)]
    for word in range(4):
        changed = RNG.copy()
        changed[word] += 1
        others.append(ops.dropout(x, changed, 0.5, salt=1))
    for other in others:
        assert 0.4 < (first == other).mean() < 0.6


def test_dropout_of_both_types_drops_the_same_elements() -> None:
    x = values(33, 65)
    single, double = (ops.dropout(x.astype(t), RNG, 0.3) for t in ("float32", "float64"))
    np.testing.assert_array_equal(single == 0, double == 0)


def test_spatial_dropout_drops_whole_maps() -> None:
    x = np.ones((64, 3, 5, 32), np.float32)
    y = ops.dropout(x, RNG, 0.5, noise_shape=(None, 1, 1, 32))
    maps = y.reshape(64, 15, 32)
    assert (maps == maps[:, :1]).all()
    assert 0.4 < (maps[:, 0] == 0).mean() < 0.6


def test_dropout_passes_gradient_to_what_it_kept() -> None:
    x = values(50, dtype="float64")
    (dx,) = gradient(lambda t: ops.dropout(t, RNG, 0.4), x)
    np.testing.assert_allclose(dx, ops.dropout(np.ones(50), RNG, 0.4))


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.add(values(2, 3), values(4, 3)), ShapeError, r"\(2, 3\) and \(4, 3\)"),
        (lambda: ops.add(values(3), np.arange(3)), DtypeError, "int64 for input 1.*astype"),
        (lambda: ops.relu(np.arange(3)), DtypeError, "int64 for input 0.*astype"),
        (lambda: ops.add(values(3), values(3, dtype="float64")), DtypeError, "one float type"),
        (lambda: ops.exp(np.array(["a"], object)), DtypeError, "object"),
        (lambda: ops.sum(values(2, 3), 2), ShapeError, "axis 2 does not exist.*-2 to 1"),
        (lambda: ops.sum(values(2, 3), (0, -2)), ShapeError, "twice"),
        (lambda: ops.argmax(values(2, 3), 5), ShapeError, "axis 5 does not exist"),
        (lambda: ops.clip(values(3), 2, 1), ArgumentError, "x_min=2 is above x_max=1"),
        (lambda: ops.leaky_relu(values(3), -1), ArgumentError, "negative_slope=-1"),
        (lambda: ops.elu(values(3), alpha=-1), ArgumentError, "alpha=-1"),
        (lambda: ops.relu(values(3), max_value=-1), ArgumentError, "max_value=-1"),
        (lambda: ops.cast(values(3), "int32"), DtypeError, "expected float32 or float64"),
        (lambda: ops.cast(np.array(["a"], object), "float32"), DtypeError, "object"),
        (lambda: ops.one_hot(values(3), 4), DtypeError, "labels of float32"),
        (lambda: ops.one_hot([1], 0), ArgumentError, "num_classes=0"),
        (lambda: ops.dropout(values(3), RNG, 1.5), ArgumentError, "rate=1.5"),
        (lambda: ops.dropout(values(3), RNG, 0.5, salt=-1), ArgumentError, "salt=-1"),
        (lambda: ops.dropout(values(3), RNG[:2], 0.5), ShapeError, r"expected \(4,\)"),
        (lambda: ops.dropout(values(3), values(4), 0.5), DtypeError, "expected uint32"),
        (lambda: ops.dropout(values(3, 2), RNG, 0.5, noise_shape=(2, 1)), ShapeError, "noise_sh"),
        (lambda: ops.dropout(values(3, 2), RNG, 0.5, noise_shape=(3,)), ShapeError, "noise_sh"),
    ],
)
def test_errors_say_found_and_expected(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_comparisons_and_signs_are_not_differentiable() -> None:
    rounding = (ops.floor, ops.ceil, ops.round)
    for function in (
        ops.sign,
        *rounding,
        lambda t: ops.greater(t, 0.0),
        lambda t: ops.equal(t, 0.0),
    ):
        with pytest.raises(NotDifferentiableError, match="has no gradient"):
            gradient(function, values(3, dtype="float64"))
