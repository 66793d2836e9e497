# SPDX-License-Identifier: Apache-2.0
"""Layers that join several tensors into one; also as functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any, final

from fastcnn import ops
from fastcnn.errors import ArgumentError
from fastcnn.layers.base import Layer


class _Merge(Layer):
    """Called on a list of tensors; abstract."""

    least = 2

    @abstractmethod
    def merge(self, inputs: Sequence[Any]) -> Any:
        """One tensor of several."""

    def call(self, inputs: Any) -> Any:
        """One tensor of several."""
        if not isinstance(inputs, (list, tuple)) or len(inputs) < self.least:
            found = len(inputs) if isinstance(inputs, (list, tuple)) else "no list"
            raise ArgumentError(
                f"{type(self).__name__} found {found}, expected a list of {self.least} or more "
                f"tensors; call it as {type(self).__name__}()([a, b])"
            )
        return self.merge(inputs)


@final
class Add(_Merge):
    """Elementwise sum."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """a + b + ..."""
        return reduce(ops.add, inputs)


@final
class Subtract(_Merge):
    """Elementwise difference of two tensors."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """a - b."""
        if len(inputs) != 2:
            raise ArgumentError(f"Subtract found {len(inputs)} tensors, expected exactly 2")
        return ops.subtract(*inputs)


@final
class Multiply(_Merge):
    """Elementwise product."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """a * b * ..."""
        return reduce(ops.multiply, inputs)


@final
class Average(_Merge):
    """Elementwise mean."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """(a + b + ...) / n."""
        return ops.multiply(reduce(ops.add, inputs), 1.0 / len(inputs))


@final
class Maximum(_Merge):
    """Elementwise maximum."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """max(a, b, ...)."""
        return reduce(ops.maximum, inputs)


@final
class Minimum(_Merge):
    """Elementwise minimum."""

    def merge(self, inputs: Sequence[Any]) -> Any:
        """min(a, b, ...)."""
        return reduce(ops.minimum, inputs)


@final
class Concatenate(_Merge):
    """Joins tensors along `axis`, the channels by default."""

    least = 1

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def merge(self, inputs: Sequence[Any]) -> Any:
        """All along one axis."""
        return inputs[0] if len(inputs) == 1 else ops.concatenate(list(inputs), axis=self.axis)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add()` on a list of tensors."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Subtract()` on a list of two tensors."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply()` on a list of tensors."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Average()` on a list of tensors."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Maximum()` on a list of tensors."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Minimum()` on a list of tensors."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate()` on a list of tensors."""
    return Concatenate(axis, **kwargs)(inputs)
