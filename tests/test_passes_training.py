# SPDX-License-Identifier: Apache-2.0
"""A training step's passes: what is fused, what is left alone, and the weights that come out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, layers, losses, optimizers
from fastcnn.backends.calls import Call
from fastcnn.models.trainer import Trainer
from fastcnn.ops.norm_batch_fused import FusedBatchNormTrain

Array = np.ndarray[Any, Any]


def block(x: Any) -> Any:
    """A residual block with the shortcut in front of the last ReLU."""
    y = layers.Conv2D(64, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(64, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    return layers.ReLU()(layers.Add()([y, x]))


def network() -> Model:
    """Every road through the passes: strides, depthwise, groups, dilation, biases, plain sums."""
    image = Input((24, 24, 3))
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(image)
    y = block(y)
    y = layers.Conv2D(48, 3, strides=2, padding="same", use_bias=False)(y)
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, strides=2, padding="same")(y)
    y = layers.Conv2D(48, 1)(y)
    y = layers.BatchNormalization()(y)
    y = layers.Conv2D(48, 3, padding="same", groups=12, activation="relu")(y)
    y = layers.Conv2D(40, 3, padding="same", dilation_rate=2, activation="tanh")(y)
    y = layers.Conv2D(40, 1, strides=2)(y)
    return Model(image, layers.Dense(5)(layers.Flatten()(y)))


def compiled(build: Any, backend: str = "cpu") -> Model:
    fastcnn.set_random_seed(3)
    model = build()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.SGD(0.01, momentum=0.9), loss, backend=backend)
    return model


def batch(count: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(8)  # no ReLU's input lies where rounding decides
    x = rng.standard_normal((count, 24, 24, 3)).astype(np.float32)
    return x, rng.integers(0, 5, count).astype(np.int32)


def calls_of(model: Model) -> list[Call]:
    trainer: Trainer = model._trainer
    (step,) = trainer._plans._plans.values()
    calls: list[Call] = step.plan.calls
    return calls


def ops_of(model: Model) -> list[str]:
    return [call.op for call in calls_of(model)]


@pytest.mark.parametrize("exact", ["0", "1"])
def test_weights_are_those_of_the_plain_graph(exact: str, monkeypatch: Any) -> None:
    """The reference backend runs the graph as it was drawn."""
    monkeypatch.setenv("FASTCNN_EXACT", exact)
    ours, plain = compiled(network), compiled(network, "reference")
    for _ in range(2):
        found, expected = ours.train_on_batch(*batch()), plain.train_on_batch(*batch())
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for weight, reference in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, reference, rtol=1e-5, atol=2e-6)


def test_what_a_step_is_made_of(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    model = compiled(network)
    model.train_on_batch(*batch())
    found = ops_of(model)
    assert not {"conv2d", "depthwise_conv2d", "relu6", "relu6_grad"} & set(found)
    assert found.count("fused_batch_norm_train") + found.count("batch_norm_train") == 5
    assert found.count("fused_batch_norm_grad") == 3
    assert found.count("fused_batch_norm_sum_grad") == 1
    assert found.count("batch_norm_grad") == 1  # without an activation
    assert found.count("conv2d_grad_input") == 1  # of the groups: four channels in the lanes
    assert found.count("winograd_conv2d") == 2 + 2
    assert found.count("winograd_conv2d_grad_kernel") == 2
    assert found.count("conv2d_grad_kernel") == 6


def ops_of_a_right_step(build: Callable[[], Model]) -> list[str]:
    """A step's ops, after weights were seen to be those of the plain graph."""
    ours, plain = compiled(build), compiled(build, "reference")
    shape = (3, *ours.inputs[0].shape[1:])
    images = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    for model in (ours, plain):
        model.train_on_batch(images, np.arange(3, dtype=np.int32))
    for weight, reference in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, reference, rtol=1e-5, atol=2e-6)
    return ops_of(ours)


def test_gradients_of_branches_are_added_where_they_are_stored() -> None:
    def branches() -> Model:
        image = Input((12, 12, 3))
        x = layers.Conv2D(32, 3, activation="tanh")(image)
        parts = [layers.Conv2D(24, 1)(x), layers.Conv2D(16, 3, padding="same")(x)]
        parts.append(layers.Conv2D(16, 1, padding="same")(layers.AveragePooling2D(3, 1, "same")(x)))
        y = layers.Add()([layers.Conv2D(24, 1, strides=2)(x), layers.MaxPooling2D(2)(parts[0])])
        joined = layers.Concatenate()([*parts, layers.UpSampling2D(2)(y)])
        return Model(image, layers.Dense(5)(layers.Flatten()(joined)))

    found = ops_of_a_right_step(branches)
    # What is left: a sum of branches, the bias behind them, and what two poolings pass back.
    assert found.count("add") == 4


def test_norms_live_inside_the_joins_of_a_dense_block() -> None:
    def dense_block() -> Model:
        image = Input((10, 10, 3))
        x = layers.Conv2D(24, 1)(image)
        for _ in range(3):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            y = layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
            x = layers.Concatenate()([x, y])
        x = layers.ReLU()(layers.BatchNormalization()(x))
        return Model(image, layers.Dense(5)(layers.Flatten()(x)))

    found = ops_of_a_right_step(dense_block)
    assert not {"concat", "copy_pixels"} & set(found)
    assert found.count("add") == 1  # the bias of Dense
    assert found.count("slice") == 3  # what gradients for kernels read; the rest is cut in place


def expansion() -> Model:
    image = Input((16, 16, 16))
    y = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(40, 1)(image)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y))
    y = layers.Add()([image, y])
    return Model(image, layers.Dense(5)(layers.Flatten()(y)))


def norm_blocks(model: Model) -> list[int]:
    (step,) = model._trainer._plans._plans.values()
    nodes = step.plan.nodes
    return sorted(n.op.block for n in nodes if isinstance(n.op, FusedBatchNormTrain))


def test_small_outputs_are_summed_up_by_their_norms() -> None:
    model = compiled(expansion)
    model.train_on_batch(np.zeros((5, 16, 16, 16), np.float32), np.arange(5))
    assert norm_blocks(model) == [0, 0, 0]


def test_convolutions_take_the_moments_of_norms(monkeypatch: Any) -> None:
    """Packed ones those of every 24 pixels, depthwise ones those of a line."""
    monkeypatch.setattr(import_module("fastcnn.passes.fuse_moments"), "LEAST_BYTES", 0)
    ours, plain = compiled(expansion), compiled(expansion, "reference")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((5, 16, 16, 16)).astype(np.float32) + 3
    for _ in range(2):
        found, expected = (m.train_on_batch(x, np.arange(5)) for m in (ours, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for weight, reference in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, reference, rtol=1e-5, atol=5e-6)
    assert norm_blocks(ours) == [16, 24, 24]


def test_winograd_can_be_forbidden(monkeypatch: Any) -> None:
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    model = compiled(network)
    model.train_on_batch(*batch())
    assert not [op for op in ops_of(model) if "winograd" in op or op == "transform_filters"]


def test_an_exact_model_has_steps_without_winograd(monkeypatch: Any) -> None:
    """Steps and tests of both kinds are kept side by side."""
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    model = compiled(network)

    def winograds() -> list[list[str]]:
        plans = model.trainer._plans._plans.values()
        calls = [[call.op for call in step.plan.calls] for step in plans]
        return [
            [op for op in ops if "winograd" in op or op == "transform_filters"] for ops in calls
        ]

    model.exact = True
    model.train_on_batch(*batch())
    model.test_on_batch(*batch())
    assert winograds() == [[], []]
    model.exact = False
    model.train_on_batch(*batch())
    assert [bool(found) for found in winograds()] == [False, False, True]


def test_an_exact_model_trains_as_the_environment_says(monkeypatch: Any) -> None:
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    one, other = compiled(network), compiled(network)
    one.exact = True
    one.train_on_batch(*batch())
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    other.train_on_batch(*batch())
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_others_read_stays() -> None:
    """A normalized map that is read twice is not fused, nor is its gradient."""

    def build() -> Model:
        image = Input((24, 24, 3))
        y = layers.BatchNormalization()(layers.Conv2D(16, 3)(image))
        y = layers.Concatenate()([layers.ReLU()(y), y])
        return Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(y)))

    model = compiled(build)
    model.train_on_batch(*batch())
    assert {"batch_norm_train", "relu", "relu_grad", "batch_norm_grad"} <= set(ops_of(model))


def test_twenty_steps_have_the_same_bits_for_any_number_of_threads() -> None:
    before, bits = fastcnn.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            fastcnn.set_num_threads(threads)
            model = compiled(network)
            for _ in range(20):
                model.train_on_batch(*batch())
            bits.add(b"".join(w.tobytes() for w in model.get_weights()))
    finally:
        fastcnn.set_num_threads(before)
    assert len(bits) == 1


def dilated_and_grouped() -> Model:
    """A depthwise convolution with a dilation, one drawn as groups, one with two strides."""
    y = image = Input((24, 24, 3))
    y = layers.Conv2D(16, 1)(y)
    y = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, activation="tanh")(y)
    y = layers.Conv2D(16, 5, padding="same", groups=16, activation="tanh")(y)
    y = layers.DepthwiseConv2D(7, strides=(2, 3), padding="same")(y)
    return Model(image, layers.Dense(5)(layers.Flatten()(y)))


def test_depthwise_convolutions_of_a_step() -> None:
    """However drawn; those of stride 1 go back over dy as they go forward over x."""
    ours, plain = compiled(dilated_and_grouped), compiled(dilated_and_grouped, "reference")
    for _ in range(2):
        found, expected = ours.train_on_batch(*batch()), plain.train_on_batch(*batch())
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for weight, reference in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, reference, rtol=1e-5, atol=2e-6)
    (step,) = ours.trainer._plans._plans.values()
    kernels = [name for name in step.plan.kernels if "depthwise" in name]
    assert kernels.count("f32_fused_depthwise_conv2d") == 3
    assert kernels.count("f32_depthwise_conv2d_grad_input_turned") == 2
    assert kernels.count("f32_depthwise_conv2d_grad_input_direct") == 1
    assert kernels.count("f32_depthwise_conv2d_grad_kernel_direct") == 3
    assert len(kernels) == 9
