# SPDX-License-Identifier: Apache-2.0
"""ONNX files as models: what they compute, names, training, what is refused."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from fastcnn.errors import (
    ArgumentError,
    FileError,
    MissingDependencyError,
    ShapeError,
    UnsupportedError,
)
from onnx_models import expected, helper, model, node, numpy_helper, onnx, randn, to_nhwc

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def agree(proto, *arrays, tolerance=2e-5, **options):
    """The loaded model computes what ONNX's own evaluator does, on images in its own layout."""
    loaded = fastcnn.onnx.load(proto, **options)
    names = [i.name for i in proto.graph.input]
    (wanted, *_) = expected(proto, **dict(zip(names, arrays, strict=True)))
    convert = to_nhwc if options.get("layout", "NHWC") == "NHWC" else np.asarray
    given = [np.ascontiguousarray(convert(a)) for a in arrays]
    found = loaded.predict_on_batch(given if len(given) > 1 else given[0])
    scale = max(np.abs(wanted).max(), 1.0)
    np.testing.assert_allclose(found, convert(wanted), rtol=0, atol=tolerance * scale)
    return loaded


def classifier(**options):
    """Convolution, batch norm, pool, flatten, dense: a network as exporters write it."""
    return model(
        [
            node("Conv", "x conv.weight conv.bias", "a", pads=[1, 1, 1, 1], name="/conv/Conv"),
            node("BatchNormalization", "a bn.weight bn.bias mean var", "b", name="/bn/BN"),
            node("Relu", "b", "c", name="/relu/Relu"),
            node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "d", "e"),
            node("Gemm", "e fc.weight fc.bias", "y", transB=1),
        ],
        {"x": ["N", 3, 8, 6]},
        constants={
            "conv.weight": randn(5, 3, 3, 3),
            "conv.bias": randn(5),
            "bn.weight": randn(5) + 2,
            "bn.bias": randn(5),
            "mean": randn(5),
            "var": randn(5) ** 2 + 0.5,
            "fc.weight": randn(4, 60),
            "fc.bias": randn(4),
        },
        **options,
    )


# --- what it computes ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_light_models_of_the_onnx_package(path):
    loaded = fastcnn.onnx.load(path)
    shape = tuple(d or 1 for d in loaded.inputs[0].shape)
    N, H, W, C = shape
    ramp = (np.arange(np.prod(shape)) / np.prod(shape)).astype(np.float32)
    image = ramp.reshape(N, C, H, W).transpose(0, 2, 3, 1)
    others = [np.zeros([d or 1 for d in t.shape], np.float32) for t in loaded.inputs[1:]]
    found = loaded.predict_on_batch([image, *others] if others else image)
    proto = onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb"))
    wanted = to_nhwc(numpy_helper.to_array(proto))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-7)


def test_there_are_nine_light_models():
    assert len(LIGHT) == 9


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_classifier(layout):
    loaded = agree(classifier(), randn(3, 3, 8, 6), layout=layout)
    assert loaded.inputs[0].shape == ((None, 8, 6, 3) if layout == "NHWC" else (None, 3, 8, 6))
    assert loaded.count_params() == 3 * 9 * 5 + 5 + 10 + 244


CONVOLUTIONS = {
    "strided": {"strides": [2, 1], "pads": [0, 1, 2, 0]},
    "dilated": {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "same-upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same-lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "valid": {"auto_pad": "VALID"},
}


@pytest.mark.parametrize("attributes", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("group", [1, 2, 4])
def test_convolutions(attributes, group):
    proto = model(
        [node("Conv", "x w b", "y", group=group, kernel_shape=[3, 3], **attributes)],
        {"x": [2, 4, 9, 8]},
        constants={"w": randn(8, 4 // group, 3, 3), "b": randn(8)},
    )
    loaded = agree(proto, randn(2, 4, 9, 8))
    kind = layers.DepthwiseConv2D if group == 4 else layers.Conv2D
    assert isinstance(loaded.layers[-1], kind)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"strides": [2, 2], "pads": [1, 0, 0, 2]},
        {"strides": [3, 2], "output_shape": [26, 17]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 1]},
    ],
    ids=str,
)
def test_transposed_convolutions(attributes):
    constants = {"w": randn(3, 4, 3, 3), "b": randn(4)}
    proto = model([node("ConvTranspose", "x w b", "y", **attributes)], {"x": [1, 3, 8, 8]},
                  constants=constants)  # fmt: skip
    agree(proto, randn(1, 3, 8, 8))


def test_grouped_transposed_convolution():
    """Each group as a transposed convolution of its own."""
    x, weights = randn(1, 4, 5, 5), randn(4, 3, 3, 3)
    grouped = model([node("ConvTranspose", "x w", "y", group=2)], {"x": [1, 4, 5, 5]},
                    constants={"w": weights})  # fmt: skip
    found = fastcnn.onnx.load(grouped).predict_on_batch(to_nhwc(x))
    for group in range(2):
        part = slice(2 * group, 2 * group + 2)
        alone = model([node("ConvTranspose", "x w", "y")], {"x": [1, 2, 5, 5]},
                      constants={"w": weights[part]})  # fmt: skip
        (wanted,) = expected(alone, x=x[:, part])
        channels = slice(3 * group, 3 * group + 3)
        np.testing.assert_allclose(found[..., channels], to_nhwc(wanted), atol=1e-4)


def test_convolution_over_rows():
    proto = model(
        [node("Conv", "x w b", "a", pads=[1, 1], group=2), node("MaxPool", "a", "y",
              kernel_shape=[2], strides=[2])],
        {"x": ["N", 4, 10]},
        constants={"w": randn(6, 2, 3), "b": randn(6)},
    )  # fmt: skip
    agree(proto, randn(2, 4, 10))


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pools(op_type, ceil_mode):
    pool = node(op_type, "x", "y", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1],
                ceil_mode=ceil_mode)  # fmt: skip
    agree(model([pool], {"x": [1, 3, 8, 8]}), randn(1, 3, 8, 8))


def test_scale_and_shift_join_the_batch_norm_before_them():
    """Caffe's Scale layer: a Mul and an Add per channel."""
    proto = model(
        [
            node("BatchNormalization", "x g b m v", "a"),
            node("Mul", "a s", "c"),
            node("Add", "c t", "y"),
        ],
        {"x": ["N", 3, 4, 4]},
        constants={
            **{"g": randn(3), "b": randn(3), "m": randn(3), "v": randn(3) ** 2 + 1},
            **{"s": randn(3, 1, 1), "t": randn(3, 1, 1)},
        },
    )
    loaded = agree(proto, randn(2, 3, 4, 4))
    assert [type(layer).__name__ for layer in loaded.layers] == ["InputLayer", "BatchNormalization"]


def test_what_joins_must_have_no_other_reader():
    proto = model(
        [
            node("BatchNormalization", "x g b m v", "a"),
            node("Mul", "a s", "c"),
            node("Add", "c a", "y"),
        ],
        {"x": ["N", 3, 4, 4]},
        constants={n: randn(3) ** 2 + 1 for n in "gbmv"} | {"s": randn(3, 1, 1)},
    )
    agree(proto, randn(2, 3, 4, 4))


def test_matrix_product_and_bias_are_one_layer():
    proto = model(
        [node("MatMul", "x w", "a"), node("Add", "b a", "y")],
        {"x": ["N", 5]},
        constants={"w": randn(5, 3), "b": randn(3)},
    )
    loaded = agree(proto, randn(4, 5))
    assert loaded.count_params() == 18


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 3), (4, 1, 1, 3), (2, 1, 1, 1, 1)], ids=str)
def test_constants_of_other_ranks(shape):
    nodes = [node("Conv", "x w", "a"), node("Mul", "a c", "b"), node("Reshape", "b all", "y")]
    constants = {"w": randn(4, 2, 1, 1), "c": np.float32(randn(*shape)), "all": np.array([-1])}
    agree(model(nodes, {"x": [1, 2, 5, 3]}, constants=constants), randn(1, 2, 5, 3))
    rows = model([node("Add", "x c", "y")], {"x": [3]}, constants={"c": constants["c"]})
    (found,) = fastcnn.onnx.backend.run_model(rows, [randn(3)])
    np.testing.assert_allclose(found, randn(3) + constants["c"], atol=1e-6)


def test_channel_shuffle_moves_once():
    """Reshape, Transpose, Reshape, as ShuffleNets are exported: no way back to (N, C, H, W)."""
    proto = model(
        [
            node("Reshape", "x split", "a"),
            node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "b join", "y"),
        ],
        {"x": ["N", 12, 4, 5]},
        constants={"split": np.array([0, 3, 4, 4, 5]), "join": np.array([0, 12, 4, 5])},
    )
    loaded = agree(proto, randn(2, 12, 4, 5))
    ops_drawn = [step.op.name for step in loaded.steps]
    assert ops_drawn == ["reshape", "transpose", "reshape"]


RESHAPES = {
    "channels-first-rows": ([0, 0, -1], (2, 6, 4, 5)),
    "merge-all": ([-1], (2, 6, 4, 5)),
    "batch-and-rest": ([2, -1], (2, 6, 4, 5)),
    "split-width": ([2, 6, 4, 1, 5], (2, 6, 4, 5)),
    "mix": ([2, 8, 15], (2, 6, 4, 5)),
}


@pytest.mark.parametrize(("target", "shape"), RESHAPES.values(), ids=RESHAPES)
def test_reshapes_of_images(target, shape):
    constants = {"target": np.array(target), "w": randn(6, 6, 1, 1)}
    nodes = [node("Conv", "x w", "a"), node("Reshape", "a target", "y")]
    agree(model(nodes, {"x": list(shape)}, constants=constants), randn(*shape))


def test_squeeze_transpose_concat_and_slice_of_images():
    proto = model(
        [
            node("Conv", "x w", "a"),
            node("Transpose", "a", "b", perm=[0, 2, 3, 1]),
            node("Transpose", "x", "c", perm=[0, 2, 3, 1]),
            node("Concat", "b c", "d", axis=-1),
            node("Slice", "d starts ends axes steps", "e"),
            node("ReduceMean", "e", "f", axes=[1], keepdims=1),
            node("Squeeze", "f one", "g"),
            node("Softmax", "g", "y", axis=1),
        ],
        {"x": ["N", 3, 4, 6]},
        constants={
            "w": randn(5, 3, 1, 1),
            "starts": np.array([-1, 1]),
            "ends": np.array([-100, 7]),
            "axes": np.array([2, 3]),
            "steps": np.array([-2, 1]),
            "one": np.array([1]),
        },
    )
    agree(proto, randn(2, 3, 4, 6))


def test_shapes_read_from_an_input_of_unknown_batch():
    """What PyTorch writes for x.view(x.size(0), -1): the batch stays open."""
    proto = model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 rest", "target", axis=0),
            node("Reshape", "x target", "a"),
            node("MatMul", "a w", "y"),
        ],
        {"x": ["N", 3, 4, 4]},
        constants={
            "zero": np.array(0),
            "axes": np.array([0]),
            "rest": np.array([-1]),
            "w": randn(48, 2),
        },
    )
    loaded = agree(proto, randn(2, 3, 4, 4))
    assert loaded.outputs[0].shape == (None, 2)
    assert loaded.predict_on_batch(to_nhwc(randn(5, 3, 4, 4))).shape == (5, 2)


def test_a_fixed_batch_is_opened_where_the_graph_allows_it():
    nodes = [node("Reshape", "x target", "a"), node("MatMul", "a w", "y")]
    constants = {"target": np.array([1, 48]), "w": randn(48, 2)}
    loaded = fastcnn.onnx.load(model(nodes, {"x": [1, 3, 4, 4]}, constants=constants))
    assert loaded.inputs[0].shape == (None, 4, 4, 3)
    x = randn(6, 3, 4, 4)
    np.testing.assert_allclose(
        loaded.predict_on_batch(to_nhwc(x)), x.reshape(6, 48) @ constants["w"], atol=1e-4
    )


def test_a_fixed_batch_stays_where_the_graph_counts_on_it():
    nodes = [node("Reshape", "x target", "y")]
    proto = model(nodes, {"x": [2, 6, 4, 4]}, constants={"target": np.array([6, 32])})
    loaded = agree(proto, randn(2, 6, 4, 4))
    assert loaded.inputs[0].shape == (2, 4, 4, 6)


def test_images_of_any_size():
    nodes = [
        node("Conv", "x w", "a", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("GlobalAveragePool", "a", "b"),
        node("Flatten", "b", "y"),
    ]
    proto = model(nodes, {"x": ["N", 3, "H", "W"]}, constants={"w": randn(4, 3, 3, 3)})
    for shape in ((1, 3, 7, 9), (2, 3, 12, 5)):
        loaded = agree(proto, randn(*shape))
    assert loaded.inputs[0].shape == (None, None, None, 3)


def test_old_forms_of_operators_mean_the_same():
    """Operator set 6: broadcasting by axis; 7: bounds, pads and axes as attributes."""
    old = model(
        [
            node("Pad", "x", "a", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5),
            node("Clip", "a", "b", min=-1.0, max=1.0),
            node("Add", "b c", "d", axis=1, broadcast=1),
            node("Dropout", "d", "e", is_test=1, ratio=0.3),
            node("Unsqueeze", "e", "f", axes=[0]),
            node("Squeeze", "f", "y", axes=[0]),
        ],
        {"x": [2, 3, 4, 4]},
        constants={"c": randn(3)},
        opset=6,
    )
    x = randn(2, 3, 4, 4)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
    wanted = np.clip(padded, -1, 1) + randn(3)[:, None, None]
    found = fastcnn.onnx.load(old).predict_on_batch(to_nhwc(x))
    np.testing.assert_allclose(found, to_nhwc(wanted), atol=1e-6)


@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 1.5, 2]], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resizing(mode, scales):
    nodes = [node("Resize", "x _ scales", "y", mode=mode)]
    constants = {"scales": np.array(scales, np.float32)}
    proto = model(nodes, {"x": ["N", 2, 4, 6]}, constants=constants)
    agree(proto, randn(2, 2, 4, 6))


def test_constants_computed_from_constants_are_folded():
    """Weight normalisation, exported as arithmetic on the weights."""
    proto = model(
        [
            node("ReduceL2", "v", "n", axes=[1], keepdims=1),
            node("Div", "v n", "u"),
            node("Mul", "u g", "w"),
            node("Gemm", "x w", "y", transB=1),
        ],
        {"x": ["N", 6]},
        constants={"v": randn(3, 6), "g": randn(3, 1)},
    )
    loaded = agree(proto, randn(4, 6))
    assert loaded.count_params() == 18


def test_half_precision_is_computed_in_single():
    constants = {"w": randn(6, 3).astype(np.float16)}
    proto = model([node("MatMul", "x w", "y")], {"x": ["N", 6]}, constants=constants)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x = randn(4, 6).astype(np.float16)
    found = fastcnn.onnx.load(proto).predict_on_batch(x)
    np.testing.assert_allclose(found, x.astype(np.float32) @ constants["w"], atol=1e-5)


def test_double_precision_runs_on_the_reference_backend(tmp_path):
    weights = np.random.default_rng(0).standard_normal((6, 3))
    proto = model([node("MatMul", "x w", "y")], {"x": ["N", 6]}, constants={"w": weights}, kind="d")
    loaded = fastcnn.onnx.load(proto)
    x = np.random.default_rng(1).standard_normal((4, 6))
    np.testing.assert_allclose(loaded.predict_on_batch(x), x @ weights, rtol=1e-13)
    loaded.save(tmp_path / "m.fastcnn")
    again = fastcnn.models.load_model(tmp_path / "m.fastcnn")
    np.testing.assert_array_equal(again.predict_on_batch(x), loaded.predict_on_batch(x))


# --- names, training, files ----------------------------------------------------------------------


def test_layers_are_called_as_in_the_file():
    loaded = fastcnn.onnx.load(classifier())
    assert [layer.name for layer in loaded.layers] == [
        *("x", "conv", "bn", "relu", "d", "flatten", "fc"),
    ]
    assert set(loaded.state_dict()) == {
        *("conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean"),
        *("bn.running_var", "fc.weight", "fc.bias"),
    }
    assert loaded.name == "net"
    assert fastcnn.onnx.load(classifier(), name="mine").name == "mine"


def test_weights_come_back_in_pytorchs_layout():
    """The rows of the dense layer behind a flatten are in (C, H, W) order in the file."""
    proto = classifier()
    found = fastcnn.onnx.load(proto).state_dict()
    for tensor in proto.graph.initializer:
        if tensor.name in found:
            np.testing.assert_array_equal(found[tensor.name], numpy_helper.to_array(tensor))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/a b/Conv", "a_b"),
        ("n12", "out"),
        ("", "out"),
        ("Conv_0", "Conv_0"),
    ],
)
def test_names_of_layers(name, wanted):
    nodes = [node("Conv", "x w", "out", name=name)]
    proto = model(nodes, {"x": [1, 2, 3, 3]}, ["out"], {"w": randn(2, 2, 1, 1)})
    assert fastcnn.onnx.load(proto).layers[1].name == wanted


def test_equal_names_are_told_apart():
    nodes = [node("Relu", "x", "a", name="r"), node("Relu", "a", "y", name="r")]
    loaded = fastcnn.onnx.load(model(nodes, {"x": [1, 2]}))
    assert [layer.name for layer in loaded.layers] == ["x", "r", "r_1"]


def test_fine_tuning(tmp_path):
    loaded = fastcnn.onnx.load(classifier())
    assert len(loaded.trainable_weights) == 6
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((16, 8, 6, 3)).astype(np.float32), rng.integers(0, 4, 16)
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    loaded.compile(fastcnn.optimizers.Adam(1e-2), loss)
    history = loaded.fit(x, labels, epochs=40, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0] / 4
    loaded.summary(print_fn=lambda line: None)
    loaded.save(tmp_path / "tuned.fastcnn")
    again = fastcnn.models.load_model(tmp_path / "tuned.fastcnn")
    np.testing.assert_array_equal(again.predict_on_batch(x), loaded.predict_on_batch(x))


def test_dropout_drops_in_training_only():
    nodes = [node("Dropout", "x ratio", "y")]
    proto = model(nodes, {"x": ["N", 50]}, constants={"ratio": np.float32(0.5)})
    loaded = fastcnn.onnx.load(proto)
    x = np.ones((4, 50), np.float32)
    np.testing.assert_array_equal(loaded.predict_on_batch(x), x)
    assert (loaded(x, training=True) == 0).any()


def test_files_bytes_and_external_data(tmp_path):
    proto = classifier()
    x = to_nhwc(randn(2, 3, 8, 6))
    wanted = fastcnn.onnx.load(proto).predict_on_batch(x)
    onnx.save_model(proto, tmp_path / "one.onnx")
    onnx.save_model(classifier(), tmp_path / "two.onnx", save_as_external_data=True,
                    location="weights.bin", size_threshold=0)  # fmt: skip
    for source in (tmp_path / "one.onnx", str(tmp_path / "two.onnx"), proto.SerializeToString()):
        np.testing.assert_array_equal(fastcnn.onnx.load(source).predict_on_batch(x), wanted)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(FileError, match=r"two\.onnx' cannot be read"):
        fastcnn.onnx.load(tmp_path / "two.onnx")


# --- what is refused -----------------------------------------------------------------------------


def test_all_that_is_missing_is_named_at_once():
    nodes = [
        node("LSTM", "x w r", "a", hidden_size=2, name="rnn"),
        node("Einsum", "a", "b", equation="ij", name="e1"),
        node("Einsum", "b", "c", equation="ij", name="e2"),
        node("Conv", "c w3", "d", name="volume"),
        node("Conv", "d w2", "e", shape_of_things=1, name="odd"),
        helper.make_node("Fancy", ["e"], ["y"], domain="com.example", name="own"),
    ]
    constants = {"w3": randn(2, 2, 3, 3, 3), "w2": randn(2, 2, 1, 1)}
    with pytest.raises(UnsupportedError) as caught:
        fastcnn.onnx.load(model(nodes, {"x": [1, 2, 3, 3]}, constants=constants))
    message = str(caught.value)
    for part in (
        "operator LSTM (1: rnn)",
        "operator Einsum (2: e1, e2)",
        "Conv with windows of 3 axes (1: volume)",
        "Conv with attribute shape_of_things (1: odd)",
        "operator com.example.Fancy (1: own)",
        "operator set 17",
    ):
        assert part in message


def test_dtypes_that_are_missing_are_named_with_the_operators():
    proto = model([node("Relu", "x", "y")], {"x": [2]})
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    with pytest.raises(UnsupportedError, match=r"dtype bfloat16 \(1: x\)"):
        fastcnn.onnx.load(proto)


def test_damaged_and_foreign_files(tmp_path):
    data = classifier().SerializeToString()
    damaged = {"cut": data[: len(data) // 2], "png": b"\x89PNG\r\n\x1a\n", "empty": b""}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError):
            fastcnn.onnx.load(tmp_path / name)
    with pytest.raises(FileError, match="there is no file"):
        fastcnn.onnx.load(tmp_path / "nothing.onnx")
    with pytest.raises(ArgumentError, match=r"expected a path, bytes or onnx\.ModelProto"):
        fastcnn.onnx.load(3)
    with pytest.raises(ArgumentError, match="layout"):
        fastcnn.onnx.load(data, layout="CHWN")


def test_nodes_out_of_order():
    proto = model([node("Relu", "a", "y"), node("Relu", "x", "a")], {"x": [2]})
    with pytest.raises(FileError, match=r"reads \['a'\], which nothing before it makes"):
        fastcnn.onnx.load(proto)


def test_inputs_without_rank():
    proto = model([node("Relu", "x", "y")], {"x": [2]})
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ShapeError, match="'x' of the ONNX model has no rank"):
        fastcnn.onnx.load(proto)


def test_shapes_computed_from_inputs():
    proto = model([node("Reshape", "x target", "y")], {"x": [2, 6]})
    info = helper.make_tensor_value_info("target", onnx.TensorProto.INT64, [2])
    proto.graph.input.append(info)
    with pytest.raises(ShapeError, match=r"'y' \(Reshape\): input 1 is computed from .*'target'"):
        fastcnn.onnx.load(proto)


def test_errors_name_the_node():
    nodes = [node("Conv", "x w", "y", name="first")]
    proto = model(nodes, {"x": ["N", 3, 8, 8]}, constants={"w": randn(4, 5, 3, 3)})
    with pytest.raises(ShapeError, match=r"ONNX node 'first' \(Conv\)"):
        fastcnn.onnx.load(proto)


def test_without_the_onnx_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[onnx\]"'):
        fastcnn.onnx.load("model.onnx")


def test_importing_is_lazy():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(dir(fastcnn.onnx)) == ["backend", "export", "load"]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        fastcnn.onnx.lode  # noqa: B018
