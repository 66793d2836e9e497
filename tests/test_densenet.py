# SPDX-License-Identifier: Apache-2.0
"""The densely connected networks: how layers are joined, sizes, variants, impossible arguments."""

import numpy as np
import pytest

from fastcnn import applications, models
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.models import Model
from fastcnn.optimizers import Adam


def small(**arguments):
    return applications.DenseNetCIFAR(depth=16, growth=4, input_shape=(8, 8, 3), **arguments)


def test_a_layer_keeps_the_maps_before_it():
    model = small()
    layer = "features.denseblock1.denselayer1"
    stem = model.get_layer("features.conv0").output
    joined = model.get_layer(f"{layer}.concat").output
    new = model.get_layer(f"{layer}.conv2").output
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    before, after, added = Model(model.inputs, [stem, joined, new]).predict(x, verbose=0)
    np.testing.assert_array_equal(after[..., :8], before)
    np.testing.assert_array_equal(after[..., 8:], added)


@pytest.mark.parametrize(
    ("bottleneck", "stem", "joined", "halved"),
    # Two layers with bottlenecks in 16, four without; growth 4.
    [(True, 8, 16, 8), (False, 16, 32, 32)],
)
def test_maps_of_a_block_and_its_transition(bottleneck, stem, joined, halved):
    model = small(bottleneck=bottleneck)
    last = 2 if bottleneck else 4
    block = "features.denseblock1.denselayer"
    assert model.get_layer("features.conv0").output_shape == (None, 8, 8, stem)
    assert model.get_layer(f"{block}{last}.concat").output_shape == (None, 8, 8, joined)
    assert model.get_layer("features.transition1.pool").output_shape == (None, 4, 4, halved)
    assert f"{block}{last + 1}.concat" not in {layer.name for layer in model.layers}


@pytest.mark.parametrize(("name", "maps"), [("DenseNet121", 1024), ("DenseNet161", 2208)])
def test_without_top(name, maps):
    network = applications.BY_NAME[name]
    assert network(include_top=False).outputs[0].shape == (None, None, None, maps)
    model = network(include_top=False, pooling="max", input_shape=(29, 60, 3))
    assert model.outputs[0].shape == (None, maps)


def test_keras_has_its_own_epsilon_and_momentum():
    ours, keras = (applications.DenseNet121(variant=v) for v in ("torchvision", "keras"))
    for model, epsilon, momentum in ((ours, 1e-5, 0.9), (keras, 1.001e-5, 0.99)):
        norms = [layer for layer in model.layers if ".norm" in layer.name and layer.weights]
        assert {(n.epsilon, n.momentum) for n in norms} == {(epsilon, momentum)}
    assert keras.state_dict().keys() == ours.state_dict().keys()


def test_dropout_only_where_it_is_asked_for():
    def drops(model):
        return [layer.name for layer in model.layers if layer.name.endswith(".drop")]

    assert not drops(small())
    assert len(drops(small(dropout=0.2))) == 3 * 2


def test_learns_and_is_saved(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.random((6, 8, 8, 3), np.float32), np.arange(6)
    model = small()
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
        ("DenseNet121", {"variant": "paper"}, "found variant='paper'"),
        ("DenseNet121", {"input_shape": (28, 64, 3)}, "integer of at least 29"),
        ("DenseNet121", {"dropout": 1.5}, "dropout=1.5"),
        ("DenseNetCIFAR", {"depth": 39}, r"found depth=39, expected 6 n \+ 4 with bottlenecks"),
        ("DenseNetCIFAR", {"depth": 4, "bottleneck": False}, r"expected 3 n \+ 4 without"),
        ("DenseNetCIFAR", {"growth": 0}, "growth=0"),
        ("DenseNetCIFAR", {"input_shape": (3, 8, 3)}, "integer of at least 4"),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        applications.BY_NAME[name](**arguments)


def test_weights_of_another_depth_change_nothing():
    model, other = small(), applications.DenseNetCIFAR(depth=22, growth=4)
    before = model.state_dict()
    with pytest.raises(ShapeError, match=r"unexpected .*denseblock1\.denselayer3"):
        model.load_state_dict(other.state_dict())
    assert all((before[n] == v).all() for n, v in model.state_dict().items())
