# SPDX-License-Identifier: Apache-2.0
"""Explanations: by definition, by hand, by identities, on a trained network, and refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import explain, layers, ops
from fastcnn.autodiff import evaluate, gradients
from fastcnn.cli import main, parser
from fastcnn.errors import ArgumentError, DtypeError, FileError, ShapeError, UnsupportedError
from fastcnn.explain.cascade import rank_correlation
from fastcnn.explain.plans import Activations, Backward, Scores, plan_of
from fastcnn.explain.rules import Deconvnet, Gradient
from fastcnn.graph import Spec, placeholder
from fastcnn.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastcnn.models.lowering import lower

Array = np.ndarray[Any, Any]


def digits_net(size: int = 32) -> fastcnn.Model:
    """LeNet with rectifiers and maxima."""
    return fastcnn.Sequential(
        [
            fastcnn.Input((size, size, 1)),
            Conv2D(8, 5, activation="relu", name="c1"),
            MaxPooling2D(2, name="p1"),
            Conv2D(16, 5, activation="relu", name="c2"),
            MaxPooling2D(2, name="p2"),
            Flatten(),
            Dense(64, activation="relu", name="f1"),
            Dense(10, activation="softmax", name="out"),
        ]
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Held-out digits."""
    _, test = fastcnn.datasets.digits.load_data(image_size=32)
    return test


@pytest.fixture(scope="module")
def trained() -> fastcnn.Model:
    """A LeNet that reads digits."""
    fastcnn.set_random_seed(1)
    (x, y), _ = fastcnn.datasets.digits.load_data(image_size=32)
    model = digits_net()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=6, verbose=0)
    return model


def small(float64: bool = False, activation: Any = "softmax") -> fastcnn.Model:
    """A network of a few weights, with a branch, a batch norm and a rectifier used twice."""
    with floats("float64" if float64 else "float32"):
        relu = layers.ReLU(name="relu")
        image = fastcnn.Input((8, 8, 3))
        x = Conv2D(4, 3, padding="same", name="a")(image)
        x = relu(layers.BatchNormalization(name="bn")(x))
        x = MaxPooling2D(2, name="pool")(x)
        y = relu(Conv2D(4, 3, strides=2, padding="same", name="b")(x))
        z = Conv2D(4, 1, strides=2, name="short")(x)
        x = layers.Add(name="sum")([y, z])
        x = Dense(5, activation=activation, name="out")(Flatten()(x))
        return fastcnn.Model(image, x)


@contextmanager
def floats(dtype: str) -> Iterator[None]:
    """New layers are of this type."""
    fastcnn.config.set_floatx(dtype)
    try:
        yield
    finally:
        fastcnn.config.set_floatx("float32")


def images(n: int = 3, size: int = 8, channels: int = 3, dtype: str = "float32") -> Array:
    return np.random.default_rng(n).standard_normal((n, size, size, channels)).astype(dtype)


def settle(model: fastcnn.Model) -> fastcnn.Model:
    """Weights and statistics that are no special numbers."""
    random = np.random.default_rng(5)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(random.uniform(0.5, 2, weight.shape))
        elif weight.value.ndim == 1:
            weight.assign(random.normal(0.2, 0.3, weight.shape))
        else:
            fan_in = weight.size // weight.shape[-1]
            weight.assign(random.normal(0, np.sqrt(2 / fan_in), weight.shape))
    return model


# --- saliency ------------------------------------------------------------------------------------


def test_saliency_is_the_slope_of_the_logit() -> None:
    model = settle(small(float64=True))
    x = images(2, dtype="float64")
    target = np.array([3, 1])
    found = explain.saliency(model, x, target, None)
    assert found.shape == x.shape
    assert found.dtype == np.float64
    random = np.random.default_rng(0)
    for _ in range(5):
        way = random.standard_normal(x.shape)
        high, low = (explain.scores(model, x + s * 1e-6 * way) for s in (1, -1))
        slope = (high - low)[np.arange(2), target] / 2e-6
        np.testing.assert_allclose((found * way).sum(axis=(1, 2, 3)), slope, rtol=1e-6, atol=1e-8)


def test_logits_stand_before_softmax_and_sigmoid_at_the_end() -> None:
    x = images()
    for activation in ("softmax", "sigmoid", "log_softmax"):
        model = settle(small(activation=activation))
        linear = settle(small(activation=None))
        linear.set_weights(model.get_weights())
        logits = linear.predict_on_batch(x)
        np.testing.assert_allclose(explain.scores(model, x), logits, atol=1e-5)
        assert not np.allclose(explain.scores(model, x, logits=False), logits, atol=1e-2)
        np.testing.assert_allclose(
            explain.saliency(model, x, 2), explain.saliency(linear, x, 2), atol=1e-6
        )
        p = explain.saliency(model, x, 2, logits=False)
        assert not np.allclose(p, explain.saliency(model, x, 2), atol=1e-3)


def test_a_softmax_layer_of_its_own_is_left_out_too() -> None:
    base = settle(small(activation=None))
    model = fastcnn.Model(base.inputs, layers.Softmax()(base.outputs[0]))
    x = images()
    np.testing.assert_array_equal(explain.saliency(model, x, 1), explain.saliency(base, x, 1))


def test_one_target_for_all_or_one_for_each_or_the_highest_score() -> None:
    model = settle(small())
    x = images()
    each = explain.saliency(model, x, [4, 0, 2])
    for i, target in enumerate([4, 0, 2]):
        np.testing.assert_allclose(
            each[i], explain.saliency(model, x[i : i + 1], target)[0], atol=1e-6
        )
    best = explain.scores(model, x).argmax(axis=1)
    np.testing.assert_array_equal(explain.saliency(model, x), explain.saliency(model, x, best))
    weights = np.zeros((3, 5), np.float32)
    weights[:, 1], weights[:, 2] = 1, -1  # the difference of two classes
    difference = explain.saliency(model, x, weights, None)
    one, two = (explain.saliency(model, x, k, None) for k in (1, 2))
    np.testing.assert_allclose(difference, one - two, atol=1e-5)


def test_channels_are_reduced_by_the_largest_or_the_mean_or_not() -> None:
    model = settle(small())
    x = images()
    signed = explain.saliency(model, x, 1, None)
    assert signed.min() < 0
    np.testing.assert_array_equal(explain.saliency(model, x, 1, "max"), np.abs(signed).max(axis=-1))
    np.testing.assert_allclose(
        explain.saliency(model, x, 1, "mean"), np.abs(signed).mean(axis=-1), rtol=1e-6
    )


def test_scores_of_more_axes_take_positions() -> None:
    image = fastcnn.Input((6, 6, 2))
    model = fastcnn.Model(image, layers.Softmax()(Conv2D(3, 3, padding="same")(image)))
    x = images(2, 6, 2)
    found = explain.saliency(model, x, (2, 3, 1))
    assert (found[:, 1:4, 2:5] > 0).all()
    found[:, 1:4, 2:5] = 0
    assert not found.any()
    with pytest.raises(ArgumentError, match="none is the prediction"):
        explain.saliency(model, x)
    with pytest.raises(ArgumentError, match="a tuple of 3 positions"):
        explain.saliency(model, x, (2, 9, 1))


def test_models_never_run_as_in_training() -> None:
    image = fastcnn.Input((4, 4, 1))
    x = layers.Dropout(0.9)(layers.BatchNormalization()(image))
    model = fastcnn.Model(image, Dense(3)(Flatten()(x)))
    x = images(4, 4, 1)
    together = explain.saliency(model, x, 1, None)
    np.testing.assert_allclose(together[2], explain.saliency(model, x[2:3] + 5, 1, None)[0])


class Drawn(fastcnn.Model):
    """A model with a call of its own, which knows its input once it has seen one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.top = Conv2D(4, 3, activation="relu"), Dense(3, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.top(Flatten()(self.conv(x)))


def test_models_of_any_kind_are_explained(tmp_path: Path) -> None:
    x = images(2, 6, 2)
    model = Drawn()
    found = explain.saliency(model, x, 1)
    assert found.shape == (2, 6, 6)
    image = fastcnn.Input((6, 6, 2))
    nested = fastcnn.Model(image, model(image))
    np.testing.assert_allclose(explain.saliency(nested, x, 1), found, rtol=1e-5, atol=1e-7)
    flat = fastcnn.Sequential([fastcnn.Input((6, 6, 2)), Conv2D(4, 3, activation="relu")])
    flat.add(Flatten())
    flat.add(Dense(3, activation="softmax"))
    flat.set_weights(model.get_weights())
    flat.export(tmp_path / "net.onnx")
    again = fastcnn.onnx.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(explain.saliency(again, x, 1), found, rtol=1e-4, atol=1e-6)


def test_one_output_of_several_is_chosen() -> None:
    image = fastcnn.Input((4, 4, 1))
    flat = Flatten()(image)
    one, two = Dense(3, activation="softmax")(flat), Dense(2)(flat)
    model = fastcnn.Model(image, [one, two])
    x = images(2, 4, 1)
    expected = explain.saliency(fastcnn.Model(image, two), x, 1)
    np.testing.assert_array_equal(explain.saliency(model, x, 1, output=1), expected)
    with pytest.raises(ArgumentError, match="has 2 outputs"):
        explain.saliency(model, x, 1, output=2)


def test_refusals_say_what_would_do() -> None:
    model = small()
    x = images()
    for target, words in (
        (5, "a class from 0 to 4"),
        (-1, "a class from 0 to 4"),
        ([1, 2], "2 targets for 3 images"),
        ("dog", "a class from 0 to 4"),
        ((1, 2, 9), "a class from 0 to 4"),
    ):
        with pytest.raises(ArgumentError, match=words):
            explain.saliency(model, x, target)
    with pytest.raises(ShapeError, match=r"weights of scores of shape \(3, 4\)"):
        explain.saliency(model, x, np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="found shape"):
        explain.saliency(model, x[0], 1)
    with pytest.raises(DtypeError, match="found dtype uint8"):
        explain.saliency(model, np.zeros((1, 8, 8, 3), np.uint8), 1)
    with pytest.raises(ArgumentError, match="'max', 'mean', None"):
        explain.saliency(model, x, 1, "sum")
    with pytest.raises(ArgumentError, match=r"expected a fastcnn\.Model"):
        explain.saliency(Dense(3), x, 1)  # type: ignore[arg-type]
    a, b = fastcnn.Input((2,), name="a"), fastcnn.Input((2,), name="b")
    two = fastcnn.Model([a, b], layers.Add()([a, b]))
    with pytest.raises(ArgumentError, match="expected one"):
        explain.saliency(two, [np.zeros((1, 2))] * 2, 1)


# --- plans ---------------------------------------------------------------------------------------


def test_no_gradient_of_weights_is_computed() -> None:
    model = settle(small())
    plan = plan_of(model, Spec((2, 8, 8, 3)), Backward(way=Gradient(), best=True)).plan
    names = [call.op for call in plan.calls]
    assert not [n for n in names if "grad_kernel" in n or "batch_norm" in n]
    assert "relu_grad" in names
    assert "max_pool2d_grad" in names
    # Of dense layers: one product forward, one back.
    assert sum(n in ("matmul", "packed_conv2d") for n in names) <= 9


def test_plans_are_kept_until_the_model_is_another_one() -> None:
    model = fastcnn.Sequential([fastcnn.Input((6, 6, 1)), Conv2D(3, 3, name="c"), Flatten()])
    x = images(2, 6, 1)
    recipe = Backward(way=Gradient(), best=True)
    explain.saliency(model, x)
    kept = plan_of(model, Spec(x.shape), recipe)
    before = explain.saliency(model, x, 0)
    assert plan_of(model, Spec(x.shape), recipe) is kept
    model.layers[-2].kernel.assign(2 * model.layers[-2].kernel.value)
    np.testing.assert_allclose(explain.saliency(model, x, 0), 2 * before, rtol=1e-6)
    model.add(Dense(4))
    assert plan_of(model, Spec(x.shape), recipe) is not kept
    assert explain.scores(model, x).shape == (2, 4)
    assert explain.scores(copy.deepcopy(model), x).shape == (2, 4)


def test_an_exact_model_is_explained_exactly(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    layer = Conv2D(32, 3, padding="same")
    model = fastcnn.Sequential([fastcnn.Input((24, 24, 32)), layer, Flatten(), Dense(2)])
    recipe = Backward(way=Gradient(), best=True)

    def winograd() -> int:
        kernels = plan_of(model, Spec((1, 24, 24, 32)), recipe).plan.kernels
        return kernels.count("f32_winograd_conv2d")

    assert winograd() == 2  # forward and back
    model.exact = True
    assert winograd() == 0
    model.exact = False
    assert winograd() == 2


def test_cpu_and_reference_agree() -> None:
    single, double = settle(small()), settle(small(float64=True))
    double.set_weights(single.get_weights())
    x = images(2)
    for method in (
        explain.saliency,
        explain.guided_backprop,
        explain.deconvolution,
        explain.input_x_gradient,
        explain.lrp,
        explain.grad_cam,
        explain.grad_cam_plus_plus,
        explain.occlusion,
        explain.smooth_grad,
    ):
        keywords: dict[str, Any] = {"window": 3} if method is explain.occlusion else {}
        if method in (explain.grad_cam, explain.grad_cam_plus_plus):
            keywords = {"relu": False}
        one = method(single, x, 1, **keywords)
        two = method(double, x.astype(np.float64), 1, **keywords)
        assert np.abs(one - two).max() < 1e-4 * np.abs(two).max(), method.__name__


def test_rules_take_the_place_of_derivatives() -> None:
    x = placeholder((4,), "float64")
    y = ops.relu(ops.relu(x) - 1.0)
    (plain,) = gradients(y, [x])
    seen = []

    def doubled(node: Any, dy: Any) -> Any:
        seen.append(node)
        return (dy * 2.0,)

    (ruled,) = gradients(y, [x], rules={type(y.node.op): doubled})
    value = np.array([-1.0, 0.5, 2.0, 3.0])
    np.testing.assert_array_equal(evaluate([plain], {x: value})[0], [0, 0, 1, 1])
    np.testing.assert_array_equal(evaluate([ruled], {x: value})[0], [4, 4, 4, 4])
    assert len(seen) == 2


@given(data=st.data())
@settings(max_examples=25)
def test_any_network_has_the_gradient_of_its_references(data: Any) -> None:
    """Folded, turned and fused: the same numbers as op by op."""
    side, channels = data.draw(st.integers(5, 12)), data.draw(st.sampled_from([1, 3, 16, 20]))
    image = x = fastcnn.Input((side, side + 1, channels))
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["conv", "depthwise", "pool", "norm", "branch"]))
        padding = data.draw(st.sampled_from(["same", "valid"]))
        if min(x.shape[1:3]) < 4:
            padding = "same"
        size = data.draw(st.integers(1, 3))
        filters = data.draw(st.sampled_from([4, 16, 33]))
        if kind == "conv":
            strides = data.draw(st.integers(1, 3))
            x = Conv2D(filters, size, strides, padding, activation="tanh")(x)
        elif kind == "depthwise":
            x = layers.DepthwiseConv2D(size, padding=padding)(x)
        elif kind == "pool":
            x = layers.AveragePooling2D(size, data.draw(st.integers(1, 2)), padding)(x)
        elif kind == "norm":
            x = layers.BatchNormalization()(x)
        else:
            x = layers.Add()([Conv2D(filters, 3, padding="same")(x), Conv2D(filters, 1)(x)])
    model = settle(fastcnn.Model(image, Dense(3, activation="softmax")(Flatten()(x))))
    spec = Spec((2, side, side + 1, channels))
    lowered = lower(model, [spec], training=False)
    logits = lowered.outputs[0].node.inputs[0]
    dy = placeholder((2, 3))
    (dx,) = fastcnn.gradients(logits, [lowered.inputs[0]], dy)
    values = np.random.default_rng(1).standard_normal(spec.sizes).astype(np.float32)
    weights = np.array([[1, -2, 0.5], [0, 0, 3]], np.float32)

    def by_reference(op: Any, arrays: Any) -> Any:
        made = op.reference(*arrays)
        return made if isinstance(made, tuple) else (made,)

    (expected,) = evaluate([dx], {lowered.inputs[0]: values, dy: weights}, by_reference)
    found = explain.saliency(model, values, weights, None)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


# --- rectified ways back -------------------------------------------------------------------------


def test_guided_and_deconvnet_by_hand() -> None:
    with floats("float64"):
        model = fastcnn.Sequential(
            [
                fastcnn.Input((3,)),
                Dense(3, use_bias=False, activation="relu"),
                Dense(1, use_bias=False),
            ]
        )
    model.set_weights([np.eye(3), np.array([[1.0], [-2.0], [3.0]])])
    x = np.array([[1.0, 1.0, -1.0]])
    np.testing.assert_array_equal(explain.saliency(model, x, 0, None), [[1, -2, 0]])
    np.testing.assert_array_equal(explain.saliency(model, x, 0), [[1, 2, 0]])
    np.testing.assert_array_equal(explain.guided_backprop(model, x, 0), [[1, 0, 0]])
    np.testing.assert_array_equal(explain.deconvolution(model, x, 0), [[1, 0, 3]])


def test_shared_and_overwritten_rectifiers_are_like_any_others() -> None:
    """Captum and others refuse these, or go wrong: hooks belong to layers, rules to ops."""
    shared = layers.ReLU()
    image = fastcnn.Input((6, 6, 2))
    first, second = Conv2D(4, 3, name="one"), Conv2D(4, 3, name="two")
    top = Dense(3, name="top")

    def net(one: Any, two: Any) -> fastcnn.Model:
        return fastcnn.Model(image, top(Flatten()(two(second(one(first(image)))))))

    x = images(2, 6, 2)
    apart = settle(net(layers.ReLU(), layers.ReLU()))
    for method in (explain.guided_backprop, explain.deconvolution):
        expected = method(apart, x, 1)
        assert np.abs(expected).max() > 0
        for relu in (shared, ops.relu):  # one layer, or no layer at all
            np.testing.assert_array_equal(method(net(relu, relu), x, 1), expected)


def deconvnet_by_hand(model: fastcnn.Model, x: Array, channel: int, unpool: Any) -> Array:
    """Zeiler and Fergus, step by step, from c2 of the digits' network."""
    c1, c2 = model.get_layer("c1"), model.get_layer("c2")
    first = ops.relu(ops.conv2d(x, c1.kernel.value, c1.bias.value))
    pooled, switches = ops.max_pool2d(first, 2, return_indices=True)
    second = ops.relu(ops.conv2d(pooled, c2.kernel.value, c2.bias.value))
    seed = np.zeros_like(second)
    for n in range(len(x)):
        p, q = np.unravel_index(second[n, ..., channel].argmax(), second.shape[1:3])
        seed[n, p, q, channel] = second[n, p, q, channel]
    back = ops.conv2d_transpose(ops.relu(seed), c2.kernel.value)
    back = ops.relu(unpool(back, switches))
    return ops.conv2d_transpose(back, c1.kernel.value)


def test_the_deconvnet_unpools_by_its_switches(trained: fastcnn.Model, digits: Any) -> None:
    x = digits[0][:4]
    found = explain.deconvnet(trained, x, "c2", 3)
    expected = deconvnet_by_hand(trained, x, 3, lambda y, s: ops.max_unpool2d(y, s, 28))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Without the switches it is another picture: this test can fail.
    nearest = deconvnet_by_hand(
        trained, x, 3, lambda y, s: ops.resize(y, (28, 28), interpolation="nearest")
    )
    assert np.abs(found - nearest).max() > 0.1 * np.abs(expected).max()


def test_the_deconvnet_of_all_units_and_of_silent_channels(trained: Any, digits: Any) -> None:
    x = digits[0][:2]
    every = explain.deconvnet(trained, x, "c2", [3, 4], unit="all")
    strongest = explain.deconvnet(trained, x, "c2", [3, 4])
    assert (np.abs(every) > 0).sum() > (np.abs(strongest) > 0).sum()
    silent = copy.deepcopy(trained)
    silent.get_layer("c2").bias.assign(np.full(16, -100.0))
    assert not explain.deconvnet(silent, x, "c2", 3).any()
    with pytest.raises(ArgumentError, match="channel=16, expected one from 0 to 15"):
        explain.deconvnet(trained, x, "c2", 16)
    with pytest.raises(ArgumentError, match="'strongest' or 'all'"):
        explain.deconvnet(trained, x, "c2", 3, unit="one")
    with pytest.raises(ArgumentError, match="has no layer 'c9'"):
        explain.deconvnet(trained, x, "c9", 3)


# --- attributions --------------------------------------------------------------------------------


def test_integrated_gradients_are_complete(trained: fastcnn.Model, digits: Any) -> None:
    x, y = digits[0][:24], digits[1][:24]
    found, error = explain.integrated_gradients(trained, x, y, return_completeness=True)
    assert found.shape == x.shape
    assert error.shape == (24,)
    assert error.max() <= 0.01
    scores = explain.scores(trained, x), explain.scores(trained, np.zeros_like(x))
    rise = (scores[0] - scores[1])[np.arange(24), y]
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), rise, atol=0.011 * np.abs(rise).max())


def test_integrated_gradients_say_when_they_are_not_complete(trained: Any, digits: Any) -> None:
    x = digits[0][:8]
    _, error = explain.integrated_gradients(
        trained, x, steps=1, return_completeness=True, baseline=-3.0
    )
    assert error.max() > 0.01
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastcnn.explain.pixels.FIRST_STEPS", 1)
        patch.setattr("fastcnn.explain.pixels.LAST_STEPS", 1)
        with pytest.warns(UserWarning, match="with 1 steps the attributions miss"):
            explain.integrated_gradients(trained, x, baseline=-3.0)
    with pytest.raises(ShapeError, match="baseline of shape"):
        explain.integrated_gradients(trained, x, baseline=np.zeros(7))
    with pytest.raises(ArgumentError, match="steps=0"):
        explain.integrated_gradients(trained, x, steps=0)


def test_a_linear_model_has_one_answer() -> None:
    image = fastcnn.Input((4, 4, 2))
    model = fastcnn.Model(image, Dense(3, use_bias=False)(Flatten()(image)))
    x = images(2, 4, 2)
    expected = explain.input_x_gradient(model, x, 1)
    for method in (explain.lrp, explain.integrated_gradients):
        np.testing.assert_allclose(method(model, x, 1), expected, atol=1e-5)
    occluded = explain.occlusion(model, x, 1, window=1, strides=1)
    np.testing.assert_allclose(
        occluded, np.repeat(expected.sum(axis=-1, keepdims=True), 2, axis=-1), atol=1e-5
    )


def test_relevance_is_conserved_without_biases(trained: fastcnn.Model, digits: Any) -> None:
    model = copy.deepcopy(trained)
    for name in ("c1", "c2", "f1", "out"):
        bias = model.get_layer(name).bias
        bias.assign(np.zeros(bias.shape))
    x = digits[0][:8]
    found = explain.lrp(model, x, epsilon=1e-9)
    score = explain.scores(model, x).max(axis=1)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), score, rtol=1e-3)
    absorbed = explain.lrp(model, x, epsilon=10.0)
    assert (np.abs(absorbed.sum(axis=(1, 2, 3))) < 0.9 * score).all()


def test_relevance_goes_through_branches_norms_and_gates() -> None:
    image = fastcnn.Input((8, 8, 4))
    x = Conv2D(4, 3, padding="same", use_bias=False, activation="relu")(image)
    gate = Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Add()([layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)]), x])
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, 1, padding="same")(x)])
    x = layers.Dense(3, use_bias=False)(layers.GlobalMaxPooling2D()(x))
    model = fastcnn.Model(image, x)
    x = images(2, 8, 4)
    found = explain.lrp(model, x, 1)
    np.testing.assert_allclose(
        found.sum(axis=(1, 2, 3)), explain.scores(model, x)[:, 1], rtol=1e-3, atol=1e-4
    )


def test_ops_without_a_rule_of_relevance_are_named() -> None:
    image = fastcnn.Input((4,))
    model = fastcnn.Model(image, layers.LayerNormalization()(image))
    with pytest.raises(UnsupportedError, match=r"explain\.lrp: there is no rule for layer_norm"):
        explain.lrp(model, np.ones((1, 4)), 1)


def test_smooth_gradients_of_a_linear_model_are_its_gradient() -> None:
    image = fastcnn.Input((4, 4, 1))
    model = fastcnn.Model(image, Dense(3)(Flatten()(image)))
    x = images(2, 4, 1)
    gradient = explain.saliency(model, x, 1, None)
    smooth = explain.smooth_grad(model, x, 1, None, samples=3)
    np.testing.assert_allclose(smooth, gradient, rtol=1e-5)
    square = explain.smooth_grad(model, x, 1, None, samples=3, kind="smoothgrad_sq")
    np.testing.assert_allclose(square, gradient**2, rtol=1e-5)
    variance = explain.smooth_grad(model, x, 1, None, samples=3, kind="vargrad")
    np.testing.assert_allclose(variance, 0, atol=1e-6)
    with pytest.raises(ArgumentError, match="kind='mean'"):
        explain.smooth_grad(model, x, 1, kind="mean")


def test_smooth_gradients_repeat_with_their_seed(trained: fastcnn.Model, digits: Any) -> None:
    x = digits[0][:2]
    one, same, other = (explain.smooth_grad(trained, x, samples=4, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    nothing = explain.smooth_grad(trained, x, samples=2, noise=0.0)
    np.testing.assert_allclose(nothing, explain.saliency(trained, x), rtol=1e-5)


def test_occlusion_covers_every_pixel_and_refuses_gaps(trained: Any, digits: Any) -> None:
    x = digits[0][:2]
    found = explain.occlusion(trained, x, window=(9, 7), strides=(9, 5))
    assert found.shape == x.shape
    covered = x.copy()
    covered[:, :9, :5] = 0  # only the first window reaches its first columns
    covered[:, :9, 5:7] = 0
    best = explain.scores(trained, x).argmax(axis=1)
    fall = (explain.scores(trained, x) - explain.scores(trained, covered))[np.arange(2), best]
    np.testing.assert_allclose(found[:, 0, 0, 0], fall, atol=1e-5)
    np.testing.assert_array_equal(
        explain.occlusion(trained, x), explain.occlusion(trained, x, window=4, strides=2)
    )
    for window, strides in ((40, 1), (4, 5)):
        with pytest.raises(ArgumentError, match="so that every pixel is covered"):
            explain.occlusion(trained, x, window=window, strides=strides)


# --- layers --------------------------------------------------------------------------------------


def test_grad_cam_by_hand() -> None:
    model = settle(small())
    x = images()
    head = fastcnn.Model(model.inputs, model.get_layer("sum").output)
    maps = head.predict_on_batch(x)
    kernel = model.get_layer("out").kernel.value.reshape(*maps.shape[1:], 5)
    weights = kernel[..., 2].mean(axis=(0, 1))
    expected = (maps * weights).sum(axis=-1)
    found = explain.grad_cam(model, x, 2, "sum", resize=False, relu=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(explain.grad_cam(model, x, 2, resize=False, relu=False), found)
    big = explain.grad_cam(model, x, 2)
    assert big.shape == (3, 8, 8)
    assert big.min() >= 0
    gradient = kernel[..., 2]
    below = 2 * gradient**2 + maps.sum(axis=(1, 2), keepdims=True) * gradient**3
    alpha = gradient**2 / below
    plus = (maps * (alpha * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)).sum(axis=-1)
    found = explain.grad_cam_plus_plus(model, x, 2, resize=False, relu=False)
    np.testing.assert_allclose(found, plus, rtol=1e-3, atol=1e-5)
    guided = explain.guided_grad_cam(model, x, 2)
    np.testing.assert_allclose(guided, explain.guided_backprop(model, x, 2) * big[..., None])


def test_layers_are_found_by_name_path_or_themselves() -> None:
    inner = fastcnn.Sequential(
        [fastcnn.Input((8, 8, 3)), Conv2D(2, 3, name="conv"), layers.ReLU(name="relu")],
        name="block",
    )
    image = fastcnn.Input((8, 8, 3))
    x = Conv2D(2, 3, name="conv")(inner(image))
    model = fastcnn.Model(image, Dense(3)(Flatten()(x)))
    x = images(1)
    found = explain.grad_cam(model, x, 1, "block/relu")
    np.testing.assert_array_equal(explain.grad_cam(model, x, 1, inner.get_layer("relu")), found)
    with pytest.raises(ArgumentError, match="has no layer 'nothing'"):
        explain.grad_cam(model, x, 1, "nothing")
    with pytest.raises(ArgumentError, match=r"found layer=3\.5"):
        explain.grad_cam(model, x, 1, 3.5)
    assert explain.grad_cam(model, x, 1, "conv", resize=False).shape == (1, 4, 4)
    with pytest.raises(ArgumentError, match="larger than one pixel"):
        explain.grad_cam(fastcnn.Sequential([fastcnn.Input((4,)), Dense(3)]), np.ones((1, 4)), 1)


# --- what units look for -------------------------------------------------------------------------


def test_ascent_finds_an_image_of_the_class(trained: fastcnn.Model) -> None:
    image = explain.maximize_activation(trained, 3, steps=64)
    assert image.shape == (32, 32, 1)
    assert image.min() >= 0
    assert image.max() <= 1
    assert trained.predict_on_batch(image[None])[0, 3] > 0.99
    again = explain.maximize_activation(trained, 3, steps=64)
    np.testing.assert_array_equal(image, again)
    flat = np.full((32, 32, 1), 0.5, np.float32)
    excited = explain.maximize_activation(trained, layer="c2", channel=3, steps=8, start=flat)
    maps = fastcnn.Model(trained.inputs, trained.get_layer("c2").output)
    before, after = (maps.predict_on_batch(i[None])[..., 3].mean() for i in (flat, excited))
    assert after > before
    with pytest.raises(ArgumentError, match="either target, or layer and channel"):
        explain.maximize_activation(trained)
    with pytest.raises(ArgumentError, match="either target, or layer and channel"):
        explain.maximize_activation(trained, 3, "c2", 1)


def test_patches_are_where_the_channel_is_excited(trained: fastcnn.Model, digits: Any) -> None:
    x = digits[0][:50]
    maps = fastcnn.Model(trained.inputs, trained.get_layer("c2").output).predict_on_batch(x)
    found = explain.top_patches(trained, "c2", 5, x, 4, batch_size=16)
    strongest = maps[..., 5].max(axis=(1, 2))
    expected = np.argsort(-strongest, kind="stable")[:4]
    assert [p.image for p in found] == expected.tolist()
    for patch in found:
        assert patch.activation == pytest.approx(strongest[patch.image], rel=1e-5)
        assert patch.pixels.shape == (14, 14, 1)  # 5 + 1 + 2 * 4
        # Nothing outside of the box matters.
        blank = np.zeros_like(x[patch.image])
        blank[patch.box] = patch.pixels
        alone = fastcnn.Model(trained.inputs, trained.get_layer("c2").output)
        unit = alone.predict_on_batch(blank[None])[0][patch.unit][5]
        assert unit == pytest.approx(patch.activation, rel=1e-4)
    with pytest.raises(ArgumentError, match="channel=16, but layer 'c2' has 16"):
        explain.top_patches(trained, "c2", 16, x)
    with pytest.raises(ShapeError, match="expected maps"):
        explain.top_patches(trained, "f1", 1, x)


def test_filters_side_by_side(trained: fastcnn.Model) -> None:
    sheet = explain.filter_grid(trained)
    assert sheet.shape == (3 * 6 + 1, 3 * 6 + 1, 1)
    kernel = trained.get_layer("c1").kernel.value[:, :, 0, 1]
    np.testing.assert_allclose(sheet[1:6, 7:12, 0], 0.5 + kernel / (2 * np.abs(kernel).max()))
    assert explain.filter_grid(trained, "c2", limit=4).shape == (13, 13, 1)
    with pytest.raises(ArgumentError, match="has 0 convolutions called 'f1'"):
        explain.filter_grid(trained, "f1")


# --- trust ---------------------------------------------------------------------------------------


def placed(images: Array, generator: np.random.Generator, side: int = 48) -> Array:
    """Each image somewhere on an empty sheet."""
    size = images.shape[1]
    sheets = np.zeros((len(images), side, side, 1), np.float32)
    for sheet, image in zip(sheets, images, strict=True):
        row, column = generator.integers(0, side - size + 1, 2)
        sheet[row : row + size, column : column + size] = image
    return sheets


@pytest.fixture(scope="module")
def wandering() -> tuple[fastcnn.Model, Array, Array]:
    """A LeNet that reads digits wherever they lie, and held-out digits.

    Digits that fill the image all have their ink in the middle: there any map that is stronger in
    the middle points at the stroke, also at that of another digit.
    """
    generator = np.random.default_rng(0)
    (x, y), (x_test, y_test) = fastcnn.datasets.digits.load_data(image_size=24)
    x, y = np.concatenate([placed(x, generator) for _ in range(3)]), np.tile(y, 3)
    fastcnn.set_random_seed(0)
    model = digits_net(48)
    model.compile(fastcnn.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=5, verbose=0)
    return model, placed(x_test, generator), y_test


def test_maps_point_at_the_stroke_and_not_at_that_of_another_digit(wandering: Any) -> None:
    model, x, y = wandering
    assert (model.predict_on_batch(x).argmax(axis=1) == y).mean() > 0.8
    ink = x[..., 0] > 0.3
    assert 0.05 < ink.mean() < 0.15
    # Not SmoothGrad: its noise opens rectifiers on the empty paper.
    for method in (explain.saliency, explain.guided_backprop):
        maps = method(model, x, y, "max")
        ratio = maps[ink].mean() / maps[~ink].mean()
        other = np.roll(ink, 1, axis=0)
        assert ratio >= 3, method.__name__
        assert ratio >= 1.5 * maps[other].mean() / maps[~other].mean(), method.__name__


def test_maps_of_digits_anywhere_pass_the_randomization(wandering: Any) -> None:
    model, x, _ = wandering
    assert explain.check(model, x[:16]).trustworthy


def test_maps_of_a_trained_network_pass_the_randomization(trained: Any, digits: Any) -> None:
    x = digits[0][:16]
    for method in (explain.saliency, explain.integrated_gradients, explain.lrp):
        health = explain.check(trained, x, method=method)
        assert health.trustworthy, str(health)
        assert str(health) == "Nothing speaks against this map."
        assert list(health.similarity) == ["out", "f1", "c2", "c1"]
        assert max(health.similarity.values()) < 0.3


def test_edges_and_guided_backprop_fail_the_randomization(trained: Any, digits: Any) -> None:
    before = trained.get_weights()
    for method in (lambda model, x, target: np.abs(np.diff(x, axis=1)), explain.guided_backprop):
        health = explain.check(trained, digits[0][:16], method=method)
        assert [f.kind for f in health.findings] == ["randomization"]
        assert "shows little of what the network has learned" in str(health)
    for a, b in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_gradient_of_probabilities_is_told_from_one_of_logits(trained: Any, digits: Any) -> None:
    x = digits[0][:8]
    health = explain.check(trained, x, randomize=False, logits=False)
    assert [f.kind for f in health.findings] == ["softmax"]
    assert "gradient of a probability, not of a logit" in str(health)
    for channel in ("max", "mean", None):
        for logits in (True, False):
            maps = explain.saliency(trained, x, channel=channel, logits=logits)
            health = explain.check(trained, x, attributions=maps, randomize=False)
            assert health.trustworthy == logits
    halved = fastcnn.Model(trained.inputs, layers.Rescaling(1.0, 1e-9)(trained.outputs[0]))
    health = explain.check(halved, x, randomize=False)
    assert "no softmax at the end of the model can be left out" in str(health)


def test_dead_and_saturated_networks_are_named(trained: Any, digits: Any) -> None:
    x = digits[0][:3]
    model = copy.deepcopy(trained)
    bias = model.get_layer("c2").bias
    bias.assign(np.full(bias.shape, -1e3))
    health = explain.check(model, x, randomize=False)
    assert {f.kind for f in health.findings} == {"dead", "saturated"}
    assert "The map of images 0, 1, 2 is 0 everywhere" in str(health)
    assert "Layer 'c2': 100.0% or more of its units have a slope of 0" in str(health)
    assert health.shut["c2"] == 1.0
    maps = explain.saliency(trained, x)
    maps[1, 2, 3] = np.nan
    health = explain.check(trained, x, attributions=maps, randomize=False)
    assert "The map of image 1 holds NaN or infinity" in str(health)
    saturated = settle(small(activation="softmax"))
    tanh = fastcnn.Sequential(
        [fastcnn.Input((8,)), Dense(16, activation="tanh", name="squash"), Dense(2, name="top")]
    )
    tanh.layers[-2].kernel.assign(np.full((8, 16), 100.0))  # signs at random may cancel out
    health = explain.check(tanh, np.full((1, 8), 3.0) + np.arange(8), 1, randomize=False)
    assert {f.kind for f in health.findings} == {"dead", "saturated"}
    assert explain.check(saturated, images(), randomize=False).trustworthy


def test_incomplete_attributions_are_named(trained: Any, digits: Any) -> None:
    health = explain.check(
        trained,
        digits[0][:8],
        method=explain.integrated_gradients,
        randomize=False,
        steps=1,
        baseline=-3.0,
    )
    assert [f.kind for f in health.findings] == ["incomplete"]
    alone = explain.check(trained, digits[0][:8], attributions=np.ones((8, 32, 32)))
    assert not alone.similarity  # nobody knows how to make it again
    with pytest.raises(ShapeError, match="expected one for each"):
        explain.check(trained, digits[0][:8], attributions=np.zeros((3, 32, 32)))


def test_rank_correlation_is_spearmans() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(0.8944, abs=1e-4)
    assert rank_correlation(a, np.ones(4)) == 0


# --- Captum's names ------------------------------------------------------------------------------


def test_captums_names_are_the_same_functions(trained: fastcnn.Model, digits: Any) -> None:
    x, y = digits[0][:3], digits[1][:3]
    same = np.testing.assert_array_equal
    gradient = explain.saliency(trained, x, y, None)
    same(explain.Saliency(trained).attribute(x, target=y), np.abs(gradient))
    same(explain.Saliency(trained).attribute(x, target=y, abs=False), gradient)
    for name, function in (
        ("InputXGradient", explain.input_x_gradient),
        ("GuidedBackprop", explain.guided_backprop),
        ("Deconvolution", explain.deconvolution),
    ):
        same(getattr(explain, name)(trained).attribute(x, target=y), function(trained, x, y))
    same(explain.LRP(trained).attribute(x, target=y), explain.lrp(trained, x, y, epsilon=1e-9))
    same(
        explain.IntegratedGradients(trained).attribute(x, target=y, n_steps=7),
        explain.integrated_gradients(trained, x, y, steps=7),
    )
    cam = explain.LayerGradCam(trained, "c2").attribute(x, target=y)
    assert cam.shape == (3, 10, 10, 1)
    assert cam.min() < 0
    same(
        explain.GuidedGradCam(trained, "c2").attribute(x, target=y),
        explain.guided_grad_cam(trained, x, y, "c2"),
    )
    same(
        explain.Occlusion(trained).attribute(x, (8, 8, 1), strides=(4, 4, 1), target=y),
        explain.occlusion(trained, x, y, window=8, strides=4),
    )
    with pytest.raises(ArgumentError, match=r"expected \(height, width, 1\)"):
        explain.Occlusion(trained).attribute(x, (8, 8), target=y)
    tunnel = explain.NoiseTunnel(explain.Saliency(trained))
    noisy = tunnel.attribute(x, nt_samples=4, stdevs=0.1, target=y, abs=False)
    assert rank_correlation(noisy, gradient) > 0.8


# --- pictures and the command line ---------------------------------------------------------------


def test_maps_are_drawn_beside_and_over_images(tmp_path: Path) -> None:
    x = images(3)
    heat = np.abs(x).max(axis=-1)
    figure = explain.show(x, heat, tmp_path / "one.png", captions=["a", "b", "c"], title="Maps")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["image", "map", "over the image"]
    assert len(figure.axes) == 9
    several = {"heat": heat, "signed": x, "small": heat[:, ::2, ::2]}
    figure = explain.show(x, several, limit=2)
    assert len(figure.axes) == 8
    cmaps = [axes.images[0].get_cmap().name for axes in figure.axes[:4]]
    assert cmaps[1:] == ["inferno", "RdBu_r", "inferno"]
    figure = explain.show(x[0], x[0], style="colour")
    drawn = figure.axes[1].images[0].get_array()
    assert drawn.shape == (8, 8, 3)
    explain.show(x, np.zeros((3, 8, 8)))  # a dead map divides by nothing
    with pytest.raises(ShapeError, match="'map' of shape"):
        explain.show(x, heat[:2])
    with pytest.raises(ShapeError, match="one or three channels"):
        explain.show(np.zeros((3, 8, 8, 5)), heat)
    with pytest.raises(ArgumentError, match="2 captions for 3 images"):
        explain.show(x, heat, captions=["a", "b"])
    with pytest.raises(FileError, match="cannot write"):
        explain.show(x, heat, tmp_path / "map.nothing")


def test_the_command_writes_a_picture(
    trained: fastcnn.Model, digits: Any, tmp_path: Path, capsys: Any
) -> None:
    from PIL import Image

    model, picture = tmp_path / "digits.fastcnn", tmp_path / "digit.png"
    trained.save(model)
    Image.fromarray((digits[0][0, ..., 0] * 255).astype(np.uint8)).resize((50, 50)).save(picture)
    out = tmp_path / "out.png"
    words = ["explain", str(model), str(picture), "--out", str(out)]
    for method in ("saliency", "integrated-gradients", "grad-cam"):
        assert main([*words, "--method", method, "--check"]) == 0
        assert out.read_bytes().startswith(b"\x89PNG")
        out.unlink()
        printed = capsys.readouterr().out
        assert f"{method}: class {digits[1][0]}, score" in printed
        # Whether Grad-CAM's one map of 4x4 cells survives its ReLU hangs on how training rounded.
        verdicts = ["Nothing speaks against"] + ["0 everywhere"] * (method == "grad-cam")
        assert any(verdict in printed for verdict in verdicts)
    assert main([*words, "--target", "3", "--method", "grad-cam", "--layer", "c1"]) == 0
    assert "class 3" in capsys.readouterr().out
    for wrong, sentence in (
        (["--target", "10"], "expected a class from 0 to 9"),
        (["--layer", "c1"], "--layer belongs to"),
        (["--weights", "x"], "leave --weights out"),
        (["--method", "magic"], "invalid choice"),
    ):
        assert main([*words, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["explain", "nothing", str(picture)]) == 2
    assert "no file 'nothing' and no network" in capsys.readouterr().err
    assert main(["explain", str(model), str(model)]) == 2
    assert "cannot read the image" in capsys.readouterr().err


def test_the_python_and_the_commands_of_the_page_run(
    trained: fastcnn.Model, digits: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "explain.md").read_text()
    image = placeholder((2, 4))
    names = {"fastcnn": fastcnn, "model": trained, "x": digits[0][:16], "image": image}
    names["score"] = ops.sum(ops.relu(image))
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/explain.md", "exec"), names)
    assert (tmp_path / "saliency.png").is_file()
    assert "Nothing speaks against this map." in capsys.readouterr().out
    doubled = evaluate([names["dx"]], {image: np.ones((2, 4), np.float32)})[0]
    np.testing.assert_array_equal(doubled, np.full((2, 4), 2))
    for line in re.findall(r"^fastcnn (.*)$", page, re.MULTILINE):
        parser().parse_args(line.split())
    for name in re.findall(r"^\| (`.*?`) \| (.*?) \|", page, re.MULTILINE):
        for word in re.findall(r"`(\w+)`", " ".join(name)):
            assert hasattr(explain, word)


def test_a_built_in_network_prepares_images_its_own_way(tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    picture, out = tmp_path / "image.png", tmp_path / "out.png"
    Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)).save(picture)
    assert main(["explain", "resnet20", str(picture), "--out", str(out)]) == 0
    assert "random weights" in capsys.readouterr().out
    assert out.is_file()


def test_recipes_are_told_apart() -> None:
    ways = {Backward(way=w, best=b) for w in (Gradient(), Deconvnet()) for b in (True, False)}
    assert len({*ways, Scores(), Scores(logits=False), Activations(layer="a")}) == 7
