# SPDX-License-Identifier: Apache-2.0
"""The blocks that networks share: sizes, weights and meaning of each shortcut and padding."""

import numpy as np
import pytest

from fastcnn.applications.blocks import (
    Conv,
    basic,
    bottleneck,
    receptive_field,
    residual,
    squeeze_excite,
    stages,
)
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.layers import Dense, GlobalAveragePooling2D, Input
from fastcnn.losses import SparseCategoricalCrossentropy
from fastcnn.models import Model
from fastcnn.optimizers import Adam
from fastcnn.random import set_random_seed

# name: (branch, receptive field, stride); all take 8 channels
BRANCHES = {
    "basic": (basic(8), 5, 1),
    "basic, strides": (basic(8, 2), 7, 2),
    "basic, more channels": (basic(12, 2), 7, 2),
    "bottleneck": (bottleneck(2), 3, 1),
    "bottleneck, strides": (bottleneck(2, 2), 3, 2),
    "bottleneck, early strides": (bottleneck(2, 2, early=True), 5, 2),
    "bottleneck, groups": (bottleneck(3, 2, width=8, groups=4), 3, 2),
}
SIZES = ((9, 12), (16, 15))


def images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def block(branch, *args, size=(16, 15), channels=8, **kwargs):
    image = Input((*size, channels))
    return Model(image, residual(image, branch, *args, name="block", **kwargs))


def shut_down(model):
    """Make the branch give zero, as training can."""
    last = max(n for n in model.named_weights() if n.startswith("block.bn") and "gamma" in n)
    model.named_weights()[last].assign(np.zeros(model.named_weights()[last].shape))
    return model


def out_size(size, padding, field, strides):
    """A filter of size `field` over `size` pixels."""
    return -(-(size if padding == "same" else size - field + 1) // strides)


@pytest.mark.parametrize(("branch", "field", "strides"), BRANCHES.values(), ids=BRANCHES)
def test_receptive_field(branch, field, strides):
    assert receptive_field(branch) == (field, strides)


@pytest.mark.parametrize("shortcut", ["identity", "projection", "auto"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("branch", "field", "strides"), BRANCHES.values(), ids=BRANCHES)
def test_every_shortcut_fits_every_branch(branch, field, strides, padding, shortcut):
    filters = branch[-1].filters
    for size in SIZES:
        model = block(branch, shortcut, padding, size=size)
        expected = tuple(out_size(d, padding, field, strides) for d in size)
        assert model.outputs[0].shape == (None, *expected, filters)
        assert model.predict(images(2, *size, 8), verbose=0).shape == (2, *expected, filters)


@pytest.mark.parametrize(("branch", "field", "strides"), BRANCHES.values(), ids=BRANCHES)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_weights_of_shortcuts(branch, field, strides, padding):
    def parameters(shortcut):
        return block(branch, shortcut, padding).count_params()

    filters = branch[-1].filters
    size = field if padding == "valid" else 1
    own = parameters("identity")
    projected = own + size * size * 8 * filters + 2 * filters
    assert parameters("projection") == projected
    keeps_shape = padding == "same" and strides == 1 and filters == 8
    assert parameters("auto") == (own if keeps_shape else projected)


def test_shut_down_block_is_the_identity():
    x = images(2, 16, 15, 8)
    for branch in (basic(8), bottleneck(2)):
        np.testing.assert_array_equal(shut_down(block(branch)).predict(x, verbose=0), x)
    negative = shut_down(block(basic(8))).predict(x - 0.5, verbose=0)
    np.testing.assert_array_equal(negative, np.maximum(x - 0.5, 0))


def test_shut_down_block_keeps_pixels_and_adds_zeros():
    x = images(2, 16, 15, 8)
    y = shut_down(block(basic(12, 2), "identity")).predict(x, verbose=0)
    np.testing.assert_array_equal(y[..., :8], x[:, ::2, ::2])
    assert not y[..., 8:].any()


def test_shut_down_block_without_padding_keeps_the_middle():
    x = images(2, 16, 15, 8)
    y = shut_down(block(basic(8), "identity", "valid")).predict(x, verbose=0)
    np.testing.assert_array_equal(y, x[:, 2:-2, 2:-2])
    # 7x7 in steps of 2: the first is centred on pixel 3, the last ends within 16 and 15 pixels
    y = shut_down(block(basic(8, 2), "identity", "valid")).predict(x, verbose=0)
    np.testing.assert_array_equal(y, x[:, 3:-3:2, 3:-3:2])


def test_sum_of_branch_and_shortcut():
    """The block is what its layers say, in inference."""
    model = block(basic(8))
    x = images(1, 16, 15, 8) - 0.5
    model.named_weights()["block.bn2.beta"].assign(np.full(8, 0.25))
    parts = {name: p.value for name, p in model.named_weights().items()}

    def conv(x, kernel):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("npqcrs,rsck->npqk", windows, kernel) / np.sqrt(1 + 1e-5)

    f = conv(np.maximum(conv(x, parts["block.conv1.kernel"]), 0), parts["block.conv2.kernel"])
    expected = np.maximum(f + 0.25 + x, 0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_blocks_learn(padding, shortcut):
    set_random_seed(0)
    image = Input((12, 12, 4))
    x = residual(image, basic(8), shortcut, padding, name="block1")
    x = residual(x, bottleneck(3, 2), shortcut, padding, name="block2")
    x = Dense(2)(GlobalAveragePooling2D()(x))
    model = Model(image, x)
    model.compile(Adam(0.02), SparseCategoricalCrossentropy(from_logits=True))
    x, y = images(8, 12, 12, 4), np.arange(8) % 2
    losses = [float(model.train_on_batch(x, y)) for _ in range(40)]
    assert min(losses) < 0.1 * losses[0]


def test_excite_acts_on_the_branch_alone():
    x = images(2, 16, 15, 8)
    model = block(basic(8), excite=lambda y: y * 0.0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), x)


def test_biases_and_size_of_the_projection():
    branch = bottleneck(4, 2)
    plain = block(branch)
    assert block(branch, use_bias=True).count_params() == plain.count_params() + 4 + 4 + 16 + 16
    larger = block(branch, projection_size=3)
    assert larger.count_params() == plain.count_params() + 8 * 8 * 16
    assert larger.outputs[0].shape == plain.outputs[0].shape


def test_squeeze_excite():
    image = Input((None, None, 32))
    model = Model(image, squeeze_excite(image, "se", ratio=8))
    assert model.count_params() == 32 * 4 + 4 + 4 * 32 + 32
    x = images(2, 5, 7, 32) - 0.5
    w = {name: p.value for name, p in model.named_weights().items()}
    hidden = np.maximum(x.mean(axis=(1, 2)) @ w["se.fc1.kernel"][0, 0] + w["se.fc1.bias"], 0)
    gates = 1 / (1 + np.exp(-(hidden @ w["se.fc2.kernel"][0, 0] + w["se.fc2.bias"])))
    np.testing.assert_allclose(
        model.predict(x, verbose=0), x * gates[:, None, None, :], rtol=1e-5, atol=1e-6
    )


def test_stages():
    drawn = []

    def draw(x, filters, strides, name):
        drawn.append((filters, strides, name))
        return x

    image = Input((4, 4, 1))
    assert stages(image, draw, (16, 32), (2, 1)) is image
    assert drawn == [(16, 1, "layer1.0"), (16, 1, "layer1.1"), (32, 2, "layer2.0")]
    drawn.clear()
    stages(image, draw, (8,), (1,), names="block{stage}.layer.{block}")
    assert drawn == [(8, 1, "block1.layer.0")]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"shortcut": "none"}, ArgumentError, r"block.*'none'.*'identity'"),
        ({"padding": "full"}, ArgumentError, r"block.*'full'.*'valid'"),
        ({"shortcut": "identity", "channels": 9}, ArgumentError, "9 channels to 8.*projection"),
        ({"padding": "valid", "size": (4, 9)}, ShapeError, r"block\.conv2"),
        (
            {"padding": "valid", "shortcut": "identity", "size": (None, None)},
            ShapeError,
            r"block\.crop.*known",
        ),
    ],
)
def test_impossible_blocks(arguments, error, words):
    with pytest.raises(error, match=words):
        block(basic(8), **arguments)


def test_a_branch_of_ones_own():
    model = block((Conv(6, 1), Conv(6, 5, 2, groups=3), Conv(10, 1)))
    assert model.outputs[0].shape == (None, 8, 8, 10)
    assert model.count_params() == (
        (8 * 6 + 12) + (25 * 2 * 6 + 12) + (6 * 10 + 20) + (8 * 10 + 20)
    )
