# SPDX-License-Identifier: Apache-2.0
"""Networks written as tables: sizes of the papers' maps, variants, auxiliary classifiers."""

import numpy as np
import pytest

from fastcnn.applications.alexnet import AlexNet
from fastcnn.applications.blocks import TORCH
from fastcnn.applications.googlenet import GoogLeNet
from fastcnn.applications.inception_resnet import InceptionResNetV1, InceptionResNetV2
from fastcnn.applications.inception_v3 import InceptionV3
from fastcnn.applications.table import Conv, Fork, Module, biased, branch, follow, last, normalized
from fastcnn.applications.vgg import VGG11, VGG16
from fastcnn.applications.xception import Xception
from fastcnn.applications.zfnet import ZFNet
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers import Flatten, Input, MaxPooling2D
from fastcnn.models import Model


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# --- tables --------------------------------------------------------------------------------------


def test_branches_are_joined_in_their_order():
    image = Input((6, 6, 2))
    table = {
        "stem": Conv(3, 3, 2),
        "mixed": Module((branch("a", Conv(4)), branch("b", Conv(1), Fork(Conv(2), Conv(5))))),
    }
    outputs = follow(image, table, biased, "net.")
    assert [t.shape for t in outputs.values()] == [(None, 2, 2, 3), (None, 2, 2, 11)]
    model = Model(image, last(outputs))
    convs = ["stem", "mixed.a", "mixed.b.0", "mixed.b.1a", "mixed.b.1b"]
    assert list(model.state_dict()) == [f"net.{c}.{w}" for c in convs for w in ("weight", "bias")]
    x = images(2, 6, 6, 2)
    joined = model.predict(x, verbose=0)
    for name, channels in (("a", slice(4)), ("b.1a", slice(4, 6)), ("b.1b", slice(6, 11))):
        part = Model(image, model.get_layer(f"net.mixed.{name}").output)
        np.testing.assert_array_equal(part.predict(x, verbose=0), joined[..., channels])


def test_rows_make_layers():
    outputs = follow(Input((4, 4, 1)), {"pool": MaxPooling2D, "flat": Flatten}, biased)
    assert [t.shape for t in outputs.values()] == [(None, 2, 2, 1), (None, 4)]


@pytest.mark.parametrize(
    ("conv", "size"),
    [(Conv(1, 3), 9), (Conv(1, 3, 2), 4), (Conv(1, 3, padding="valid"), 7), (Conv(1, 3, 2, 1), 5)],
)
def test_convolutions_keep_sizes_unless_they_stride(conv, size):
    assert last(follow(Input((9, 9, 1)), {"conv": conv}, normalized(TORCH))).shape[1] == size


# --- the papers' sizes ---------------------------------------------------------------------------

SIZES = {
    AlexNet: {"features.0": 55, "features.3": 27, "features.6": 13, "features.12": 6},
    ZFNet: {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "conv5": 13, "pool5": 6},
    VGG16: {"features.4": 112, "features.9": 56, "features.16": 28, "features.30": 7},
    GoogLeNet: {
        "conv1.conv": 112,
        "maxpool1": 56,
        "maxpool2": 28,
        "inception3b.cat": 28,
        "inception4e.cat": 14,
        "inception5b.cat": 7,
    },
    InceptionV3: {
        "Conv2d_1a_3x3.conv": 149,
        "Conv2d_2b_3x3.conv": 147,
        "maxpool1": 73,
        "Conv2d_4a_3x3.conv": 71,
        "Mixed_5d.cat": 35,
        "Mixed_6e.cat": 17,
        "Mixed_7c.cat": 8,
    },
    InceptionResNetV1: {"repeat_1.4.relu": 35, "repeat_2.9.relu": 17, "repeat_3.4.relu": 8},
    InceptionResNetV2: {"mixed_5b.cat": 35, "mixed_6a.cat": 17, "conv2d_7b.conv": 8},
    Xception: {"block1.add": 74, "block2.add": 37, "block11.add": 19, "block12.add": 10},
}


@pytest.mark.parametrize("network", SIZES, ids=lambda n: n.__name__)
def test_sizes_of_maps(network):
    model = network()
    found = {layer: model.get_layer(layer).output_shape[1] for layer in SIZES[network]}
    assert found == SIZES[network]


def test_papers_sizes_of_alexnet_and_googlenet():
    model = AlexNet(variant="paper")
    names = ("image", "conv1", "pool1", "pool2", "pool5")
    assert [model.get_layer(n).output_shape[1] for n in names] == [227, 55, 27, 13, 6]
    model = GoogLeNet(variant="paper", auxiliary=True)
    names = ("norm1", "conv3.conv", "norm2", "aux1.avgpool", "maxpool4")
    assert [model.get_layer(n).output_shape[1] for n in names] == [56, 56, 56, 4, 7]


# --- what the variants mean ----------------------------------------------------------------------


def test_local_response_normalization_is_the_papers():
    """b = a / (2 + 1e-4 * sum of squares over five channels) ** 0.75, section 3.3."""
    image = Input((1, 1, 7))
    layer = AlexNet(variant="paper", include_top=False).get_layer("norm1")
    a = 100 * images(2, 1, 1, 7)
    squares = np.pad(a**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    sums = sum(squares[..., i : i + 7] for i in range(5))
    b = Model(image, layer(image)).predict(a, verbose=0)
    np.testing.assert_allclose(b, a / (2 + 1e-4 * sums) ** 0.75, rtol=1e-5)


def test_groups_see_half_of_the_channels():
    grouped = AlexNet(variant="paper", include_top=False)
    alone = AlexNet(variant="one_tower", include_top=False)
    halved = {"conv2.weight", "conv4.weight", "conv5.weight"}
    whole = {name: w.shape for name, w in alone.state_dict().items()}
    for name, w in grouped.state_dict().items():
        K, C, *sizes = whole[name] if w.ndim == 4 else (*w.shape, 0)
        assert w.shape == ((K, C // 2, *sizes) if name in halved else whole[name])


@pytest.mark.parametrize("network", [InceptionV3, InceptionResNetV2])
def test_keras_has_no_gamma(network):
    names = set(network(include_top=False).named_weights())
    bare = {name for name in names if not name.endswith("gamma")}
    assert set(network(include_top=False, variant="keras").named_weights()) == bare < names


@pytest.mark.parametrize(("size", "equal"), [(75, True), (93, False)])
def test_keras_pads_poolings_of_even_maps_after_them(size, equal):
    shape = (size, size, 3)
    timm, keras = (
        Xception(include_top=False, input_shape=shape, variant=v) for v in ("timm", "keras")
    )
    keras.load_state_dict(timm.state_dict())
    x = images(1, *shape)
    pools = [m.get_layer("block1.rep.5") for m in (timm, keras)]
    a, b = (
        Model(m.inputs, p.output).predict(x, verbose=0)
        for m, p in zip((timm, keras), pools, strict=True)
    )
    # Keras' epsilon is a hundred times timm's, on variances of one.
    assert np.allclose(a, b, rtol=5e-3, atol=5e-3) == equal


def test_keras_averages_leave_the_padding_out():
    x = np.ones((1, 75, 75, 3), np.float32)
    for variant, corner in (("torchvision", 4 / 9), ("keras", 1.0)):
        model = InceptionV3(include_top=False, input_shape=(75, 75, 3), variant=variant)
        before = model.get_layer("maxpool2").output
        pool = model.get_layer("Mixed_5b.pool").output
        maps, means = Model(model.inputs, [before, pool]).predict(x, verbose=0)
        expected = maps[0, :2, :2].mean(axis=(0, 1)) * corner
        np.testing.assert_allclose(means[0, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_sixth_block_adds_all_of_its_residual_and_has_no_relu():
    shape = (75, 75, 3)
    paper = InceptionResNetV1(include_top=False, input_shape=shape)
    facenet = InceptionResNetV1(include_top=False, input_shape=shape, variant="facenet")
    added = set(facenet.state_dict()) - set(paper.state_dict())
    assert added
    assert all(name.startswith("block8.") for name in added)
    ends = [facenet.get_layer(n).output for n in ("repeat_3.4.relu", "block8.conv2d")]
    x = images(1, *shape)
    before, residual = Model(facenet.inputs, ends).predict(x, verbose=0)
    y = facenet.predict(x, verbose=0)
    np.testing.assert_allclose(y, before + residual, rtol=1e-4, atol=1e-5)
    assert (y < 0).any()


def test_embedding():
    model = InceptionResNetV1(embedding=32, classes=5, variant="facenet")
    assert model.inputs[0].shape == (None, 160, 160, 3)
    assert model.get_layer("last_bn").output_shape == (None, 32)
    head = [n for n in model.state_dict() if n.startswith(("last", "logits"))]
    norm = [f"last_bn.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
    assert head == ["last_linear.weight", *norm, "logits.weight", "logits.bias"]


# --- auxiliary classifiers, images of torchvision ------------------------------------------------


@pytest.mark.parametrize("variant", ["torchvision", "paper"])
def test_auxiliary_classifiers(variant):
    arguments = {"input_shape": (96, 96, 3), "classes": 3, "variant": variant}
    model = GoogLeNet(auxiliary=True, **arguments)
    assert model.output_names == ["fc", "aux1.fc2", "aux2.fc2"]
    plain = GoogLeNet(**arguments)
    state = model.state_dict()
    plain.load_state_dict({n: state[n] for n in plain.state_dict()})
    x = images(2, 96, 96, 3)
    scores = model.predict(x, verbose=0)
    np.testing.assert_array_equal(scores[0], plain.predict(x, verbose=0))
    for y in scores:
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)


def test_auxiliary_classifiers_train_together():
    shape, classes = (32, 32, 3), np.array([0, 1])
    model = GoogLeNet(auxiliary=True, input_shape=shape, classes=2, classifier_activation="softmax")
    model.compile("adam", "sparse_categorical_crossentropy", loss_weights=[1, 0.3, 0.3])
    before = {n: w for n, w in model.state_dict().items() if n.endswith("weight")}
    model.train_on_batch(images(2, *shape), [classes] * 3)
    after = model.state_dict()
    assert not [n for n, w in before.items() if np.array_equal(w, after[n])]


def test_auxiliary_classifier_of_inception_v3():
    model = InceptionV3(auxiliary=True, classes=4)
    assert model.output_names == ["fc", "AuxLogits.fc"]
    assert [t.shape for t in model.outputs] == [(None, 4)] * 2
    with pytest.raises(ShapeError, match=r"AuxLogits"):
        InceptionV3(auxiliary=True, input_shape=(75, 75, 3))


@pytest.mark.parametrize("network", [GoogLeNet, InceptionV3])
def test_auxiliary_classifiers_need_the_top(network):
    with pytest.raises(ArgumentError, match=r"auxiliary=True.*include_top"):
        network(auxiliary=True, include_top=False)


@pytest.mark.parametrize("network", [GoogLeNet, InceptionV3])
def test_transform_input(network):
    """Pixels p in [0, 1] less mean by deviation become 2 p - 1."""
    model = network(transform_input=True, include_top=False)
    pixels = np.random.default_rng(0).random((1, 80, 80, 3), np.float32)
    torchvision = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    seen = Model(model.inputs, model.get_layer("transform_input").output)
    y = seen.predict(torchvision.astype(np.float32), verbose=0)
    np.testing.assert_allclose(y, 2 * pixels - 1, atol=1e-6)
    with pytest.raises(ShapeError, match="3 channels"):
        network(transform_input=True, input_shape=(80, 80, 1))


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [AlexNet, GoogLeNet, InceptionV3, InceptionResNetV1, InceptionResNetV2, Xception],
)
def test_unknown_variant(network):
    with pytest.raises(ArgumentError, match=r"variant='pytorch'.*expected one of"):
        network(variant="pytorch")


@pytest.mark.parametrize(
    ("network", "smallest"),
    [(VGG11, 32), (GoogLeNet, 15), (InceptionV3, 75), (InceptionResNetV2, 75), (Xception, 71)],
)
def test_smallest_images(network, smallest):
    arguments = {"classes": 2, "dropout": 0.0}
    model = network(input_shape=(smallest, smallest, 1), **arguments)
    assert model.outputs[0].shape == (None, 2)
    with pytest.raises(ArgumentError, match=f"at least {smallest}"):
        network(input_shape=(smallest, smallest - 1, 3), **arguments)
