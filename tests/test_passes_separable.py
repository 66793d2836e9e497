# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions with the 1x1 convolutions around them, and shuffles behind joins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import Input, Model, applications, layers
from fastcnn.graph import Spec, topological
from fastcnn.models.lowering import lower
from fastcnn.ops.conv_separable import FusedSeparableConv2D
from fastcnn.passes import fold_batch_norm, fuse_convolutions, fuse_separable, fuse_shuffles
from fastcnn.passes.algorithms import Algorithms
from fastcnn.plan import Plan

NAME = "fused_separable_conv2d"
SPEC = [Spec((2, 12, 12, 8), "float32")]


def both(draw: Any) -> tuple[list[str], list[str]]:
    """Names of the ops without and with the passes, once their values were found equal."""
    x = Input((12, 12, 8))
    lowered = lower(Model(x, draw(x)), SPEC, training=False)
    before = fuse_convolutions(fold_batch_norm(lowered.outputs))
    after = fuse_shuffles(fuse_separable(before))
    image = np.random.default_rng(0).standard_normal(SPEC[0].sizes).astype(np.float32)
    expected, found = (Plan(lowered.inputs, graph).run(image) for graph in (before, after))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return names(before), names(after)


def names(outputs: Any) -> list[str]:
    return [node.op.name for node in topological(outputs)]


def expand(x: Any, channels: int = 24, **rest: Any) -> Any:
    return layers.Conv2D(channels, 1, **{"activation": "relu6", **rest})(x)


def depthwise(x: Any, **rest: Any) -> Any:
    return layers.DepthwiseConv2D(**{"kernel_size": 3, "padding": "same", **rest})(x)


def project(x: Any, **rest: Any) -> Any:
    return layers.Conv2D(8, 1, **rest)(x)


def test_an_inverted_residual_is_one_op() -> None:
    def draw(x: Any) -> Any:
        return layers.Add()([project(depthwise(expand(x))), x])

    before, after = both(draw)
    assert before.count("packed_conv2d") == 2
    assert after.count(NAME) == 1
    assert not {"packed_conv2d", "fused_depthwise_conv2d", "add"} & set(after)


@pytest.mark.parametrize(
    ("strides", "groups", "alone"),
    [
        ((1,), 1, 0),
        ((1, 1), 1, 1),  # a 1x1 convolution in front saves a copy of what it makes
        ((1, 2), 1, 1),
        ((1, 2, 1), 2, 1),  # the first is alone: what it makes is no more than what goes in
        ((2, 1, 1), 2, 1),
        ((2, 1, 2, 1), 2, 2),
    ],
)
def test_convolutions_in_turns_are_grouped_by_what_that_saves(
    strides: tuple[int, ...], groups: int, alone: int
) -> None:
    def draw(x: Any) -> Any:
        for stride in strides:
            x = project(depthwise(x, strides=stride), activation="relu")
        return x

    after = both(draw)[1]
    assert (after.count(NAME), after.count("fused_depthwise_conv2d")) == (groups, alone)
    assert "packed_conv2d" not in after


def test_parts_that_were_measured_to_be_faster_apart_stay_apart() -> None:
    def grouped(measured: dict[str, str]) -> list[bool]:
        x = Input((12, 12, 8))
        y = project(depthwise(project(depthwise(x))))
        lowered = lower(Model(x, y), SPEC, training=False)
        algorithms = Algorithms(measured=frozenset(measured.items()))
        outputs = fuse_separable(fuse_convolutions(fold_batch_norm(lowered.outputs)), algorithms)
        return [
            n.op.expands for n in topological(outputs) if isinstance(n.op, FusedSeparableConv2D)
        ]

    assert grouped({}) == [True]
    large = "1x1, depthwise 3x3 of 8 / 1, 1x1: 2x12x12x8 -> 2x12x12x8"
    assert grouped({large: "apart"}) == [False]  # the first two, of which nothing is known
    small = "depthwise 3x3 of 8 / 1, 1x1: 2x12x12x8 -> 2x12x12x8"
    assert grouped({large: "apart", small: "apart"}) == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: [y := depthwise(x), project(y)],
        lambda x: project(depthwise(x, dilation_rate=2)),
        lambda x: project(depthwise(x, kernel_size=(3, 5))),
        lambda x: project(depthwise(x), strides=2),
        lambda x: layers.Conv2D(8, 1, groups=2)(depthwise(x)),
        lambda x: layers.Conv2D(8, 3)(depthwise(x)),
    ],
    ids=["two readers", "dilated", "oblong", "projects with a stride", "in groups", "3x3 behind"],
)
def test_what_does_not_fit_stays_apart(draw: Any) -> None:
    before, after = both(draw)
    assert before == after


@pytest.mark.parametrize(
    "front",
    [
        lambda x: expand(x, strides=2),
        lambda x: layers.Add()([expand(x, 8, activation=None), x]),
        lambda x: layers.Conv2D(24, 1, groups=2)(x),
    ],
    ids=["stride", "residual", "groups"],
)
def test_a_front_that_does_not_fit_stays_in_front(front: Any) -> None:
    before, after = both(lambda x: project(depthwise(front(x))))
    assert NAME in after
    assert after.count("packed_conv2d") == before.count("packed_conv2d") - 1


def test_filters_that_outweigh_the_image_stay_apart() -> None:
    def draw(x: Any) -> Any:
        return project(depthwise(expand(layers.AveragePooling2D(12)(x), 512)))

    assert NAME not in both(draw)[1]


def test_two_halves_are_joined_where_the_shuffle_wants_them() -> None:
    def draw(x: Any) -> Any:
        joined = layers.Concatenate()([project(x), layers.ReLU()(x)])
        return layers.ChannelShuffle(2)(joined)

    before, after = both(draw)
    assert {"concat", "channel_shuffle"} <= set(before)
    assert "interleave_channels" in after
    assert not {"concat", "channel_shuffle"} & set(after)


@pytest.mark.parametrize(
    ("groups", "count"), [(2, 3), (3, 3), (4, 2)], ids=["three", "three in three", "four groups"]
)
def test_other_shuffles_stay(groups: int, count: int) -> None:
    def draw(x: Any) -> Any:
        return layers.ChannelShuffle(groups)(layers.Concatenate()([x] * count))

    assert "channel_shuffle" in both(draw)[1]


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2", "ShuffleNetV2", "Xception"])
def test_the_zoo_has_them(name: str) -> None:
    model = applications.get(name)(input_shape=(96, 96, 3), classifier_activation=None)
    kernels = model.inference_plan([Spec((1, 96, 96, 3), "float32")]).plan.kernels
    assert f"f32_{NAME}" in kernels
    assert "f32_channel_shuffle" not in kernels
