# SPDX-License-Identifier: Apache-2.0
"""Padding forms, resolved pads and output sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.ops import conv_output_size
from fastcnn.ops.geometry import (
    extent,
    normalize_padding,
    output_size,
    pair,
    positive,
    require_groups,
    resolve_pads,
)


def test_output_sizes_of_the_lecture_shrink_from_5_to_3_to_2() -> None:
    assert conv_output_size(5, 3, stride=2, pads=1) == 3
    assert conv_output_size(3, 3, stride=2, pads=1) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((32, 5), 28),
        ((28, 5, 1, 1, "same"), 28),
        ((224, 7, 2, 1, 3), 112),
        ((224, 7, 2, 1, "same"), 112),
        ((10, 3, 1, 4), 2),
        ((10, 3, 3, 2, (1, 0)), 3),
        ((None, 3), None),
    ],
)
def test_conv_output_size(arguments: tuple[Any, ...], expected: int | None) -> None:
    assert conv_output_size(*arguments) == expected


def test_same_puts_the_odd_pixel_after_and_same_lower_before() -> None:
    assert resolve_pads("same", 4, 3, 2) == (0, 1)
    assert resolve_pads("same_lower", 4, 3, 2) == (1, 0)
    assert resolve_pads("same", 5, 3, 2) == (1, 1)
    assert resolve_pads("same", 5, 1, 3) == (0, 0)
    assert resolve_pads("same", 7, 3, 1, 2) == (2, 2)


@given(
    size=st.integers(1, 40),
    window=st.integers(1, 7),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 4),
    word=st.sampled_from(["same", "same_lower"]),
)
def test_same_gives_ceil_of_size_over_stride(
    size: int, window: int, stride: int, dilation: int, word: str
) -> None:
    assert output_size(size, window, stride, dilation, word) == -(-size // stride)
    before, after = resolve_pads(word, size, window, stride, dilation)
    assert abs(before - after) <= 1
    assert max(before, after) < extent(window, dilation)


@given(
    size=st.integers(1, 30),
    window=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pads=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_output_size_counts_the_positions_where_the_window_fits(
    size: int, window: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    padded = size + sum(pads)
    starts = [i for i in range(0, padded, stride) if i + extent(window, dilation) <= padded]
    if starts:
        assert output_size(size, window, stride, dilation, pads) == len(starts)
    else:
        with pytest.raises(ShapeError, match="larger than the input's"):
            output_size(size, window, stride, dilation, pads)


def test_padding_forms() -> None:
    assert normalize_padding("valid") == ((0, 0), (0, 0))
    assert normalize_padding("SAME") == ("same", "same")
    assert normalize_padding(np.int64(2)) == ((2, 2), (2, 2))
    assert normalize_padding([[0, 1], [2, 3]]) == ((0, 1), (2, 3))
    assert normalize_padding(("same", (1, 0))) == ("same", (1, 0))


@pytest.mark.parametrize(
    "padding", ["full", -1, 1.5, None, True, (1, 2), ((1, 2),), ((0, -1), (0, 0))]
)
def test_other_paddings_are_refused(padding: Any) -> None:
    with pytest.raises(ArgumentError, match=r"padding is .*expected .*try padding=1"):
        normalize_padding(padding)


def test_pairs() -> None:
    assert pair(2, "strides") == (2, 2)
    assert pair([1, 3], "strides") == (1, 3)
    assert positive(np.int32(4), "groups") == 4


@pytest.mark.parametrize("value", [0, -1, (1, 0), (1, 2, 3), 1.0, "2", None, True])
def test_other_pairs_are_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"strides is .*at least 1.*try strides=1"):
        pair(value, "strides")


def test_positive_names_what_it_refuses() -> None:
    with pytest.raises(ArgumentError, match=r"groups is 0, expected an integer of at least 1"):
        positive(0, "groups")


def test_larger_kernel_says_sizes_and_remedy() -> None:
    with pytest.raises(ShapeError, match=r"kernel's height 3 \(5 with dilation 2\) .* input's 2"):
        output_size(2, 3, 1, 2, (1, 1))


def test_groups_must_divide_channels_and_filters() -> None:
    require_groups(4, 8, None)
    with pytest.raises(ShapeError, match=r"groups \(=3\) must divide input channels \(=64\); try"):
        require_groups(3, 64, 64)
    with pytest.raises(ShapeError, match=r"divide filters \(=9\); try groups=3"):
        require_groups(2, 6, 9)
