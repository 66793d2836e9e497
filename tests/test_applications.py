# SPDX-License-Identifier: Apache-2.0
"""The built-in networks: the counts in the papers and slides, shapes, arguments, weights."""

import numpy as np
import pytest

from fastcnn import applications, ops
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers import Conv2D, Input
from fastcnn.models import Model

PARAMETERS = {
    "LeNet5": 61_706,
    "LectureC": 2_103_156,
    "ResNet20": 269_722,
    "ResNet32": 464_154,
    "ResNet44": 658_586,
    "ResNet56": 853_018,
}


def of_layers(model, *names):
    return sum(model.get_layer(name).count_params() for name in names)


def conv_params(filters, channels=3):
    image = Input(shape=(32, 32, channels))
    return Model(image, Conv2D(filters, 3, padding="same")(image)).count_params()


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters(name, parameters):
    assert applications.BY_NAME[name]().count_params() == parameters


def test_every_network_has_its_count():
    assert set(applications.BY_NAME) == set(PARAMETERS)


def test_layers_of_lenet5():
    model = applications.LeNet5()
    assert of_layers(model, "c1") == 156
    assert of_layers(model, "c3") == 2_416
    assert of_layers(model, "c5") == 48_120
    assert of_layers(model, "f6") == 10_164
    assert of_layers(model, "output") == 850
    shapes = [layer.output_shape for layer in model.layers[1:5]]
    assert shapes == [(None, 28, 28, 6), (None, 14, 14, 6), (None, 10, 10, 16), (None, 5, 5, 16)]


def test_counts_of_the_lecture():
    assert conv_params(filters=1) == 28
    assert conv_params(filters=16) == 448
    model = applications.LectureC()
    assert of_layers(model, "conv1") == 224
    assert of_layers(model, "conv2") == 3_216
    assert of_layers(model, "dense1", "dense2") == 2_099_716
    assert model.get_layer("conv2").output_shape == (None, 16, 16, 16)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("LeNet5", 416_520),
        # 32*32*8*27 + 16*16*16*200 + 4096*512 + 512*4
        ("LectureC", 3_139_584),
        ("ResNet20", 40_551_040),
        ("ResNet32", 68_862_592),
        ("ResNet44", 97_174_144),
        ("ResNet56", 125_485_696),
    ],
)
def test_macs(name, macs):
    assert applications.BY_NAME[name]().count_macs() == macs


@pytest.mark.parametrize("name", ["LeNet5", "LectureC", "ResNet20"])
def test_other_sizes_and_classes(name):
    model = applications.BY_NAME[name](input_shape=(28, 30, 2), classes=7)
    y = model.predict(np.random.default_rng(0).random((3, 28, 30, 2), np.float32), verbose=0)
    assert y.shape == (3, 7)
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=1e-5)


def test_resnet_takes_odd_sizes():
    model = applications.ResNet20(input_shape=(9, 13, 1), include_top=False)
    assert model.outputs[0].shape == (None, 3, 4, 64)


@pytest.mark.parametrize(
    ("name", "features"),
    [("LeNet5", (5, 5, 16)), ("LectureC", (16, 16, 16)), ("ResNet20", (8, 8, 64))],
)
def test_without_top(name, features):
    network = applications.BY_NAME[name]
    size = {"input_shape": (32, 32, 3)} if name == "ResNet20" else {}
    assert network(include_top=False, **size).outputs[0].shape == (None, *features)
    for pooling in ("avg", "max"):
        assert network(include_top=False, pooling=pooling).outputs[0].shape == (None, features[-1])


def test_shortcut_keeps_pixels_and_adds_zeros():
    x = np.random.default_rng(1).random((1, 6, 6, 16), np.float32)
    image = Input(shape=x.shape[1:])
    from fastcnn.applications.resnet_cifar import _shortcut

    y = Model(image, _shortcut(image, 32, 2, "block")).predict(x, verbose=0)
    np.testing.assert_array_equal(y[..., :16], x[:, ::2, ::2])
    assert not y[..., 16:].any()


def test_logits():
    x = np.random.default_rng(2).random((2, 32, 32, 1), np.float32)
    model = applications.LeNet5()
    logits = applications.LeNet5(classifier_activation=None)
    logits.load_state_dict(model.state_dict())
    np.testing.assert_allclose(
        ops.softmax(logits.predict(x, verbose=0)), model.predict(x, verbose=0), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", ["LeNet5", "ResNet20"])
def test_weights_from_a_file(name, tmp_path):
    network = applications.BY_NAME[name]
    model = network()
    x = np.random.default_rng(3).random((2, *model.inputs[0].shape[1:]), np.float32)
    model.save(tmp_path / "model.fastcnn")
    model.save_weights(tmp_path / "weights.fastcnn")
    for file in ("model.fastcnn", "weights.fastcnn"):
        again = network(weights=tmp_path / file)
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ShapeError, match="output"):
        network(weights=tmp_path / "model.fastcnn", classes=11) if name == "LeNet5" else (
            applications.LeNet5(weights=tmp_path / "model.fastcnn")
        )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"weights": "imagenet"}, "imagenet"),
        ({"weights": 3}, "weights=3"),
        ({"input_shape": (32, 32)}, "height, width, channels"),
        ({"input_shape": (32, 32, 0)}, "input_shape"),
        ({"classes": 0}, "classes"),
        ({"include_top": False, "pooling": "mean"}, "'avg'"),
    ],
)
@pytest.mark.parametrize("name", ["LeNet5", "LectureC", "ResNet20"])
def test_impossible_arguments(name, arguments, word):
    with pytest.raises(ArgumentError, match=word):
        applications.BY_NAME[name](**arguments)


def test_get():
    assert applications.get("lenet5") is applications.LeNet5
    assert applications.get("ResNet20") is applications.ResNet20
    with pytest.raises(ArgumentError, match=r"'lenet7'.*LeNet5, LectureC, ResNet20"):
        applications.get("lenet7")
