# SPDX-License-Identifier: Apache-2.0
"""Counting: parameters, MACs, FLOPs, memory, and the arithmetic written out."""

import re

import numpy as np
import pytest

from fastcnn import Input, Model, Sequential, analysis, applications, layers, ops
from fastcnn.analysis.flops import flops, flops_of
from fastcnn.analysis.footprint import saved_activations
from fastcnn.errors import ArgumentError
from fastcnn.graph import placeholder
from fastcnn.ops.registry import BY_NAME
from fastcnn.plan import Plan


def lecture_c():
    """The network C of the lecture's examples, with 4 classes at its end."""
    return Sequential(
        [
            Input((32, 32, 3)),
            layers.Conv2D(8, 3, padding="same", name="conv1"),
            layers.Conv2D(16, 5, strides=2, padding="same", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(512, name="dense1"),
            layers.Dense(4, name="dense2"),
        ]
    )


def value(sentence):
    """What the left side comes to, and the number on the right."""
    left, _, right = sentence.partition(" = ")
    return eval(left.replace("×", "*").replace("/", "//")), int((right or left).replace(",", ""))


# --- arithmetic -----------------------------------------------------------------------------------


def explained(layer, shape, **kwargs):
    layer(Input(shape))
    return analysis.explain_count(layer, **kwargs)


def test_the_slides():
    assert explained(layers.Conv2D(16, 3), (32, 32, 3)) == "16 × 3 × 3 × 3 + 16 = 448"
    assert explained(layers.Conv2D(1, 3), (32, 32, 3)) == "1 × 3 × 3 × 3 + 1 = 28"
    model = lecture_c()
    assert analysis.explain_count(model) == (
        "(8 × 3 × 3 × 3 + 8) + (16 × 5 × 5 × 8 + 16) + (16 × 16 × 16 × 512 + 512) + (512 × 4 + 4) "
        "= 2,103,156"
    )
    conv = layers.Conv2D(256, 5)
    separable = layers.SeparableConv2D(256, 5)
    assert explained(conv, (12, 12, 3), what="macs") == "5 × 5 × 3 × 256 × 8 × 8 = 1,228,800"
    assert explained(separable, (12, 12, 3), what="macs") == (
        "5 × 5 × 3 × 8 × 8 + 1 × 1 × 3 × 256 × 8 × 8 = 53,952"
    )


TABLE = [[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (layers.Conv2D(8, (3, 5), use_bias=False), (9, 9, 4), "8 × 3 × 5 × 4 = 480"),
        (layers.Conv2D(8, 3, groups=2), (9, 9, 4), "8 × 3 × 3 × (4 / 2) + 8 = 152"),
        (layers.Conv1D(8, 3), (9, 4), "8 × 3 × 4 + 8 = 104"),
        (layers.DepthwiseConv2D(3), (9, 9, 4), "3 × 3 × 4 + 4 = 40"),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 4), "3 × 3 × 4 × 2 + 8 = 80"),
        (layers.SeparableConv2D(6, 3), (9, 9, 4), "3 × 3 × 4 + 6 × 1 × 1 × 4 + 6 = 66"),
        (layers.Conv2DTranspose(6, 3), (9, 9, 4), "6 × 3 × 3 × 4 + 6 = 222"),
        (layers.Conv2D(4, 3, connections=TABLE), (9, 9, 3), "3 × 3 × 9 + 4 = 85"),
        (layers.Dense(10), (84,), "84 × 10 + 10 = 850"),
        (layers.BatchNormalization(), (9, 9, 4), "4 + 4 = 8"),
        (layers.Bias(), (3, 4, 2), "3 × 4 × 2 = 24"),
        (layers.ReLU(), (9, 9, 4), "0"),
    ],
)
def test_every_kind_of_layer(layer, shape, text):
    assert explained(layer, shape) == text
    assert value(text) == (layer.count_params(), layer.count_params())


def test_statistics_are_counted_on_request():
    layer = layers.BatchNormalization()
    assert explained(layer, (9, 9, 4), buffers=True) == "4 + 4 + 4 + 4 = 16"
    assert layer.count_params(buffers=True) == 16


@pytest.mark.parametrize("name", ["LeNet5", "ResNet20", "MobileNetV2", "ShuffleNet", "TDNN"])
def test_arithmetic_of_whole_networks(name):
    network = applications.get(name)()
    total = network.count_params()
    assert value(analysis.explain_count(network)) == (total, total)
    macs = network.count_macs()
    assert value(analysis.explain_count(network, "macs")) == (macs, macs)


def test_shared_weights_are_explained_once():
    shared = layers.Dense(4)
    x = Input((4,))
    model = Model(x, shared(shared(x)))
    assert analysis.explain_count(model) == "4 × 4 + 4 = 20"
    assert analysis.count(model).params == 20
    assert analysis.count(model).macs == 32


def test_arithmetic_errors():
    with pytest.raises(ArgumentError, match=r"'late' is not built"):
        analysis.explain_count(layers.Dense(3, name="late"))
    with pytest.raises(ArgumentError, match=r"input_shape"):
        explained(layers.Conv2D(2, 3), (None, None, 3), what="macs")
    with pytest.raises(ArgumentError, match=r"flops.*macs"):
        explained(layers.Conv2D(2, 3), (8, 8, 3), what="flops")


# --- counts ---------------------------------------------------------------------------------------


def test_counts_by_layer_and_in_total():
    model = lecture_c()
    found = analysis.count(model)
    rows = {row.path: row for row in found.layers}
    assert rows["conv2"].output_shape == (16, 16, 16)
    assert rows["conv2"].params == 3216
    assert rows["conv2"].macs == 16 * 16 * 16 * 5 * 5 * 8
    assert rows["conv2"].flops == 2 * rows["conv2"].macs + 16 * 16 * 16  # bias
    assert rows["conv2"].activation_bytes == 16 * 16 * 16 * 4
    assert rows["flatten"].activation_bytes == 0
    for name in ("params", "macs", "flops", "activation_bytes"):
        assert getattr(found, name) == sum(getattr(row, name) for row in found.layers)
    assert (model.count_macs(), model.count_flops()) == (found.macs, found.flops)
    assert "2,103,156" in str(found).splitlines()[-1]


def test_macs_are_not_flops():
    x = Input((8, 8, 4))
    y = layers.Conv2D(6, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    model = Model(x, layers.GlobalAveragePooling2D()(y))
    numbers = 6 * 6 * 6
    assert model.count_macs() == numbers * 3 * 3 * 4
    assert model.count_flops() == 2 * model.count_macs() + 2 * numbers + numbers + numbers


def test_other_sizes_count_other_work():
    model = applications.VGG16(include_top=False)
    assert model.count_macs((64, 64, 3)) * 4 == model.count_macs((128, 128, 3))
    with pytest.raises(ArgumentError, match="input_shape"):
        analysis.count(model)
    with pytest.raises(ArgumentError, match="1 inputs, found 2 shapes"):
        model.count_flops([(64, 64, 3), (3,)])


def test_what_is_inside_nested_models():
    inner = Sequential([Input((8, 8, 3)), layers.Conv2D(2, 3, name="c")], name="inner")
    x = Input((8, 8, 3))
    model = Model(x, ops.multiply(layers.ReLU()(inner(x)), 2.0))
    outer = {row.path: row for row in analysis.count(model).layers}
    assert "inner/c" not in outer
    nested = {row.path: row for row in analysis.count(model, expand_nested=True).layers}
    assert nested["inner/c"].macs == nested["inner"].macs == outer["inner"].macs == 72 * 27
    bare = analysis.count(model).flops - sum(row.flops for row in outer.values())
    assert bare == 72  # the multiplication stands in no layer


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: ops.max_pool2d(x, 2), 2 * 3 * 4 * 3),
        (lambda x: ops.avg_pool2d(x, 2), 2 * 3 * 4 * 4),
        (lambda x: ops.max_pool2d(x, 3, 1, "same"), 4 * 6 * 4 * 8),
        (lambda x: ops.adaptive_avg_pool2d(x, (1, 4)), 4 * 8 * 4),
        (lambda x: ops.adaptive_max_pool2d(x, (1, 4)), 4 * 8 * 4 - 4 * 4),
        (lambda x: ops.mean(x, axis=(1, 2)), 96),
        (lambda x: ops.sum(x, axis=3), 96 - 24),
        (lambda x: ops.softmax(x), 24 * (5 * 4 - 2)),
        (lambda x: ops.log_softmax(x), 24 * (5 * 4 - 1)),
        (lambda x: ops.tanh(x), 96),
        (lambda x: ops.local_response_norm(x, 5), 96 * 9),
        (lambda x: ops.resize(x, (8, 12)), 3 * 4 * 8 * (6 + 12)),
        (lambda x: ops.resize(x, (8, 12), interpolation="nearest"), 0),
        (lambda x: ops.transpose(ops.pad(x, 1)), 0),
    ],
)
def test_flops_of_ops_by_hand(function, expected):
    node = function(placeholder((1, 4, 6, 4))).node
    assert flops_of(node) == expected


def test_forward_ops_have_a_rule():
    """Only gradients, losses, updates and what passes make may count nothing by default."""
    default = flops.dispatch(object)
    without = {name for name, op in BY_NAME.items() if flops.dispatch(op) is default}
    made_by_passes = (
        "filters",
        "winograd",
        "fused",
        "preactivated",
        "_values",
        "copy_",
        "interleave_",
        "space_to_depth",
    )
    words = ("_grad", "_update", "cross_entropy", "copy_", "interleave_", *made_by_passes)
    assert [name for name in sorted(without) if not any(word in name for word in words)] == []


# --- memory ---------------------------------------------------------------------------------------


def test_memory_is_that_of_the_plans():
    model = lecture_c()
    found = analysis.memory(model, batch=4)
    plan = model.plan((4, 32, 32, 3))
    assert found.inference == plan.arena_bytes
    assert found.scratch == plan.scratch_bytes
    assert found.weights == model.count_params() * 4
    # The step's loss is another one, and its gradients as large.
    model.compile("sgd", "mse")
    model.train_on_batch(np.zeros((4, 32, 32, 3), np.float32), np.zeros((4, 4), np.float32))
    (step,) = model.trainer._plans._plans.values()
    assert isinstance(step.plan, Plan)
    assert found.training == pytest.approx(step.plan.arena_bytes, rel=0.1)
    assert "batch of 4" in str(found)


def test_memory_of_training_counts_what_is_made_again():
    model = applications.ResNet18(input_shape=(32, 32, 3), stem="cifar", classes=10)
    kept = analysis.memory(model, batch=8)
    less = analysis.memory(model, batch=8, recompute="auto")
    assert less.training < 0.75 * kept.training
    assert (less.inference, less.saved) == (kept.inference, kept.saved)
    with pytest.raises(ArgumentError, match="recompute"):
        analysis.memory(model, batch=8, recompute="all")


def test_what_gradients_read_is_saved():
    """Convolutions read their input, relu its output, and a Dense layer its input."""
    x = Input((8, 8, 3))
    y = layers.Conv2D(4, 3, use_bias=False, name="a")(x)
    y = layers.ReLU(name="relu")(y)
    y = layers.Conv2D(5, 3, use_bias=False, name="b")(y)
    model = Model(x, layers.Dense(2, name="d")(layers.Flatten()(y)))
    saved = saved_activations(model, model.graph(training=True, batch=2))
    assert saved["relu"] == 2 * 6 * 6 * 4 * 4
    assert saved["b"] == 2 * 4 * 4 * 5 * 4
    model.layers[1].trainable = False  # a frozen layer's input need not be kept
    assert saved_activations(model, model.graph(training=True, batch=2)) == saved
    for layer in model.layers:
        layer.trainable = False
    assert saved_activations(model, model.graph(training=True, batch=2)) == {}


# --- summary --------------------------------------------------------------------------------------


def test_summary_of_all_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
    model = lecture_c()
    lines = []
    columns = ("params", "flops", "receptive_field", "stride", "memory", "training_memory")
    model.summary(print_fn=lines.append, columns=(*columns, "milliseconds"))
    (row,) = [line for line in lines if line.startswith("conv2 ")]
    cells = re.split(r"  +", row)
    assert cells[:7] == ["conv2 (Conv2D)", "3,216", "1,642,496", "7", "2", "16.00 KB", "16.00 KB"]
    assert float(cells[7]) > 0
    text = "\n".join(lines)
    assert f"FLOPs per sample: {model.count_flops():,}" in text
    assert re.search(r"Predicted time of one sample: [\d.]+ ms", text)


def test_summary_of_sizes_given_and_unknown():
    model = applications.ResNet18(include_top=False)
    lines = []
    model.summary(print_fn=lines.append, columns=("macs", "receptive_field"))
    assert any(re.fullmatch(r"conv1 \(Conv2D\) +- +-", line) for line in lines)
    lines.clear()
    columns = ("output_shape", "macs", "receptive_field")
    model.summary(print_fn=lines.append, columns=columns, input_shape=(64, 64, 3))
    last = r"layer4.1.relu \(Activation\) +\(None, 2, 2, 512\) +0 +435"
    assert any(re.fullmatch(last, line) for line in lines)
    with pytest.raises(ArgumentError, match=r"no columns \['flop'\].*flops"):
        model.summary(columns=("flop",))
