# SPDX-License-Identifier: Apache-2.0
"""The MobileNets: widths, shortcuts, the padding of both worlds, impossible arguments."""

import numpy as np
import pytest

from fastcnn import applications, models
from fastcnn.applications.blocks import scaled
from fastcnn.errors import ArgumentError
from fastcnn.layers import Add, DepthwiseConv2D
from fastcnn.optimizers import Adam

NETWORKS = ("MobileNet", "MobileNetV2")


@pytest.mark.parametrize(
    ("filters", "factor", "expected"),
    # 24 * 0.35 = 8.4; 96 * 0.35 = 33.6; 12 is half way; 10.8 down to 8 would lose a quarter.
    [(32, 1.0, 32), (24, 0.35, 8), (96, 0.35, 32), (12, 1.0, 16), (9, 1.2, 16), (8, 0.1, 8)],
)
def test_scaled_filters(filters, factor, expected):
    assert scaled(filters, factor) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "total"),
    # What keras.applications counts for these widths, with running statistics.
    [
        ("MobileNet", {"alpha": 0.25}, 475_544),
        ("MobileNet", {"alpha": 0.35}, 773_521),
        ("MobileNetV2", {"alpha": 0.35}, 1_691_208),
        ("MobileNetV2", {"alpha": 1.4}, 6_156_712),
    ],
)
def test_width(name, arguments, total):
    model = applications.BY_NAME[name](variant="keras", **arguments)
    assert model.count_params(buffers=True) == total


def test_shortcuts_only_where_shapes_agree():
    model = applications.MobileNetV2()
    joins = [layer.name for layer in model.layers if isinstance(layer, Add)]
    without = {1, 2, 4, 7, 11, 14, 17}  # the first block of each line of the table
    assert joins == [f"features.{i}.add" for i in range(1, 18) if i not in without]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_between_maps_is_depthwise(name):
    model = applications.BY_NAME[name]()
    wide = [layer.name for layer in model.layers if getattr(layer, "kernel_size", ()) == (3, 3)]
    depthwise = [layer.name for layer in model.layers if isinstance(layer, DepthwiseConv2D)]
    assert wide[1:] == depthwise
    assert len(depthwise) == {"MobileNet": 13, "MobileNetV2": 17}[name]


@pytest.mark.parametrize(
    ("name", "variant", "sides"),
    [
        # 67 -> 34 -> 17 -> 9 -> 5 -> 3; Keras' MobileNet loses the last row of an odd size.
        ("MobileNet", "timm", (3, 3)),
        ("MobileNet", "keras", (2, 2)),
        ("MobileNetV2", "torchvision", (3, 3)),
        ("MobileNetV2", "keras", (3, 3)),
    ],
)
def test_odd_sizes(name, variant, sides):
    network = applications.BY_NAME[name]
    model = network(variant=variant, include_top=False, input_shape=(67, 65, 3))
    assert model.outputs[0].shape[1:3] == sides


@pytest.mark.parametrize(
    ("name", "variant", "sum_of_first"),
    [
        ("MobileNet", "timm", 0),
        ("MobileNet", "keras", 9),
        ("MobileNetV2", "torchvision", 0),
        ("MobileNetV2", "keras", 9),
    ],
)
@pytest.mark.parametrize("layer", [0, 2])
def test_first_window_of_even_sizes(name, variant, sum_of_first, layer):
    """The first window covers rows 0 to 2 in Keras, -1 to 1 in PyTorch: only one sees row 2."""
    model = applications.BY_NAME[name](variant=variant, input_shape=(32, 32, 3))
    strided = [m for m in model.layers if getattr(m, "strides", 1) == (2, 2)][layer]
    strided.set_weights([np.ones_like(w) for w in strided.get_weights()])
    x = np.zeros((1, 32, 32, strided.input.shape[-1]), np.float32)
    x[:, 2, :, 0] = 3
    assert np.asarray(strided(x))[0, 0, 5, 0] == sum_of_first


@pytest.mark.parametrize("name", NETWORKS)
def test_learns_and_is_saved(name, tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.random((4, 32, 32, 3), np.float32), np.arange(4)
    model = applications.BY_NAME[name](alpha=0.25, input_shape=(32, 32, 3), classes=4, dropout=0)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy")
    losses = [model.train_on_batch(x, y)]
    while losses[-1] > losses[0] / 10 and len(losses) < 60:
        losses.append(model.train_on_batch(x, y))
    assert losses[-1] <= losses[0] / 10
    model.save(tmp_path / "model.fastcnn")
    again = models.load_model(tmp_path / "model.fastcnn")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0}, "alpha=0, expected a number above 0"),
        ({"variant": "paper"}, "found variant='paper'"),
        ({"dropout": -0.1}, "dropout=-0.1"),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        applications.BY_NAME[name](**arguments)


def test_smallest_images():
    assert applications.MobileNet(input_shape=(1, 1, 3)).outputs[0].shape == (None, 1000)
    assert applications.MobileNetV2(input_shape=(1, 1, 3)).outputs[0].shape == (None, 1000)
    keras = applications.MobileNet(variant="keras", input_shape=(31, 31, 3), include_top=False)
    assert keras.outputs[0].shape == (None, 1, 1, 1024)
    with pytest.raises(ArgumentError, match="integer of at least 31"):
        applications.MobileNet(variant="keras", input_shape=(30, 64, 3))
