# SPDX-License-Identifier: Apache-2.0
"""The first layers of a large batch, a few images at a time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, final

import numpy as np
import pytest

from fastcnn import Input, Model, layers, ops
from fastcnn.graph import constant, placeholder
from fastcnn.passes import split_batch

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: Any) -> None:
    """Layers of these tests are large: two images of them fit."""
    module = sys.modules["fastcnn.passes.split_batch"]
    monkeypatch.setattr(module, "_CACHED_BYTES", 2 * 4 * 16 * 16 * (8 + 8))
    monkeypatch.setattr(module, "_MACS_PER_BYTE", 50.0)


def images(count: int) -> Array:
    return np.random.default_rng(0).standard_normal((count, 16, 16, 8)).astype(np.float32)


def conv(x: Any, filters: int = 8, **given: Any) -> Any:
    return layers.Conv2D(filters, 1, **given)(x)


def chain(x: Any) -> Any:
    """Two layers of full size, and a rest that is small."""
    y = conv(conv(x, activation="relu"), activation="relu")
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.MaxPooling2D(8)(y)))


def residual(x: Any) -> Any:
    y = layers.Add()([conv(x), conv(conv(x))])
    return conv(layers.MaxPooling2D(8)(y))


def joined(x: Any) -> Any:
    """The tensor that crosses is itself a join of channels."""
    y = layers.Concatenate()([conv(x, 4), layers.MaxPooling2D(3, 1, padding="same")(conv(x, 4))])
    return conv(layers.MaxPooling2D(8)(y))


def grouped(x: Any) -> Any:
    y = layers.DepthwiseConv2D(3, padding="same")(conv(x))
    return conv(layers.AveragePooling2D(8)(layers.Conv2D(8, 3, padding="same")(y)))


def drawn(draw: Callable[[Any], Any]) -> Model:
    x = Input((16, 16, 8))
    return Model(x, draw(x))


def parts(model: Model, count: int) -> int:
    """How often the plan runs what it runs most often."""
    calls = Counter(call.label for call in model.plan((count, 16, 16, 8)).calls)
    return max(calls.values())


@pytest.mark.parametrize("draw", [chain, residual, joined, grouped])
@pytest.mark.parametrize("count", [4, 7, 8])
def test_the_same_bits_in_parts(draw: Callable[[Any], Any], count: int, monkeypatch: Any) -> None:
    model, x = drawn(draw), images(count)
    assert parts(model, count) > 1
    split = model.predict_on_batch(x)
    monkeypatch.setattr("fastcnn.passes.split_batch", list)
    whole = drawn(draw)
    whole.set_weights(model.get_weights())
    assert parts(whole, count) == 1
    np.testing.assert_array_equal(split, whole.predict_on_batch(x))


@pytest.mark.parametrize("draw", [chain, residual, joined, grouped])
def test_parts_are_read_and_written_in_their_places(draw: Callable[[Any], Any]) -> None:
    plan = drawn(draw).plan((8, 16, 16, 8))
    assert not {"slice", "concat", "copy_pixels"} & {call.op for call in plan.calls}


def test_a_part_is_as_large_as_fits() -> None:
    model = drawn(chain)
    assert [parts(model, n) for n in (1, 2, 4, 6, 8, 15, 16)] == [1, 1, 2, 3, 4, 8, 8]


def test_parts_of_more_than_the_most_do_not_fit() -> None:
    assert parts(drawn(chain), 40) == 1


def test_what_a_part_needs_is_needed_once(monkeypatch: Any) -> None:
    split = drawn(chain).plan((8, 16, 16, 8)).arena_bytes
    monkeypatch.setattr("fastcnn.passes.split_batch", list)
    assert split < drawn(chain).plan((8, 16, 16, 8)).arena_bytes / 2


def test_outputs_in_front_stay_whole() -> None:
    """Nothing is divided that the caller wants to have."""
    x = Input((16, 16, 8))
    y = conv(x)
    model = Model(x, [y, conv(layers.MaxPooling2D(8)(y))])
    assert parts(model, 8) == 1


def test_what_others_of_the_batch_decide_is_not_divided() -> None:
    """A mean over images, in front of which nothing crosses alone."""
    image = placeholder((8, 16, 16, 8))
    y = ops.mean(image, axis=0)
    assert split_batch([y]) == [y]


@final
class Bent(layers.Layer):
    """Something else for every image of a batch of eight."""

    def __init__(self, join: bool) -> None:
        super().__init__()
        self.join = join

    def call(self, x: Any) -> Any:
        other = np.ones(x.shape, np.float32) * np.arange(8, dtype=np.float32)[:, None, None, None]
        return ops.concat([x, constant(other)]) if self.join else ops.add(x, constant(other))


@pytest.mark.parametrize("join", [False, True])
def test_what_is_given_for_the_whole_batch_is_not_divided(join: bool, monkeypatch: Any) -> None:
    module = sys.modules["fastcnn.passes.split_batch"]
    monkeypatch.setattr(module, "_CACHED_BYTES", 2 * 4 * 16 * 16 * (16 + 8))
    image = Input((16, 16, 8), batch_size=8)
    y = conv(layers.MaxPooling2D(8)(conv(Bent(join)(conv(conv(image))))))
    model, x = Model(image, y), images(8)
    calls = Counter(call.label for call in model.plan(x.shape).calls)
    assert calls.most_common()[-1][1] == 1  # the rest, of which the sum is a part
    found = model.predict_on_batch(x)
    model.compile(backend="reference")
    wanted = model.predict_on_batch(x)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_layers_of_many_weights_read_them_once() -> None:
    x = Input((16, 16, 8))
    y = layers.MaxPooling2D(8)(conv(conv(x)))
    model = Model(x, layers.Flatten()(conv(layers.Conv2D(512, 3, padding="same", name="wide")(y))))
    calls = Counter(call.label for call in model.plan((8, 16, 16, 8)).calls)
    assert max(calls.values()) == 4
    assert [n for label, n in calls.items() if label.startswith("wide")] == [1]
