# SPDX-License-Identifier: Apache-2.0
"""The ShuffleNets: units, groups, scales, impossible arguments."""

import numpy as np
import pytest

from fastcnn import applications, models
from fastcnn.errors import ArgumentError
from fastcnn.layers import AveragePooling2D, ChannelShuffle
from fastcnn.models import Model
from fastcnn.optimizers import Adam


def values(model, *layers, size=64):
    """Outputs of some layers for one image of random numbers."""
    x = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    wanted = [model.get_layer(layer).output for layer in layers]
    return Model(model.inputs, wanted).predict(x, verbose=0)


@pytest.mark.parametrize(("groups", "maps"), [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)])
def test_maps_of_the_stages(groups, maps):
    model = applications.ShuffleNet(groups=groups)
    last = ("stage2.3.relu", "stage3.7.relu", "stage4.3.relu")
    shapes = [model.get_layer(name).output_shape for name in last]
    expected = [(None, side, side, maps * n) for side, n in ((28, 1), (14, 2), (7, 4))]
    assert shapes == expected


def test_only_the_first_convolution_has_no_groups():
    model = applications.ShuffleNet(groups=4)
    grouped = {layer.name: layer.groups for layer in model.layers if hasattr(layer, "groups")}
    ones = {name for name, groups in grouped.items() if groups == 1}
    assert ones == {"conv1.0", "stage2.0.branch2.0"}
    assert set(grouped.values()) == {1, 4}


@pytest.mark.parametrize(("groups", "shuffles"), [(1, 0), (2, 16)])
def test_one_group_needs_no_shuffle(groups, shuffles):
    layers = applications.ShuffleNet(groups=groups).layers
    assert sum(type(layer) is ChannelShuffle for layer in layers) == shuffles


def test_a_unit_with_stride_keeps_the_pooled_maps():
    model = applications.ShuffleNet(input_shape=(64, 64, 3))
    pool = model.get_layer("stage2.0.branch1")
    assert type(pool) is AveragePooling2D
    stem, pooled, out = values(model, "maxpool", "stage2.0.branch1", "stage2.0.relu")
    np.testing.assert_array_equal(out[..., :24], pooled)
    np.testing.assert_allclose(pooled[0, 3, 3], stem[0, 5:8, 5:8].mean((0, 1)), rtol=1e-5)
    # Zeros around the image count.
    np.testing.assert_allclose(pooled[0, 0, 0], stem[0, :2, :2].sum((0, 1)) / 9, rtol=1e-5)


def test_half_of_the_maps_pass_a_unit_of_v2():
    model = applications.ShuffleNetV2(input_shape=(64, 64, 3))
    before, after, new = values(model, "stage2.0.shuffle", "stage2.1.shuffle", "stage2.1.branch2.7")
    np.testing.assert_array_equal(after[..., 0::2], before[..., :58])
    np.testing.assert_array_equal(after[..., 1::2], new)


@pytest.mark.parametrize("name", ["ShuffleNet", "ShuffleNetV2"])
def test_sizes(name):
    network = applications.BY_NAME[name]
    assert network(input_shape=(1, 1, 3)).outputs[0].shape == (None, 1000)
    assert network(include_top=False, input_shape=(65, 40, 1)).outputs[0].shape[:3] == (None, 3, 2)
    model = network(include_top=False, pooling="avg")
    for size in (32, 47):
        x = np.zeros((2, size, size, 3), np.float32)
        assert model.predict(x, verbose=0).shape == (2, *model.outputs[0].shape[1:])


@pytest.mark.parametrize(("name", "scale"), [("ShuffleNet", 0.25), ("ShuffleNetV2", 0.5)])
def test_learns_and_is_saved(name, scale, tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.random((4, 64, 64, 3), np.float32), np.arange(4)
    model = applications.BY_NAME[name](scale=scale, input_shape=(64, 64, 3), classes=4)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy")
    losses = [model.train_on_batch(x, y)]
    while losses[-1] > losses[0] / 10 and len(losses) < 60:
        losses.append(model.train_on_batch(x, y))
    assert losses[-1] <= losses[0] / 10
    model.save(tmp_path / "model.fastcnn")
    again = models.load_model(tmp_path / "model.fastcnn")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ShuffleNet", {"groups": 5}, "found groups=5"),
        ("ShuffleNet", {"scale": -1}, "scale=-1, expected a number above 0"),
        (
            "ShuffleNet",
            {"groups": 8, "scale": 0.5},
            "192 / 4 to be multiples of groups=8",
        ),
        ("ShuffleNetV2", {"scale": 0.75}, "found scale=0.75"),
        ("ShuffleNet", {"scale": 0.01}, "a stem of 0 maps"),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        applications.BY_NAME[name](**arguments)
