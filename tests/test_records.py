# SPDX-License-Identifier: Apache-2.0
"""The records behave as the standard library's frozen dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn.records import dataclass as record


class Base(ABC):
    @abstractmethod
    def doubled(self) -> int: ...


def classes(decorate: Any) -> tuple[Any, ...]:
    @decorate(frozen=True)
    class Point(Base):
        """A point."""

        x: int
        y: int = 2
        name: ClassVar[str] = "point"

        def doubled(self) -> int:
            return 2 * self.x

    @decorate(frozen=True)
    class Named(Point):
        """A point with a label."""

        label: str = ""

    @decorate(frozen=True, kw_only=True)
    class Tagged(Point):
        """A point whose depth has no default and no position."""

        z: int
        label: int = 0

    return Point, Named, Tagged


OURS, THEIRS = classes(record), classes(dataclasses.dataclass)


@record(frozen=True)
class Kept:
    """Found by its name, so that it can be pickled."""

    value: tuple[int, ...]


arguments = st.lists(st.integers(0, 3), max_size=4)
keywords = st.dictionaries(st.sampled_from(["x", "y", "label", "z"]), st.integers(0, 3))


def made(cls: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return cls(*args, **kwargs)
    except TypeError:
        return None


@given(which=st.integers(0, 2), args=arguments, kwargs=keywords)
def test_made_as_dataclasses_are(which: int, args: list[Any], kwargs: dict[str, Any]) -> None:
    one, other = made(OURS[which], args, kwargs), made(THEIRS[which], args, kwargs)
    assert (one is None) == (other is None)
    if one is not None:
        assert vars(one) == vars(other)
        assert repr(one) == repr(other)
        assert hash(one) == hash(other)
        assert one == made(OURS[which], args, kwargs)
        assert dataclasses.asdict(one) == dataclasses.asdict(other)


def test_equal_only_within_a_class() -> None:
    point, named, _ = OURS
    assert point(1) == point(1, 2) != point(1, 3)
    assert point(1) != named(1)
    assert point(1) != (1, 2)
    assert len({point(1), point(1), named(1)}) == 2


def test_frozen() -> None:
    value = Kept((1,))
    with pytest.raises(dataclasses.FrozenInstanceError, match="'value'"):
        value.value = (2,)  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'value'"):
        del value.value
    assert value == Kept((1,))


def test_replaced_copied_and_pickled() -> None:
    value = Kept((1, 2))
    assert dataclasses.replace(value, value=(3,)) == Kept((3,))
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


def test_abstract_methods_count() -> None:
    @record(frozen=True)
    class Abstract(Base):
        x: int = 1

    with pytest.raises(TypeError, match="abstract"):
        Abstract()


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"Point\(\) takes \['x', 'y'\], found 0 by position and \['z'\]"
    ):
        OURS[0](z=1)


def test_without_eq_records_are_compared_by_identity() -> None:
    for decorate in (record, dataclasses.dataclass):

        @decorate(frozen=True, eq=False)
        class Place:
            """Somewhere."""

            x: int

        here = Place(1)
        assert here == here
        assert here != Place(1)
        assert hash(here) == object.__hash__(here)
        assert repr(here).endswith("Place(x=1)")
