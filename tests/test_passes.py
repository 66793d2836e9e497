# SPDX-License-Identifier: Apache-2.0
"""Passes keep the outputs' values, and do what they are for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, gradients, layers, ops
from fastcnn.autodiff import evaluate
from fastcnn.backends.isas import default_isa
from fastcnn.errors import ArgumentError
from fastcnn.graph import Parameter, Spec, placeholder, topological
from fastcnn.models.lowering import lower
from fastcnn.ops._apply import apply
from fastcnn.ops.conv import Conv2DGradInput
from fastcnn.ops.norm_batch import BatchNormInference
from fastcnn.passes import (
    fold_batch_norm,
    forget_winners,
    fuse_convolutions,
    hoist,
    to_depthwise,
    turn_convolutions,
)
from fastcnn.plan import Plan

SPEC = [Spec((2, 8, 8, 3))]


def with_statistics(model: Model, seed: int) -> Model:
    """The model, its norms' statistics drawn at random."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.5, 2.0, weight.shape))
        elif "mean" in weight.name:
            weight.assign(rng.standard_normal(weight.shape))
    return model


def network(between: Any = None) -> Model:
    x = Input((8, 8, 3))
    y = layers.Conv2D(6, 3, use_bias=True, bias_initializer="random_normal")(x)
    if between is not None:
        y = between(y)
    y = layers.BatchNormalization(beta_initializer="random_normal")(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(layers.ReLU()(y))
    y = layers.BatchNormalization(gamma_initializer="random_uniform")(y)
    model = Model(x, y)
    return with_statistics(model, 0)


def values(inputs: Any, outputs: Any, x: Any) -> Any:
    return Plan(inputs, outputs).run(x)[0]


def names(outputs: Any) -> list[str]:
    return [node.op.name for node in topological(outputs)]


def test_folding_keeps_values_and_removes_the_norms() -> None:
    lowered = lower(network(), SPEC, training=False)
    folded = fold_batch_norm(lowered.outputs)
    assert names(lowered.outputs).count("batch_norm_inference") == 2
    assert names(folded).count("batch_norm_inference") == 0
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    np.testing.assert_allclose(
        values(lowered.inputs, folded, x),
        values(lowered.inputs, lowered.outputs, x),
        rtol=2e-4,
        atol=2e-5,
    )


def test_a_norm_after_something_else_is_kept() -> None:
    lowered = lower(network(layers.MaxPooling2D(2, 1)), SPEC, training=False)
    assert names(fold_batch_norm(lowered.outputs)).count("batch_norm_inference") == 1


def test_a_convolution_with_two_readers_is_not_folded() -> None:
    x = Input((8, 8, 3))
    y = layers.Conv2D(6, 3)(x)
    model = Model(x, layers.Add()([y, layers.BatchNormalization()(y)]))
    lowered = lower(model, SPEC, training=False)
    assert "batch_norm_inference" in names(fold_batch_norm(lowered.outputs))


def test_hoisting_leaves_only_what_depends_on_inputs() -> None:
    lowered = lower(network(), SPEC, training=False)
    folded = fold_batch_norm(lowered.outputs)
    cut: list[Any] = []

    def stand_in(tensor: Any) -> Any:
        cut.append((tensor, placeholder(tensor.shape, tensor.dtype)))
        return cut[-1][1]

    outputs = hoist(folded, stand_in)
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    fixed = Plan([], [tensor for tensor, _ in cut]).run()
    main = Plan([*lowered.inputs, *(leaf for _, leaf in cut)], outputs)
    np.testing.assert_array_equal(main.run(x, *fixed)[0], values(lowered.inputs, folded, x))
    assert "rsqrt" not in {call.op for call in main.calls}


def fused(outputs: Any) -> list[str]:
    return names(fuse_convolutions(fold_batch_norm(outputs)))


def test_convolutions_take_their_followers() -> None:
    image = Input((8, 8, 3))
    y = x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    y = layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    y = layers.ReLU(6)(layers.Add()([y, x]))
    y = layers.Dense(5, activation="relu")(layers.GlobalAveragePooling2D()(y))
    lowered = lower(Model(image, y), SPEC, training=False)
    found = fused(lowered.outputs)
    assert found.count("packed_conv2d") + found.count("winograd_conv2d") == 3
    assert not {"conv2d", "matmul", "relu", "relu6", "batch_norm_inference"} & set(found)
    assert found.count("add") == found.count("rsqrt")  # what is left prepares the weights


# (size of the input, taps, arguments): strides 1 to 3, filters smaller and larger than them, odd
# sizes, what is cut off, added and dilated.
TRANSPOSED: list[tuple[tuple[int, int], int, dict[str, Any]]] = [
    ((6, 7), 2, {"strides": 2}),
    ((5, 7), 3, {"strides": 2, "padding": "same"}),
    ((5, 4), 4, {"strides": 2, "padding": "same"}),
    ((7, 5), 3, {"strides": 2, "padding": "valid", "output_padding": 1}),
    ((3, 5), 5, {"strides": 2, "padding": "same", "output_padding": 0}),
    ((4, 3), 2, {"strides": 3, "padding": "valid"}),
    ((4, 3), 2, {"strides": (3, 1), "padding": "same"}),
    ((3, 4), 7, {"strides": 3, "padding": "same"}),
    ((5, 6), 1, {"strides": 2}),
    ((5, 6), 3, {"dilation_rate": 2}),
    ((9, 8), 3, {"padding": "same"}),
    ((9, 8), 3, {"padding": "valid"}),
    ((9, 8), 1, {}),
]


def transposed(size: tuple[int, int], taps: int, given: dict[str, Any], end: Any) -> Model:
    """A transposed convolution, its norm, and `end`."""
    image = Input((*size, 20))
    y = layers.Conv2DTranspose(18, taps, bias_initializer="random_normal", **given)(image)
    y = layers.BatchNormalization(beta_initializer="random_normal")(y)
    model = Model(image, end(y))
    return with_statistics(model, taps)


@pytest.mark.parametrize(
    "end",
    [lambda y: y, layers.ReLU(), layers.ReLU(6), lambda y: ops.clip(y, -0.3, 0.4)],
    ids=["plain", "relu", "relu6", "clip"],
)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed_convolutions_take_their_followers(case: Any, exact: bool, end: Any) -> None:
    size, taps, given = case
    model = transposed(size, taps, given, end)
    model.exact = exact
    x = np.random.default_rng(1).standard_normal((2, *size, 20)).astype(np.float32)
    (kernel,) = model.plan(x.shape).kernels
    plain = given.get("strides", 1) == 1
    winograd = plain and taps == 3 and "dilation_rate" not in given and not exact
    assert kernel == (
        "f32_winograd_conv2d"
        if winograd
        else "f32_packed_conv2d"
        if plain
        else "f32_packed_conv2d_grad_input"
    )
    lowered = lower(model, [Spec(x.shape)], training=False)
    expected = Plan(lowered.inputs, lowered.outputs, backend="reference").run(x)[0]
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=2e-5, atol=2e-5)


def test_transposed_convolutions_add_what_came_before_them() -> None:
    """In a decoder: to the sum a skip connection is given, to the join nothing is copied."""
    image = Input((6, 5, 20))
    skip = layers.Conv2D(36, 1)(layers.UpSampling2D(2)(image))
    up = layers.Conv2DTranspose(36, 3, 2, "same")(image)
    summed = layers.ReLU()(layers.Add()([skip, up]))
    joined = layers.Concatenate()([layers.Conv2DTranspose(24, 2, 2)(image), summed])
    model = Model(image, layers.Conv2D(7, 3)(joined))
    x = np.random.default_rng(1).standard_normal((1, 6, 5, 20)).astype(np.float32)
    kernels = model.plan(x.shape).kernels
    assert kernels.count("f32_packed_conv2d_grad_input") == 2
    assert not [k for k in kernels if k in ("f32_add", "f32_relu", "f32_concat")]
    lowered = lower(model, [Spec(x.shape)], training=False)
    expected = Plan(lowered.inputs, lowered.outputs, backend="reference").run(x)[0]
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=2e-5, atol=2e-5)


def test_transposed_convolutions_in_groups_are_folded_and_fused() -> None:
    """As ONNX has them; groups whose channels fill vectors keep their own kernel."""
    random = np.random.default_rng(5)

    def weight(*shape: int) -> Parameter:
        return Parameter("w", random.uniform(0.5, 2.0, shape).astype(np.float32))

    for strides, channels, taken in (((2, 2), 4, True), ((1, 1), 5, True), ((1, 1), 4, False)):
        x, width = placeholder((1, 7, 6, 3 * channels)), 3 * channels
        op = Conv2DGradInput(
            input_size=(7 * strides[0], 6 * strides[1]),
            strides=strides,
            padding=("same", "same"),
            groups=3,
        )
        y = apply(op, x, weight(3, 3, channels, width).tensor)
        y = ops.add(y, weight(width).tensor)
        norm = [weight(width).tensor for _ in range(4)]
        y = ops.relu(apply(BatchNormInference(1e-3), y, *norm))
        found = fuse_convolutions(fold_batch_norm([y]))
        assert ("packed_conv2d_grad_input" in names(found)) == taken
        assert ("relu" in names(found)) != taken
        assert "batch_norm_inference" not in names(found)
        given = random.standard_normal(x.spec.sizes).astype(np.float32)
        expected = Plan([x], [y], backend="reference").run(given)[0]
        np.testing.assert_allclose(values([x], found, given), expected, rtol=2e-5, atol=1e-4)


def in_groups(filters: int, groups: int, **rest: Any) -> Any:
    """A convolution with bias and ReLU between the image's 16 channels and a product."""
    image = Input((9, 11, 16))
    given = {"padding": "same", "activation": "relu", "bias_initializer": "random_normal", **rest}
    y = layers.Conv2D(filters, 3, groups=groups, **given)(image)
    return Model(image, layers.Conv2D(5, 3)(y))


@pytest.mark.parametrize(
    "geometry", [{}, {"strides": (2, 1)}, {"dilation_rate": 2}], ids=["plain", "strides", "dilated"]
)
def test_a_group_for_every_channel_makes_a_depthwise_convolution(geometry: Any) -> None:
    model = in_groups(16, 16, **geometry)
    spec = Spec((2, 9, 11, 16))
    found = model.inference_plan([spec]).plan
    assert found.kernels == ("f32_fused_depthwise_conv2d", "f32_packed_conv2d")
    lowered = lower(model, [spec], training=False)
    x = np.random.default_rng(2).standard_normal(spec.sizes).astype(np.float32)
    plain = Plan(lowered.inputs, lowered.outputs, backend="reference").run(x)[0]
    np.testing.assert_allclose(model.predict(x), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("filters", "groups"), [(32, 16), (16, 4), (16, 1)])
def test_other_groups_are_no_depthwise_convolution(filters: int, groups: int) -> None:
    lowered = lower(in_groups(filters, groups), [Spec((2, 9, 11, 16))], training=False)
    assert to_depthwise(lowered.outputs) == lowered.outputs


def test_gradients_of_a_group_for_every_channel_are_depthwise_ones() -> None:
    random = np.random.default_rng(6)
    x = placeholder((2, 7, 9, 5), "float64")
    kernel = Parameter("w", random.standard_normal((3, 3, 1, 5)))
    y = ops.conv2d(x, kernel, strides=(1, 2), padding="same", groups=5)
    dy = placeholder(y.spec.sizes, "float64")
    plain = [y, *gradients(y, [x, kernel], dy)]
    found = to_depthwise(plain)
    assert not {name for name in names(found) if name.startswith("conv2d")}
    assert [t.shape for t in found] == [t.shape for t in plain]
    feed = {t: random.standard_normal(t.spec.sizes) for t in (x, dy)}
    for one, other in zip(evaluate(found, feed), evaluate(plain, feed), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_what_others_read_stays() -> None:
    image = Input((8, 8, 3))
    y = layers.Conv2D(16, 3)(image)
    model = Model(image, [y, layers.ReLU()(y)])
    found = fused(lower(model, SPEC, training=False).outputs)
    assert found.count("packed_conv2d") == 1
    assert found.count("relu") == 1


def test_a_sum_of_two_convolutions_goes_to_the_later_one() -> None:
    image = Input((9, 9, 4))
    y = layers.Add()([layers.Conv2D(7, 1)(image), layers.Conv2D(7, 3, padding=1)(image)])
    model = Model(image, layers.ReLU()(y))
    lowered = lower(model, [Spec((2, 9, 9, 4))], training=False)
    assert fused(lowered.outputs).count("add") == 0
    x = np.random.default_rng(1).standard_normal((2, 9, 9, 4)).astype(np.float32)
    plain = values(lowered.inputs, lowered.outputs, x)
    np.testing.assert_allclose(model.predict_on_batch(x), plain, rtol=1e-5, atol=1e-5)


def test_filters_that_are_computed_from_inputs_are_left() -> None:
    x, w = placeholder((1, 5, 5, 2)), placeholder((3, 3, 2, 4))
    assert names(fuse_convolutions([ops.relu(ops.conv2d(x, w))]))[-2:] == ["conv2d", "relu"]


def test_winograd_is_for_large_planes_and_can_be_forbidden(monkeypatch: Any) -> None:
    def chosen(size: int, channels: int, taps: int = 3) -> str:
        image = Input((size, size, channels))
        model = Model(image, layers.Conv2D(channels, taps, padding="same")(image))
        lowered = lower(model, [Spec((1, size, size, channels))], training=False)
        return fused(lowered.outputs)[-1]

    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    assert chosen(56, 64) == "winograd_conv2d"
    assert chosen(56, 8) == "packed_conv2d"
    assert chosen(3, 64) == "packed_conv2d"
    assert chosen(28, 32, taps=5) == "winograd_conv2d"
    assert chosen(28, 8, taps=5) == "packed_conv2d"
    assert chosen(28, 32, taps=7) == "packed_conv2d"
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    assert chosen(56, 64) == chosen(28, 32, taps=5) == "packed_conv2d"


def test_five_taps_in_training_are_summed_directly(monkeypatch: Any) -> None:
    """Filters change with every step, and no kernel transforms 5x5 at a step's speed."""
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    image = Input((20, 20, 32))
    y = layers.Conv2D(32, 5, padding="same", activation="relu")(image)
    model = Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 20, 20, 32)).astype(np.float32)
    assert "f32_winograd_conv2d" in model.plan(x.shape).kernels
    before = model.predict_on_batch(x)
    model.compile("sgd", "mse")
    loss = model.train_on_batch(x, before + 1)
    np.testing.assert_allclose(loss, 1.0, rtol=1e-5)


def test_forbidding_winograd_changes_the_next_predict(monkeypatch: Any) -> None:
    image = Input((56, 56, 64))
    model = Model(image, layers.Conv2D(64, 3, padding="same")(image))
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    assert "f32_winograd_conv2d" in model.plan((1, 56, 56, 64)).kernels
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    assert "f32_winograd_conv2d" not in model.plan((1, 56, 56, 64)).kernels


def winograd_shaped() -> tuple[Model, Any]:
    """A model whose convolution is Winograd's unless forbidden, and an input."""
    image = Input((24, 24, 64))
    model = Model(image, layers.Conv2D(64, 3, padding="same")(image))
    return model, np.random.default_rng(3).standard_normal((1, 24, 24, 64)).astype(np.float32)


def test_an_exact_model_has_no_winograd_and_can_be_used_both_ways(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    model, x = winograd_shaped()
    fast = model.predict_on_batch(x)
    model.exact = True
    assert model.plan(x.shape).kernels == ("f32_packed_conv2d",)
    exact = model.predict_on_batch(x)
    kernel, bias = (w.numpy().astype(np.float64) for w in model.weights)
    wide = x.astype(np.float64)
    truth = ops.conv2d(wide, kernel, bias, padding="same")
    # What a direct sum of so many products in float32 cannot exceed, in whatever order.
    bound = 9 * 64 * 2**-24 * ops.conv2d(np.abs(wide), np.abs(kernel), padding="same")
    assert np.all(np.abs(exact - truth) <= bound)
    assert np.abs(exact - truth).max() < np.abs(fast - truth).max()
    model.exact = False
    assert model.plan(x.shape).kernels == ("f32_winograd_conv2d",)
    np.testing.assert_array_equal(model.predict_on_batch(x), fast)
    assert len(model._plans._plans) == 2


def test_the_environment_forbids_winograd_for_models_that_do_not(monkeypatch: Any) -> None:
    model, x = winograd_shaped()
    model.exact = False
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    assert model.plan(x.shape).kernels == ("f32_packed_conv2d",)


def test_compile_says_exact_or_leaves_it_as_it_is() -> None:
    model, _ = winograd_shaped()
    model.compile(loss="mse", exact=True)
    assert model.exact is True
    model.compile(loss="mse")
    assert model.exact is True
    model.compile(loss="mse", exact=False)
    assert model.exact is False
    with pytest.raises(ArgumentError, match="exact='yes'"):
        model.compile(loss="mse", exact="yes")


def test_of_nested_models_the_outermost_says_exact(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    inner, x = winograd_shaped()
    image = Input(x.shape[1:])
    outer = Model(image, inner(image))
    inner.exact = True
    assert outer.plan(x.shape).kernels == ("f32_winograd_conv2d",)
    outer.exact = True
    assert outer.plan(x.shape).kernels == ("f32_packed_conv2d",)


def test_plans_share_derived_weights() -> None:
    model = network()
    rng = np.random.default_rng(1)
    small, large = (rng.standard_normal((n, 8, 8, 3)).astype(np.float32) for n in (2, 3))
    model.predict_on_batch(small)
    derived = model._plans.shared(("cpu", default_isa()), dict)
    before = list(derived._parameters)
    assert before
    model.predict_on_batch(large)
    assert list(derived._parameters) == before


def test_predict_sees_new_weights() -> None:
    model = network()
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    before = model.predict_on_batch(x)
    model.set_weights([w * 0.5 for w in model.get_weights()])
    after = model.predict_on_batch(x)
    assert not np.allclose(before, after)
    fresh = network()
    fresh.set_weights(model.get_weights())
    np.testing.assert_array_equal(fresh.predict_on_batch(x), after)


def preactivated(stride: int, second_reader: bool) -> Model:
    """A normalization, a ReLU and a 1x1 convolution, in DenseNet's order."""
    x = Input((8, 8, 3))
    y = layers.BatchNormalization(gamma_initializer="random_uniform")(x)
    y = before = layers.ReLU()(y)
    y = layers.Conv2D(6, 1, strides=stride, activation="relu")(y)
    model = Model(x, [y, before] if second_reader else y)
    for weight in model.weights:
        if "mean" in weight.name or "variance" in weight.name:
            weight.assign(np.random.default_rng(2).uniform(0.5, 2.0, weight.shape))
    return model


def test_a_normalization_goes_into_the_one_convolution_that_reads_it() -> None:
    x = np.random.default_rng(1).standard_normal(SPEC[0].sizes).astype(np.float32)
    for stride, second_reader, goes in ((1, False, True), (2, False, False), (1, True, False)):
        lowered = lower(preactivated(stride, second_reader), SPEC, training=False)
        fused = fuse_convolutions(lowered.outputs)
        assert ("preactivated_conv2d" in names(fused)) == goes
        assert ("batch_norm_inference" in names(fused)) == (not goes)
        np.testing.assert_allclose(
            values(lowered.inputs, fused, x),
            values(lowered.inputs, lowered.outputs, x),
            rtol=1e-5,
            atol=1e-5,
        )


def test_winners_are_forgotten_unless_somebody_asks() -> None:
    x = placeholder((1, 6, 6, 2), name="x")
    y, winners = ops.max_pool2d(x, 2, return_indices=True)
    assert names(forget_winners([y])) == ["placeholder", "max_pool2d_values"]
    assert "max_pool2d" in names(forget_winners([y, winners]))
    array = np.random.default_rng(0).standard_normal((1, 6, 6, 2)).astype(np.float32)
    np.testing.assert_array_equal(values([x], forget_winners([y]), array), values([x], [y], array))


@pytest.mark.parametrize("size", [7, 12])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)], ids=str)
@pytest.mark.parametrize("taps", [1, 2, 3, 5])
def test_convolutions_are_turned_for_the_way_back(
    taps: int, strides: tuple[int, int], dilation: int, size: int
) -> None:
    random = np.random.default_rng(taps)
    # With a stride, channels that are mixed have their phases inside a kernel.
    plain = strides == (1, 1)
    conv, filters = (ops.conv2d, (16, 5)) if plain else (ops.depthwise_conv2d, (16, 1))
    left = conv.__name__ + "_grad_input"
    turned = 0
    for padding in ("valid", "same", "same_lower", ((1, 0), (0, 1)), 1):
        reach = (taps - 1) * dilation + 1
        if padding in ("valid", 1) and reach > size:
            continue
        x = placeholder((2, size, size + 3, 16), "float64")
        kernel = Parameter("w", random.standard_normal((taps, taps, *filters)))
        if padding != "same" and reach > size + 1:
            continue
        y = conv(x, kernel, strides=strides, padding=padding, dilation_rate=dilation)
        dy = placeholder(y.spec.sizes, "float64")
        (dx,) = gradients(y, [x], dy)
        (found,) = turn_convolutions([dx])
        turned += left not in names([found])
        feed = {dy: random.standard_normal(y.spec.sizes)}
        np.testing.assert_allclose(*(evaluate([t], feed)[0] for t in (found, dx)), atol=1e-12)
    assert turned


def test_depthwise_convolutions_are_turned_and_others_left() -> None:
    random = np.random.default_rng(0)

    def way_back(conv: Any, kernel: Any, channels: int, **geometry: Any) -> tuple[Any, Any]:
        x = placeholder((1, 9, 9, channels), "float64")
        y = conv(x, kernel, **geometry)
        dy = placeholder(y.spec.sizes, "float64")
        (dx,) = gradients(y, [x], dy)
        (found,) = turn_convolutions([dx])
        feed = {dy: random.standard_normal(y.spec.sizes)}
        if isinstance(kernel, Parameter):
            np.testing.assert_allclose(*(evaluate([t], feed)[0] for t in (found, dx)), atol=1e-12)
        return dx, found

    def filters(*shape: int) -> Parameter:
        return Parameter("w", random.standard_normal(shape))

    for strides in (1, 2):
        _, found = way_back(
            ops.depthwise_conv2d, filters(3, 3, 16, 1), 16, strides=strides, padding="same"
        )
        assert "depthwise_conv2d" in names([found])
        assert "depthwise_conv2d_grad_input" not in names([found])
    for conv, kernel, channels, given in (
        (ops.depthwise_conv2d, filters(3, 3, 16, 2), 16, {}),  # two filters a channel
        (ops.conv2d, filters(3, 3, 8, 4), 16, {"groups": 2}),
        (ops.conv2d, filters(3, 3, 16, 8), 16, {"strides": 2}),  # has a kernel with phases
        (ops.conv2d, filters(3, 3, 3, 8), 3, {}),  # few channels
        (ops.conv2d, filters(3, 3, 16, 8), 16, {"padding": 4}),  # would cut dy off
        (ops.conv2d, placeholder((3, 3, 16, 4), "float64"), 16, {}),  # not fixed
    ):
        dx, found = way_back(conv, kernel, channels, **given)
        assert found == dx
