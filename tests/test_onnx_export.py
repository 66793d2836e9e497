# SPDX-License-Identifier: Apache-2.0
"""Models as ONNX files: layers, networks, names, layouts, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import fastcnn
from fastcnn import Input, Model, Sequential, applications, layers, ops
from fastcnn.errors import (
    ArgumentError,
    FileError,
    MissingDependencyError,
    ShapeError,
    UnsupportedError,
)
from fastcnn.graph import topological
from fastcnn.layers import Layer
from fastcnn.onnx import exporter
from fastcnn.ops._apply import apply
from fastcnn.ops.norm_group import GroupNorm, LayerNorm
from fastcnn.ops.pool_adaptive import AdaptiveMaxPool2D
from fastcnn.ops.pool_max import MaxPool2D
from onnx_runs import NEWEST, OPSETS, Array, agree, exported, kinds, randomized, run, same
from test_layers import ROWS

IMAGE = (7, 6, 4)
# The battery of all layers, and what is a case of its own in ONNX.
LAYERS: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    **{name: (row.make, row.sample) for name, row in ROWS.items()},
    "adaptive-sliding": (lambda: layers.AdaptiveAveragePooling2D((6, 3)), IMAGE),
    "adaptive-global": (lambda: layers.AdaptiveMaxPooling2D(1), IMAGE),
    "avg-pool-counts": (
        lambda: layers.AveragePooling2D(3, 2, 1, ceil_mode=True, count_include_pad=True),
        IMAGE,
    ),
    "batch-norm-flat": (lambda: layers.BatchNormalization(), (5,)),
    "dense-maps": (lambda: layers.Dense(3), IMAGE),
    "flatten-maps": (lambda: layers.Flatten(), IMAGE),
    "layer-norm-channels": (lambda: layers.LayerNormalization(), IMAGE),
    "layer-norm-maps": (lambda: layers.LayerNormalization(axis=(1, 2, 3)), IMAGE),
    "lrn-even": (lambda: layers.LocalResponseNormalization(4, 0.3), IMAGE),
    "max-pool-indices": (lambda: layers.MaxPooling2D(2, return_indices=True), IMAGE),
    "permute-maps": (lambda: layers.Permute((3, 1, 2)), IMAGE),
    "prelu-maps": (lambda: layers.PReLU(), IMAGE),
    "relu-pieces": (lambda: layers.ReLU(4.0, 0.1, 0.5), IMAGE),
    "reshape-maps": (lambda: layers.Reshape((14, -1)), IMAGE),
    "softmax-maps": (lambda: layers.Softmax(), IMAGE),
    "transpose-valid": (lambda: layers.Conv2DTranspose(3, 2, 3), IMAGE),
}
# Right in ONNX Runtime, wrong in ONNX's reference evaluator.
NOT_IN_REFERENCE = {"lrn", "max-pool-indices"}

# Networks of `fastcnn.applications`, at sizes that are quick to run.
NETWORKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("LeNet5", {}),
    ("LectureC", {}),
    ("ResNet20", {}),
    ("AlexNet", {"input_shape": (64, 64, 3), "include_top": False}),
    ("VGG11", {"input_shape": (32, 32, 3), "include_top": False}),
    ("GoogLeNet", {"input_shape": (64, 64, 3)}),
    ("ResNet18", {"input_shape": (64, 64, 3)}),
    ("ResNet50", {"input_shape": (32, 32, 3)}),
    ("DenseNet121", {"input_shape": (32, 32, 3)}),
    ("MobileNetV2", {"input_shape": (32, 32, 3)}),
    ("ShuffleNetV2", {"input_shape": (32, 32, 3)}),
    ("SEResNet50", {"input_shape": (32, 32, 3)}),
)


def random(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def model_of(layer: Layer, shape: tuple[int | None, ...], **arguments: Any) -> Any:
    x = Input(shape, name="x", **arguments)
    return randomized(Model(x, layer(x)))


def weights_in(proto: Any) -> dict[str, Array]:
    return {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}


# --- layers and networks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    make, shape = LAYERS[name]
    model, x = model_of(make(), shape), random(2, *shape)
    proto = agree(model, x, reference=name not in NOT_IN_REFERENCE)
    # What MaxPool counts through the whole tensor is no input of arithmetic to `load`.
    if name != "max-pool-indices":
        same(fastcnn.onnx.load(proto).predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.parametrize("opset", [o for o in OPSETS if o != 17])
def test_layers_of_other_opsets(opset: int) -> None:
    for make, shape in LAYERS.values():
        agree(model_of(make(), shape), random(2, *shape), reference=False, opset=opset)


@pytest.mark.parametrize(
    "layer", ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]
)
def test_merges(layer: str) -> None:
    a, b = Input(IMAGE, name="a"), Input(IMAGE, name="b")
    proto = agree(Model([a, b], getattr(layers, layer)()([a, b])), *random(2, 2, *IMAGE))
    assert [i.name for i in proto.graph.input] == ["a", "b"]
    assert "Transpose" not in kinds(proto)


@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_networks(name: str, arguments: dict[str, Any]) -> None:
    model = randomized(getattr(applications, name)(classifier_activation=None, **arguments))
    sizes = [d or 3 for d in model.inputs[0].shape]
    x = random(*sizes)
    proto = agree(model, x, reference=False, tolerance=1e-4)
    # Nothing is turned round but where channels are shuffled.
    ops_used = [node.op.name for node in topological(model.outputs)]
    assert kinds(proto).count("Transpose") == ops_used.count("channel_shuffle")
    found, expected = weights_in(proto), model.state_dict()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array)
    again = fastcnn.onnx.load(proto)
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
    weights = again.state_dict()
    assert weights.keys() == expected.keys()
    assert again.count_params() == model.count_params()


def test_batch_norms_stay_and_biases_are_joined() -> None:
    proto = exported(applications.ResNet20())
    count = kinds(proto).count
    assert (count("Conv"), count("BatchNormalization"), count("Gemm")) == (19, 19, 1)
    names = [node.name for node in proto.graph.node]
    assert names[:3] == ["conv1/Conv", "bn1/BatchNormalization", "bn1.act/Relu"]
    assert [o.name for o in proto.graph.output] == ["fc"]


# --- maps that are flattened ---------------------------------------------------------------------


def test_a_dense_layer_behind_flattened_maps_takes_them_as_they_lie() -> None:
    x = Input(IMAGE, name="x")
    y = layers.Flatten()(layers.Conv2D(3, 2)(x))
    y = layers.BatchNormalization()(layers.ReLU()(y) * 2.0)
    proto = agree(randomized(Model(x, layers.Dense(5)(y))), random(2, *IMAGE))
    assert "Transpose" not in kinds(proto)


def test_flattened_maps_that_others_read_are_put_in_order() -> None:
    x = Input(IMAGE, name="x")
    flat = layers.Flatten()(layers.Conv2D(3, 2)(x))
    first = layers.Dense(5, name="dense")(flat)
    joined = layers.Concatenate()([flat, first])
    proto = agree(randomized(Model(x, [flat, joined, first])), random(2, *IMAGE))
    assert kinds(proto).count("Transpose") == 1


def test_a_weight_read_in_two_layouts_is_written_twice() -> None:
    x = Input(IMAGE, name="x")
    shared = layers.Dense(7 * 6 * 4, use_bias=False, name="shared")
    y = shared(layers.Flatten()(x))
    proto = agree(randomized(Model(x, shared(y))), random(2, *IMAGE))
    assert sorted(weights_in(proto)) == ["shared.weight", "shared.weight_1"]


# --- kinds of models, inputs and outputs ---------------------------------------------------------


class Halves(Model):
    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2D(4, 3, name="conv")

    def call(self, x: Any, training: bool = False) -> Any:
        a, b = ops.split(self.conv(x), 2, axis=-1)
        return [ops.relu(a), ops.sigmoid(b)]


def test_a_derived_model_needs_the_shape() -> None:
    model = Halves()
    with pytest.raises(ArgumentError, match="give input_shape"):
        exported(model)
    x = random(2, 5, 5, 3)
    proto = exported(model, input_shape=(None, 5, 5, 3))
    assert [i.name for i in proto.graph.input] == ["input"]
    assert [o.name for o in proto.graph.output] == ["output_0", "output_1"]
    for found, expected in zip(
        run(proto, [x.transpose(0, 3, 1, 2)]), model.predict_on_batch(x), strict=True
    ):
        same(found, expected.transpose(0, 3, 1, 2))


def test_nested_and_sequential_models() -> None:
    inner = Sequential([layers.Conv2D(3, 2, name="conv"), layers.ReLU(name="relu")], name="inner")
    model = Sequential([Input(IMAGE, name="x"), inner, layers.Flatten(), layers.Dense(2)])
    proto = agree(randomized(model), random(2, *IMAGE))
    assert [node.name for node in proto.graph.node][:2] == ["inner/conv/Conv", "inner/relu/Relu"]
    assert set(weights_in(proto)) == set(model.state_dict())


def test_a_model_without_an_input_is_built() -> None:
    model = Sequential([layers.Conv2D(3, 2, name="conv"), layers.ReLU()])
    proto = exported(model, input_shape=(None, *IMAGE))
    x = random(2, *IMAGE)
    same(run(proto, [x.transpose(0, 3, 1, 2)])[0], model.predict(x).transpose(0, 3, 1, 2))


def test_outputs_that_are_inputs_weights_or_each_other() -> None:
    x = Input((3,), name="x")
    y = layers.ReLU(name="relu")(x)
    fixed = ops.add(layers.Dense(2, name="dense")(x), np.zeros(2, np.float32))
    proto = agree(Model(x, [x, y, y, fixed]), random(2, 3))
    assert [o.name for o in proto.graph.output][1:3] == ["relu", "relu_1"]


def test_layout_of_inputs_and_outputs() -> None:
    x = Input(IMAGE, name="x")
    model = randomized(Model(x, layers.Conv2D(3, 2)(layers.Conv2D(3, 2)(x))))
    for layout, turns in (("NCHW", 0), ("NHWC", 2)):
        proto = agree(model, random(2, *IMAGE), layout=layout)
        assert kinds(proto).count("Transpose") == turns


def test_integers_and_float64() -> None:
    model = model_of(layers.Rescaling(1 / 255), IMAGE, dtype="uint8")
    agree(model, np.random.default_rng(0).integers(0, 255, (2, *IMAGE)).astype(np.uint8))
    x = Input(IMAGE, dtype="float64", name="x")
    y = layers.Conv2D(3, 2, dtype="float64", name="conv")(x)
    y = layers.BatchNormalization(dtype="float64")(y)
    y = layers.Dense(2, dtype="float64", name="fc")(layers.GlobalAveragePooling2D()(y))
    model = randomized(Model(x, ops.softmax(y)))
    model.compile(backend="reference")
    proto = exported(model)
    assert {a.dtype.name for a in weights_in(proto).values()} == {"float64"}
    image = random(2, *IMAGE).astype(np.float64)
    found = run(proto, [image.transpose(0, 3, 1, 2)], "reference")[0]
    same(found, model.predict_on_batch(image), 1e-9)


def test_sizes_can_be_left_open_and_fixed() -> None:
    x = Input((None, None, 3), name="x")
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, 2, "same")(x))
    model = Model(x, layers.Dense(2, name="fc")(y))
    proto = agree(model, random(2, 5, 8, 3), reference=False)
    sizes = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["N", 3, "x.H", "x.W"]
    up = Model(x, layers.Conv2DTranspose(2, 3, 2, "same")(x))
    agree(up, random(2, 5, 8, 3))
    proto = agree(model, random(2, 5, 8, 3), input_shape=(2, 5, 8, 3))
    sizes = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [2, 3, 5, 8]


def test_what_weights_alone_make_is_computed_before() -> None:
    class Masked(Layer):
        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight((3, 3, input_shape[-1], 2), name="kernel")

        def call(self, x: Any) -> Any:
            mask = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1) % 2
            return ops.conv2d(x, self.kernel * mask)

    proto = agree(model_of(Masked(name="masked"), IMAGE), random(2, *IMAGE))
    assert kinds(proto) == ["Conv"]
    assert list(weights_in(proto)) == ["masked.kernel"]


def test_metadata() -> None:
    for opset, version in ((11, 6), (17, 8), (21, 10)):
        proto = exported(applications.LeNet5(), opset=opset)
        assert (proto.opset_import[0].version, proto.ir_version) == (opset, version)
    assert (proto.producer_name, proto.producer_version) == ("fastcnn", fastcnn.__version__)
    assert "lenet5" in proto.doc_string
    assert proto.graph.name == "lenet5"


# --- what is refused -----------------------------------------------------------------------------


def test_all_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    x = Input(IMAGE, name="x")
    y = layers.Dropout(0.5, name="drop")(x, training=True)
    y = layers.BatchNormalization(name="bn")(layers.ReLU()(y), training=True)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    model = Model(x, [ops.binary_crossentropy(ops.relu(x), x), y])
    with pytest.raises(UnsupportedError) as caught:
        model.export(path)
    text = str(caught.value)
    assert "layer 'drop' (dropout): it draws at random" in text
    assert "'binary_cross_entropy': it is a loss" in text
    assert "bn" not in text  # what comes after a lost tensor is not another problem
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"opset": 10}, ArgumentError, "expected 11 to"),
        ({"opset": NEWEST + 1}, ArgumentError, f"expected 11 to {NEWEST}"),
        ({"opset": "17"}, ArgumentError, "opset='17'"),
        ({"layout": "CHWN"}, ArgumentError, "'NCHW', 'NHWC'"),
        ({"format": "tf"}, ArgumentError, "'onnx'"),
        ({"input_shape": (None, 7, 7, 4)}, ShapeError, "with the batch"),
        ({"input_shape": IMAGE}, ShapeError, "with the batch"),
        ({"input_shape": [(1, *IMAGE)] * 2}, ShapeError, "with the batch"),
        ({"input_shape": 3}, ShapeError, "not a tuple of sizes"),
        ({"input_shape": [(1, 2), "abc"]}, ShapeError, "not a tuple of sizes"),
    ],
)
def test_arguments(arguments: Any, error: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(error, match=words):
        model_of(layers.ReLU(), IMAGE).export(path, **arguments)
    assert not path.exists()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: apply(GroupNorm(2), x, np.ones(4), np.ones(4))[1], "mean and deviation"),
        (lambda x: apply(LayerNorm(), x, np.ones(4), np.ones(4))[1], "mean and deviation"),
        (lambda x: apply(MaxPool2D((2, 2), (2, 2)), x)[1], "return_indices=True"),
        (lambda x: apply(AdaptiveMaxPool2D((2, 2)), x)[1], "positions are used"),
        (lambda x: ops.batch_norm(x, np.ones(4), np.ones(4))[0], "training=False"),
        (lambda x: ops.conv2d_transpose(x, np.ones((3, 3, 2, 4)), None, 2), "its output is not"),
    ],
)
def test_what_onnx_has_nothing_for(function: Any, words: str) -> None:
    x = Input((None, None, 4), name="x", dtype="float64")
    with pytest.raises(UnsupportedError, match=words):
        exported(Model(x, function(x)))


def test_models_that_no_file_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "LARGEST", 1000)
    with pytest.raises(UnsupportedError, match="less than 2 GB"):
        exported(applications.LeNet5())
    with pytest.raises(ArgumentError, match="expected a Model"):
        fastcnn.onnx.export(layers.ReLU(), "m.onnx")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    model = model_of(layers.ReLU(), IMAGE)
    with pytest.raises(FileError, match="nowhere"):
        model.export(tmp_path / "nowhere" / "m.onnx")
    with pytest.raises(ArgumentError, match="the name of a file"):
        fastcnn.onnx.export(model, 3)


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[onnx\]"'):
        model_of(layers.ReLU(), IMAGE).export(tmp_path / "m.onnx")


def test_importing_fastcnn_onnx_does_not_import_onnx() -> None:
    script = "import sys, fastcnn.onnx.exporter; sys.exit('onnx' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
