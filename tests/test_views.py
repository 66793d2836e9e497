# SPDX-License-Identifier: Apache-2.0
"""Joins and cuts of channels and of images that copy nothing, and those that must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.graph import Tensor, constant, placeholder
from fastcnn.passes import forget_winners, fuse_convolutions
from fastcnn.plan import Plan

Array = np.ndarray[Any, Any]
X = np.random.default_rng(0).standard_normal((2, 6, 7, 8)).astype(np.float32)


def conv(x: Tensor, filters: int, taps: int = 1) -> Tensor:
    rng = np.random.default_rng(filters)
    kernel = rng.standard_normal((taps, taps, x.spec.sizes[3], filters)).astype(np.float32)
    y: Tensor = ops.conv2d(x, constant(kernel), padding="same")
    return y


def compared(draw: Callable[[Tensor], list[Tensor]], *arrays: Array) -> list[str]:
    """Calls of the fused plan, after its outputs were found equal to the reference's."""
    inputs = [placeholder(a.shape, name=f"x{i}") for i, a in enumerate(arrays)]
    outputs = draw(*inputs)
    plan = Plan(inputs, fuse_convolutions(forget_winners(outputs)))
    wanted = Plan(inputs, outputs, backend="reference").run(*arrays)
    for found, want in zip(plan.run(*arrays), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())
    return [call.op for call in plan.calls if call.op != "pack_filters"]


def test_branches_write_into_their_join() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        pooled = ops.max_pool2d(x, 3, 1, "same")
        joined = ops.concat([conv(x, 5), conv(x, 6, 3), pooled])
        return [conv(joined, 4)]

    assert set(compared(draw, X)) == {"packed_conv2d", "max_pool2d_values"}


def test_joins_within_joins_are_one_piece_of_memory() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        x = conv(x, 8)
        for growth in (3, 5, 2):
            x = ops.concat([x, conv(x, growth, 3)])
        return [conv(x, 4)]

    assert set(compared(draw, X)) == {"packed_conv2d"}


def test_what_cannot_move_is_copied() -> None:
    """An input of the plan, a tensor joined twice, and one that others read as it is."""

    def draw(x: Tensor) -> list[Tensor]:
        y = conv(x, 5)
        shared = conv(x, 3)
        joined = ops.concat([x, y, y, shared])
        return [conv(joined, 4), ops.tanh(shared)]

    found = compared(draw, X)
    assert found.count("copy_pixels") == 3
    assert "concat" not in found


def test_a_join_of_nothing_that_moves_stays_a_join() -> None:
    found = compared(lambda x: [conv(ops.concat([x, ops.tanh(x)]), 4)], X)
    assert "concat" in found
    assert "copy_pixels" not in found


def test_a_join_may_be_an_output() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        return [ops.concat([conv(x, 5), conv(x, 4, 3)])]

    assert set(compared(draw, X)) == {"packed_conv2d"}


def test_an_output_does_not_move() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        y = conv(x, 5)
        return [y, conv(ops.concat([y, conv(x, 4)]), 3)]

    assert compared(draw, X).count("copy_pixels") == 1


def test_cuts_are_read_where_they_lie() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        left, right = ops.split(ops.relu(x), [3], axis=-1)
        return [conv(left, 5, 3), conv(right, 6)]

    assert "slice" not in compared(draw, X)


def test_a_cut_that_something_else_reads_is_copied() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        left, _ = ops.split(ops.relu(x), [3], axis=-1)
        return [conv(left, 5), ops.tanh(left)]

    assert "slice" in compared(draw, X)


def test_cuts_of_rows_and_joins_of_rows_are_none_of_its_business() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        top, bottom = ops.split(ops.relu(x), 2, axis=1)
        return [ops.concatenate([conv(top, 5), conv(bottom, 5)], axis=1)]

    found = compared(draw, X)
    assert found.count("slice") == 2
    assert "concat" in found


def test_a_residual_does_not_move() -> None:
    """A convolution reads its residual where it writes its output."""

    def draw(x: Tensor) -> list[Tensor]:
        y = ops.add(conv(x, 5), ops.tanh(conv(x, 5)))
        return [conv(ops.concat([y, conv(x, 4)]), 3)]

    assert "copy_pixels" in compared(draw, X)


def halves(x: Tensor) -> list[Tensor]:
    """The first image, and those behind it."""
    return [ops.slice(x, (0, 0, 0, 0), (1, 6, 7, 8)), ops.slice(x, (1, 0, 0, 0), (1, 6, 7, 8))]


def test_images_are_read_and_written_in_their_batch() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        y = ops.concat([conv(half, 4, 3) for half in halves(x)], axis=0)
        return [conv(y, 5)]

    assert compared(draw, X) == ["packed_conv2d"] * 3


def test_a_batch_joined_of_joins_of_channels_is_one_piece_of_memory() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        parts = [ops.concat([conv(half, 3), conv(half, 5, 3)]) for half in halves(x)]
        return [conv(ops.concat(parts, axis=0), 4)]

    assert compared(draw, X) == ["packed_conv2d"] * 5


def test_images_that_cannot_move_are_copied() -> None:
    """Joined twice, read by others too, an input of the plan."""

    def draw(x: Tensor) -> list[Tensor]:
        first, second = (conv(half, 8) for half in halves(x))
        joins = [[first, first], [first, second], [x, x]]
        return [conv(ops.concat(tensors, axis=0), 4) for tensors in joins]

    assert compared(draw, X).count("concat") == 3


def test_images_are_copied_for_a_reshape() -> None:
    """It has the memory of its input, but not the place there."""

    def draw(x: Tensor) -> list[Tensor]:
        return [ops.tanh(ops.reshape(half, (6, 56))) for half in halves(x)]

    assert compared(draw, X).count("slice") == 2


def test_a_join_of_images_is_copied_into_one_of_channels() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        batch = ops.concat([conv(half, 4) for half in halves(x)], axis=0)
        return [conv(ops.concat([batch, conv(x, 3)]), 5)]

    assert compared(draw, X).count("copy_pixels") == 1


def test_images_of_a_cut_of_channels_are_copied() -> None:
    def draw(x: Tensor) -> list[Tensor]:
        some = ops.slice(conv(x, 12), (0, 0, 0, 4), (2, 6, 7, 8))
        return [conv(half, 3) for half in halves(some)]

    assert "slice" in compared(draw, X)
