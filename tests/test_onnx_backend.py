# SPDX-License-Identifier: Apache-2.0
"""The standard ONNX backend: ONNX's node tests against the published table, and the interface."""

import unittest
import warnings

import numpy as np
import pytest

import onnx_scores
from fastcnn.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from fastcnn.onnx import backend
from fastcnn.onnx.operators import FAMILIES
from onnx_models import expected, helper, model, node, onnx, randn

DOCUMENT = onnx_scores.DOCUMENT.read_text()


@pytest.fixture(scope="module")
def found():
    return list(onnx_scores.scores())


# --- the node tests ------------------------------------------------------------------------------


def test_published_tests_pass(found):
    """Of the tests that both the published and the installed onnx have, the listed ones pass."""
    _, listed = onnx_scores.published(DOCUMENT)
    failing = [s.test for s in found if s.reason and s.test in listed]
    assert not failing
    assert len(listed) >= 400


def test_published_table_is_todays(found):
    """With the onnx that the table was made with, nothing has changed: also no new test passes."""
    version, listed = onnx_scores.published(DOCUMENT)
    passing = {s.test for s in found if not s.reason}
    if onnx.__version__ == version:
        assert onnx_scores.document(found, version) in DOCUMENT, "run tests/onnx_scores.py --write"
    assert passing & listed


def test_whatever_does_not_pass_has_its_reason(found):
    assert not [(s.test, s.reason) for s in found if s.reason.startswith("FAILS")]


KERNELS = {
    "test_basic_conv_with_padding": "f32_conv2d",
    "test_convtranspose": "f32_conv2d_grad_input",
    "test_maxpool_2d_default": "f32_max_pool2d",
    "test_averagepool_2d_default": "f32_avg_pool2d",
    "test_relu": "f32_relu",
    "test_gemm_default_matrix_bias": "f32_matmul",
    "test_batchnorm_epsilon": "f32_batch_norm_inference",
    "test_softmax_axis_1": "f32_softmax",
    "test_add_bcast": "f32_add",
    "test_instancenorm_example": "f32_group_norm",
    "test_reduce_sum_keepdims_random": "f32_reduce_sum",
    "test_lrn": "f32_local_response_norm",
    "test_sce_mean": "f32_log_softmax",
}


def test_networks_run_on_the_engine(found):
    kernels = {s.test: s.kernels for s in found}
    for test, kernel in KERNELS.items():
        assert any(k.startswith(kernel) for k in kernels[test]), (test, kernels[test])
    on_the_engine = [s for s in found if not s.reason and s.kernels]
    assert len(on_the_engine) >= 400


def test_every_operator_is_documented():
    for family, operators in FAMILIES.items():
        assert f"| {family} | {', '.join(sorted(operators))} |" in DOCUMENT


# --- the interface -------------------------------------------------------------------------------


def test_onnx_runs_its_own_tests_on_the_class():
    """BackendTest, as other engines use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx.backend.test

        runner = onnx.backend.test.BackendTest(backend.FastcnnBackend, __name__)
    runner.include("test_(relu|conv_with_strides_padding|globalaveragepool|sce_none)_c")
    result = unittest.TestResult()
    runner.test_suite.run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    assert result.testsRun - len(result.skipped) == 4
    assert issubclass(backend.FastcnnBackend, onnx.backend.base.Backend)


def convolution():
    nodes = [node("Conv", "x w", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "y")]
    return model(nodes, {"x": ["N", 3, "H", "W"]}, constants={"w": randn(4, 3, 3, 3)})


def test_layouts_are_those_of_onnx():
    rep = backend.prepare(convolution())
    for shape in ((2, 3, 6, 5), (1, 3, 4, 4)):
        x = randn(*shape)
        (y,) = rep.run([x])
        np.testing.assert_allclose(y, expected(convolution(), x=x)[0], atol=1e-5)
    assert any("conv2d" in k for k in rep.kernels)
    np.testing.assert_array_equal(rep.run({"x": x})[0], y)
    np.testing.assert_array_equal(backend.run_model(convolution(), [x])[0], y)
    np.testing.assert_array_equal(
        backend.FastcnnBackend.run_model(convolution().SerializeToString(), x)[0], y
    )


def test_parameters_from_inputs_compile_by_value():
    proto = model([node("Reshape", "x s", "y")], {"x": [2, 6]})
    proto.graph.input.append(helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [2]))
    rep = backend.prepare(proto)
    x = randn(2, 6)
    for shape in ([3, 4], [4, 3], [12, 1], [3, 4]):
        (y,) = rep.run([x, np.array(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))


def test_single_nodes():
    x = randn(1, 2, 5, 5)
    (y,) = backend.run_node(node("MaxPool", "x", "y", kernel_shape=[2, 2]), [x])
    assert y.shape == (1, 2, 4, 4)
    a, b = np.arange(6).reshape(2, 3), np.array([[1], [2]])
    (y,) = backend.run_node(node("Add", "a b", "y"), [a, b])
    np.testing.assert_array_equal(y, a + b)
    assert y.dtype == np.int64
    (y,) = backend.run_node(node("Clip", "x", "y", min=-0.5, max=0.5), [x], opset_version=6)
    np.testing.assert_array_equal(y, np.clip(x, -0.5, 0.5))
    (y,) = backend.run_node(
        node("Not", "x", "y"), [np.array([True, False])], outputs_info=[(np.bool_, (2,))]
    )
    np.testing.assert_array_equal(y, [False, True])


def test_large_integers_are_not_rounded():
    """They pass through int32 in the engine only where they fit."""
    big = np.array([[2**40, 1], [3, -(2**50)]])
    (y,) = backend.run_node(node("Transpose", "x", "y", perm=[1, 0]), [big])
    np.testing.assert_array_equal(y, big.T)


def test_double_precision_is_exact():
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5))
    w = np.random.default_rng(1).standard_normal((3, 2, 3, 3))
    proto = model([node("Conv", "x w", "y")], {"x": [1, 2, 5, 5]}, constants={"w": w}, kind="d")
    (y,) = backend.run_model(proto, [x])
    np.testing.assert_allclose(y, expected(proto, x=x)[0], rtol=1e-12)


def test_positions_of_maxima_go_back_where_they_came_from():
    nodes = [
        node("MaxPool", "x", "a i", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxUnpool", "a i", "y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    proto = model(nodes, {"x": [2, 3, 4, 6]})
    x = randn(2, 3, 4, 6)
    (y,) = backend.run_model(proto, [x])
    blocks = x.reshape(2, 3, 2, 2, 3, 2)
    best = blocks == blocks.max((3, 5), keepdims=True)
    np.testing.assert_array_equal(y, np.where(best, blocks, 0).reshape(x.shape))


def test_devices():
    assert backend.supports_device("CPU")
    assert backend.supports_device("CPU:0")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ArgumentError, match="found device='CUDA:1', expected 'CPU'"):
        backend.prepare(convolution(), "CUDA:1")


def test_what_cannot_run():
    unknown = model([node("LSTM", "x w r", "y")], {"x": [1], "w": [1], "r": [1]})
    assert not backend.is_compatible(unknown)
    assert backend.is_compatible(convolution())
    with pytest.raises(UnsupportedError, match="operator LSTM"):
        backend.prepare(unknown)
    rep = backend.prepare(convolution())
    with pytest.raises(ShapeError, match=r"shape \(1, 4, 5, 5\), expected \(None, 3, None, None\)"):
        rep.run([randn(1, 4, 5, 5)])
    with pytest.raises(DtypeError, match="dtype float64, expected float32"):
        rep.run([randn(1, 3, 5, 5).astype(np.float64)])
    with pytest.raises(ArgumentError, match=r"takes the inputs \['x'\], found 2"):
        rep.run([1, 2])
    with pytest.raises(ArgumentError, match="found 1 inputs, expected 2"):
        backend.run_node(node("Add", "a b", "y"), [randn(2)])
    with pytest.raises(UnsupportedError, match="with floats only"):
        backend.run_node(node("Relu", "x", "y"), [np.array([1, 2])])
