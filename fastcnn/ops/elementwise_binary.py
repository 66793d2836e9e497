# SPDX-License-Identifier: Apache-2.0
"""Elementwise operations of two tensors, or three, whose shapes broadcast as in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Node, Op, Parameter, Shape, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.elementwise_unary import negative
from fastcnn.ops.reduce import sum_to
from fastcnn.records import dataclass


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all broadcast to, or a ShapeError. An unknown size equals any known one."""
    result: list[int | None] = []
    for sizes in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        found = {size for size in sizes if size != 1}
        known = found - {None}
        if len(known) > 1:
            raise ShapeError(
                f"shapes {' and '.join(str(tuple(s)) for s in shapes)} do not broadcast: sizes "
                f"{sorted(s for s in known if s is not None)} meet at axis {-1 - len(result)}; "
                "expected equal sizes or 1, so reshape or transpose one of them"
            )
        result.append(known.pop() if known else None if found else 1)
    return tuple(reversed(result))


def _reduced(node: Node, *dxs: Tensor | None) -> Sequence[Tensor | None]:
    """Gradients of the output's shape, summed to the shape of each input."""
    pairs = zip(node.inputs, dxs, strict=True)
    return [None if dx is None else sum_to(dx, x.shape) for x, dx in pairs]


@dataclass(frozen=True)
class Broadcasting(Op):
    """An elementwise op of several inputs; may overwrite its first input where shapes agree."""

    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """The shape that all broadcast to."""
        dtype = require_float(*inputs)
        return Spec(broadcast_shapes(*(s.shape for s in inputs)), dtype)


@final
@dataclass(frozen=True)
class Add(Broadcasting):
    """y = a + b."""

    name: ClassVar[str] = "add"

    def reference(self, *inputs: Array) -> Array:
        """a + b."""
        return np.add(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to both."""
        return _reduced(node, dys[0], dys[0])


@final
@dataclass(frozen=True)
class Subtract(Broadcasting):
    """y = a - b."""

    name: ClassVar[str] = "subtract"

    def reference(self, *inputs: Array) -> Array:
        """a - b."""
        return np.subtract(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy and -dy."""
        da, db = _reduced(node, dys[0], dys[0])
        return (da, negative(db))


@final
@dataclass(frozen=True)
class Multiply(Broadcasting):
    """y = a b."""

    name: ClassVar[str] = "multiply"

    def reference(self, *inputs: Array) -> Array:
        """a b."""
        return np.multiply(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy b and dy a."""
        a, b = node.inputs
        return _reduced(node, multiply(dys[0], b), multiply(dys[0], a))


@final
@dataclass(frozen=True)
class Divide(Broadcasting):
    """y = a / b."""

    name: ClassVar[str] = "divide"

    def reference(self, *inputs: Array) -> Array:
        """a / b."""
        return np.divide(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy/b and -y dy/b."""
        da = divide(dys[0], node.inputs[1])
        return _reduced(node, da, negative(multiply(da, node.outputs[0])))


@final
@dataclass(frozen=True)
class Maximum(Broadcasting):
    """y = the larger of a and b; NaN where either is."""

    name: ClassVar[str] = "maximum"

    def reference(self, *inputs: Array) -> Array:
        """max(a, b)."""
        return np.maximum(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to the larger; where they are equal, to a."""
        return _chosen(node, greater_equal(*node.inputs), dys[0])


@final
@dataclass(frozen=True)
class Minimum(Broadcasting):
    """y = the smaller of a and b; NaN where either is."""

    name: ClassVar[str] = "minimum"

    def reference(self, *inputs: Array) -> Array:
        """min(a, b)."""
        return np.minimum(*inputs)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to the smaller; where they are equal, to a."""
        a, b = node.inputs
        return _chosen(node, greater_equal(b, a), dys[0])


def _chosen(node: Node, first: Tensor, dy: Tensor | None) -> Sequence[Tensor | None]:
    return _reduced(node, where(first, dy, 0.0), where(first, 0.0, dy))


@final
@dataclass(frozen=True)
class Equal(Broadcasting):
    """1 where a = b, else 0; not differentiable, as all comparisons."""

    name: ClassVar[str] = "equal"

    def reference(self, *inputs: Array) -> Array:
        """a == b as floats."""
        return np.equal(*inputs).astype(inputs[0].dtype)


@final
@dataclass(frozen=True)
class Greater(Broadcasting):
    """1 where a > b, else 0."""

    name: ClassVar[str] = "greater"

    def reference(self, *inputs: Array) -> Array:
        """a > b as floats."""
        return np.greater(*inputs).astype(inputs[0].dtype)


@final
@dataclass(frozen=True)
class GreaterEqual(Broadcasting):
    """1 where a >= b, else 0."""

    name: ClassVar[str] = "greater_equal"

    def reference(self, *inputs: Array) -> Array:
        """a >= b as floats."""
        return np.greater_equal(*inputs).astype(inputs[0].dtype)


@final
@dataclass(frozen=True)
class Where(Broadcasting):
    """y = a where mask > 0, else b."""

    name: ClassVar[str] = "where"

    def reference(self, *inputs: Array) -> Array:
        """mask > 0 ? a : b."""
        mask, a, b = inputs
        return np.where(mask > 0, a, b)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy to the one chosen; nothing to the mask."""
        mask = node.inputs[0]
        return _reduced(node, None, where(mask, dys[0], 0.0), where(mask, 0.0, dys[0]))


def add(x1: Any, x2: Any) -> Any:
    """x1 + x2.

    Args:
        x1: float array or tensor, or a number.
        x2: the same, of a shape that broadcasts with x1's.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: an array of integers; convert it with `.astype("float32")`.
    """
    return apply(Add(), x1, x2)


def subtract(x1: Any, x2: Any) -> Any:
    """x1 - x2; arguments as for `add`."""
    return apply(Subtract(), x1, x2)


def multiply(x1: Any, x2: Any) -> Any:
    """x1 x2; arguments as for `add`."""
    return apply(Multiply(), x1, x2)


def divide(x1: Any, x2: Any) -> Any:
    """x1 / x2; arguments as for `add`."""
    return apply(Divide(), x1, x2)


def maximum(x1: Any, x2: Any) -> Any:
    """The larger of x1 and x2; NaN where either is; where they are equal x1 gets the gradient."""
    return apply(Maximum(), x1, x2)


def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of x1 and x2; NaN where either is; where they are equal x1 gets the gradient."""
    return apply(Minimum(), x1, x2)


def equal(x1: Any, x2: Any) -> Any:
    """1.0 where x1 = x2, else 0.0; not differentiable."""
    return apply(Equal(), x1, x2)


def greater(x1: Any, x2: Any) -> Any:
    """1.0 where x1 > x2, else 0.0; not differentiable."""
    return apply(Greater(), x1, x2)


def greater_equal(x1: Any, x2: Any) -> Any:
    """1.0 where x1 >= x2, else 0.0; not differentiable."""
    return apply(GreaterEqual(), x1, x2)


def where(condition: Any, x1: Any, x2: Any) -> Any:
    """x1 where `condition` is true (a boolean array, or a float above 0), else x2."""
    if not isinstance(condition, (Tensor, Parameter)):
        condition = np.asarray(condition)
        if condition.dtype == bool:
            dtypes = {str(v.dtype) for v in (x1, x2) if hasattr(v, "dtype")}
            condition = condition.astype("float64" if "float64" in dtypes else "float32")
    return apply(Where(), condition, x1, x2)


OPS: tuple[type[Op], ...] = (
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Equal,
    Greater,
    GreaterEqual,
    Where,
)
