# SPDX-License-Identifier: Apache-2.0
"""What all built-in networks promise, tried on the smallest of each family; counts: test_zoo.py."""

import inspect

import numpy as np
import pytest

import zoo
from fastcnn import applications, ops
from fastcnn.applications.frame import Frame
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers import (
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    GlobalAveragePooling2D,
    Input,
    SeparableConv2D,
)
from fastcnn.models import Model

SHARED = (
    "weights",
    "include_top",
    "input_shape",
    "pooling",
    "classes",
    "classifier_activation",
)


def defaults(network):
    return {name: p.default for name, p in inspect.signature(network).parameters.items()}


def small(row):
    """Whether a network is quickly run, and ends with the usual classifier."""
    usual = defaults(applications.BY_NAME[row.network])["classifier_activation"] == "softmax"
    return usual and row.macs < 2e9 and row.parameters < 30e6


SMALL = [[row for row in family.ROWS if small(row)] for family in zoo.FAMILIES]
CHEAP = [min(rows, key=lambda row: row.macs) for rows in SMALL if rows]

cheap = pytest.mark.parametrize("row", CHEAP, ids=str)


def images(model, count=2):
    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(0).random((count, *shape), np.float32)


# --- every network -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", applications.BY_NAME.values(), ids=applications.BY_NAME)
def test_signature(network):
    given = defaults(network)
    assert tuple(given)[: len(SHARED)] == SHARED
    assert tuple(given)[-1] == "name"
    assert inspect.Parameter.empty not in given.values()
    assert (given["weights"], given["include_top"], given["pooling"]) == (None, True, None)
    assert network.__doc__


@cheap
def test_classes_and_name(row):
    model = row.build(classes=7, name="mine")
    assert model.name == "mine"
    y = model.predict(images(model), verbose=0)
    assert y.shape == (2, 7)
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=1e-5)


@cheap
def test_logits(row):
    model, logits = row.build(), row.build(classifier_activation=None)
    logits.load_state_dict(model.state_dict())
    x = images(model)
    np.testing.assert_allclose(
        ops.softmax(logits.predict(x, verbose=0)), model.predict(x, verbose=0), rtol=1e-4, atol=1e-6
    )


@cheap
def test_without_top(row):
    size = row.build().inputs[0].shape[1:]
    assert row.build(include_top=False).inputs[0].shape[3] == size[2]
    fixed = row.build(include_top=False, input_shape=size)
    maps = fixed.predict(images(fixed), verbose=0)
    assert maps.ndim == 4
    for pooling, reduced in (("avg", maps.mean(axis=(1, 2))), ("max", maps.max(axis=(1, 2)))):
        pooled = row.build(include_top=False, input_shape=size, pooling=pooling)
        pooled.load_state_dict(fixed.state_dict())
        y = pooled.predict(images(fixed), verbose=0)
        np.testing.assert_allclose(y, reduced, rtol=1e-4, atol=1e-4 * np.abs(reduced).max())


@cheap
def test_weights_from_a_file(row, tmp_path):
    model = row.build()
    x = images(model)
    model.save(tmp_path / "model.fastcnn")
    model.save_weights(tmp_path / "weights.fastcnn")
    for file in ("model.fastcnn", "weights.fastcnn"):
        again = row.build(weights=tmp_path / file)
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    classifier = list(model.named_weights())[-1].rpartition(".")[0]
    with pytest.raises(ShapeError, match=classifier.replace(".", r"\.")):
        row.build(weights=tmp_path / "model.fastcnn", classes=11)


def test_weights_of_another_network(tmp_path):
    applications.ResNet20().save(tmp_path / "model.fastcnn")
    with pytest.raises(ShapeError, match="another network"):
        applications.LeNet5(weights=tmp_path / "model.fastcnn")


def test_features_of_any_size():
    model = applications.ResNet20(include_top=False)
    assert model.inputs[0].shape == (None, None, None, 3)
    assert model.outputs[0].shape == (None, None, None, 64)
    for size in ((32, 32), (9, 14)):
        shape = (1, -(-size[0] // 4), -(-size[1] // 4), 64)
        assert model.predict(np.ones((1, *size, 3)), verbose=0).shape == shape


@cheap
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"weights": "imagenet", "classes": 7}, "imagenet"),
        ({"weights": 3}, "weights=3"),
        ({"input_shape": (32, 32)}, "height, width, channels"),
        ({"input_shape": (32, 0, 3)}, "input_shape"),
        ({"input_shape": (32, 32, 0)}, "input_shape"),
        ({"classes": 0}, "classes"),
        ({"include_top": False, "pooling": "mean"}, "'avg'"),
    ],
)
def test_impossible_arguments(row, arguments, word):
    with pytest.raises(ArgumentError, match=word):
        row.build(**arguments)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ArgumentError, match="which is a folder, expected a file"):
        applications.LeNet5(weights=tmp_path)


def test_images_too_small():
    frame = Frame("tiny", None, True, (31, 32, 3), None, 10, None)
    with pytest.raises(ArgumentError, match=r"tiny.*31.*at least 32"):
        frame.image(smallest=32)


# --- single networks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("LeNet5", {}, (28, 30, 2)),
        ("LectureC", {}, (28, 30, 2)),
        ("ResNet20", {}, (9, 13, 1)),
        ("ResNet18", {}, (1, 1, 3)),
        ("ResNet18", {"stem": "cifar"}, (9, 20, 3)),
        ("ResNet50", {"variant": "keras"}, (33, 40, 3)),
        ("ResNeXt50", {}, (33, 40, 3)),
        ("SEResNet50", {}, (1, 2, 3)),
        ("SEResNet50", {"variant": "legacy"}, (3, 5, 3)),
        ("WideResNet", {"depth": 10, "width": 2, "dropout": 0.3}, (9, 13, 1)),
    ],
)
def test_other_sizes(name, arguments, size):
    model = applications.BY_NAME[name](input_shape=size, classes=7, **arguments)
    y = model.predict(images(model, 3), verbose=0)
    assert y.shape == (3, 7)
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("ResNet18", {"stem": "mnist"}, "'cifar'"),
        ("ResNet50", {"variant": "caffe"}, "'keras'"),
        ("ResNeXt50", {"groups": 0}, "groups"),
        ("ResNeXt50", {"width_per_group": 1.5}, "width_per_group"),
        ("SEResNet50", {"variant": "paper"}, "'legacy'"),
        ("SEResNet50", {"variant": "legacy", "input_shape": (2, 9, 3)}, "at least 3"),
        ("SENet154", {"dropout": 1.0}, r"dropout=1.0.*\[0, 1\)"),
        ("WideResNet", {"depth": 27}, "6n"),
        ("WideResNet", {"depth": 4}, "at least 10"),
        ("WideResNet", {"width": 0}, "width"),
        ("WideResNet", {"dropout": -0.1}, "dropout"),
    ],
)
def test_impossible_arguments_of_single_networks(name, arguments, word):
    with pytest.raises(ArgumentError, match=word):
        applications.BY_NAME[name](**arguments)


def of_layers(model, *names):
    return sum(model.get_layer(name).count_params() for name in names)


def test_layers_of_lenet5():
    model = applications.LeNet5()
    assert of_layers(model, "c1") == 156
    assert of_layers(model, "c3") == 2_416
    assert of_layers(model, "c5") == 48_120
    assert of_layers(model, "f6") == 10_164
    assert of_layers(model, "output") == 850
    shapes = [layer.output_shape for layer in model.layers[1:5]]
    assert shapes == [(None, 28, 28, 6), (None, 14, 14, 6), (None, 10, 10, 16), (None, 5, 5, 16)]


def test_depthwise_slide_of_the_lecture():
    """12x12x3 to 8x8x256 by one 5x5 convolution, and by a depthwise and a 1x1 one."""
    image = Input(shape=(12, 12, 3))
    standard = Model(image, Conv2D(256, 5)(image))
    separable = Model(image, SeparableConv2D(256, 5)(image))
    two = Model(image, Conv2D(256, 1)(DepthwiseConv2D(5)(image)))
    assert standard.outputs[0].shape == separable.outputs[0].shape == (None, 8, 8, 256)
    assert standard.count_macs() == 1_228_800
    assert standard.count_params() == 19_456
    assert separable.count_macs() == two.count_macs() == 53_952
    # The slide's depthwise convolution has three biases, which SeparableConv2D leaves out.
    assert two.count_params() == 1_102
    assert separable.count_params() == 1_099


def test_counts_of_the_lecture():
    image = Input((32, 32, 3))
    for filters, parameters in ((1, 28), (16, 448)):
        model = Model(image, Conv2D(filters, 3, padding="same")(image))
        assert model.count_params() == parameters
    model = applications.LectureC()
    assert of_layers(model, "conv1") == 224
    assert of_layers(model, "conv2") == 3_216
    assert of_layers(model, "dense1", "dense2") == 2_099_716
    assert model.get_layer("conv2").output_shape == (None, 16, 16, 16)


@pytest.mark.parametrize(
    ("stem", "sizes"), [("imagenet", (112, 56, 28, 14, 7)), ("cifar", (224, 224, 112, 56, 28))]
)
def test_sizes_of_the_stages(stem, sizes):
    model = applications.ResNet50(stem=stem, input_shape=(224, 224, 3))
    names = ("conv1", "layer1.2.relu", "layer2.3.relu", "layer3.5.relu", "layer4.2.relu")
    assert tuple(model.get_layer(name).output_shape[1] for name in names) == sizes
    shapes = [model.get_layer(name).output_shape[-1] for name in names]
    assert shapes == [64, 256, 512, 1024, 2048]


def test_variants_of_resnet50():
    """Where the first block that shrinks its maps strides, biases, normalization."""
    found = {}
    for variant in ("torchvision", "paper", "keras"):
        model = applications.ResNet50(variant=variant)
        convs = [model.get_layer(f"layer2.0.conv{i}") for i in (1, 2)]
        norm = model.get_layer("bn1")
        assert isinstance(norm, BatchNormalization)
        strides = tuple(conv.strides[0] for conv in convs)
        found[variant] = (strides, convs[0].use_bias, norm.epsilon, norm.momentum)
    assert found == {
        "torchvision": ((1, 2), False, 1e-5, 0.9),
        "paper": ((2, 1), False, 1e-5, 0.9),
        "keras": ((2, 1), True, 1.001e-5, 0.99),
    }


def test_dropout_in_wide_resnets():
    def rates(**arguments):
        model = applications.WideResNet(depth=10, width=1, **arguments)
        return [layer.rate for layer in model.layers if layer.name.endswith("dropout")]

    assert rates() == []
    assert rates(dropout=0.3) == [0.3] * 3


def test_features_of_senet154():
    model = applications.SENet154()
    assert isinstance(model.get_layer("layer1.0.se_module.squeeze"), GlobalAveragePooling2D)
    assert model.get_layer("layer1.0.downsample.0").kernel_size == (1, 1)
    assert model.get_layer("layer2.0.downsample.0").kernel_size == (3, 3)
    assert model.get_layer("layer2.0.conv2").groups == 64
    assert model.get_layer("dropout").rate == 0.2


def test_get():
    assert applications.get("lenet5") is applications.LeNet5
    assert applications.get("ResNet20") is applications.ResNet20
    with pytest.raises(ArgumentError, match=r"'lenet7'.*LectureC, LeCun1989, LeNet5, .*ResNet20"):
        applications.get("lenet7")
