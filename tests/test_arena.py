# SPDX-License-Identifier: Apache-2.0
"""The arena: tensors alive together never share bytes, others may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcnn.arena import ALIGNMENT, Interval, lay_out


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    begin = draw(st.integers(0, 30))
    return Interval(begin, begin + draw(st.integers(0, 12)), draw(st.integers(0, 1000)))


@given(st.lists(intervals(), max_size=40))
def test_tensors_alive_together_share_no_byte(tensors: list[Interval]) -> None:
    offsets, total = lay_out(tensors)
    assert len(offsets) == len(tensors)
    for a, at in zip(tensors, offsets, strict=True):
        assert at % ALIGNMENT == 0
        assert 0 <= at <= at + a.nbytes <= total
    pairs = list(zip(tensors, offsets, strict=True))
    for i, (a, at) in enumerate(pairs):
        for b, bt in pairs[:i]:
            if a.begin <= b.end and b.begin <= a.end and a.nbytes and b.nbytes:
                assert at + a.nbytes <= bt or bt + b.nbytes <= at


@given(st.lists(intervals(), max_size=40))
def test_no_smaller_than_the_fullest_moment_and_no_larger_than_all(tensors: list[Interval]) -> None:
    _, total = lay_out(tensors)
    alive = [sum(t.nbytes for t in tensors if t.begin <= now <= t.end) for now in range(45)]
    assert max(alive) <= total <= sum(t.nbytes + ALIGNMENT for t in tensors)


def test_a_chain_needs_two_tensors() -> None:
    chain = [Interval(i, i + 1, 6400) for i in range(10)]
    assert lay_out(chain)[1] == 2 * 6400


def test_a_small_tensor_fills_the_gap_a_large_one_left() -> None:
    tensors = [Interval(0, 1, 640), Interval(0, 3, 320), Interval(2, 3, 640)]
    offsets, total = lay_out(tensors)
    assert total == 960
    assert offsets[0] == offsets[2]


def test_nothing_needs_nothing() -> None:
    assert lay_out([]) == ([], 0)
