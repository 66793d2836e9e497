# SPDX-License-Identifier: Apache-2.0
"""What an operator's function is given: its inputs, its attributes, and the layers it may make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.graph import Array, Tensor, constant
from fastcnn.layers import Layer
from fastcnn.onnx.proto import NodeView
from fastcnn.onnx.value import (
    Order,
    Value,
    arrange_array,
    channels_last,
    common_order,
    lifted,
    natural,
)

Result = Value | Array | Sequence[Value | Array | None]
KINDS = {"f": "float", "b": "bool", "i": "int", "u": "int"}


class ValueNeeded(Exception):
    """A node needs numbers while it is drawn that depend on inputs of the model."""

    def __init__(self, where: str, tensors: Sequence[Tensor]) -> None:
        super().__init__(where)
        self.where = where
        self.tensors = list(tensors)


class Drawing(Protocol):
    """The importer, as calls see it."""

    dtype: str
    file_batch: int | None

    def layer(
        self, call: Call, cls: type[Layer], x: Any, weights: dict[str, Array], **config: Any
    ) -> Any:
        """The output for `x` of a new layer with these weights."""

    def absorb(self, call: Call, op_type: str, fits: Callable[[Array], bool]) -> Array | None:
        """The constant that the only reader of this node's output combines it with."""

    def arranged(self, value: Value, order: Order) -> Tensor:
        """The value's tensor in `order`, drawn once however often it is asked for."""

    def number(self, value: Value) -> Array | None:
        """The numbers of a value that depends on no input of the model."""


@final
@dataclass
class Call:
    """One node to be drawn.

    Attributes:
        inputs: values, constants (also arrays of sizes with unknown ones), None where left out.
    """

    node: NodeView
    opset: int
    inputs: list[Value | Array | None]
    drawing: Drawing

    @property
    def where(self) -> str:
        """The node, for errors."""
        return f"ONNX node '{self.node.label}' ({self.node.op_type})"

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def is_constant(self, index: int) -> bool:
        """Whether input `index` is known now."""
        return self.has(index) and not isinstance(self.inputs[index], Value)

    def wants(self, output: int) -> bool:
        """Whether the node has output `output`."""
        return output < len(self.node.outputs) and bool(self.node.outputs[output])

    def array(self, index: int) -> Array:
        """Input `index`, which must be known now."""
        found = self.inputs[index]
        if isinstance(found, Value):
            known = self.drawing.number(found)
            if known is None:
                raise ValueNeeded(f"{self.where}: input {index}", [found.tensor])
            return known
        if found is None:
            raise ShapeError(f"{self.where}: input {index} is missing; export the model again")
        return found

    def integers(self, index: int) -> list[Any]:
        """Input `index` as a list of numbers, unknown sizes being `Unknown`."""
        return list(np.atleast_1d(self.array(index)).tolist())

    def sizes_of(self, name: str, index: int, default: Any = None) -> Any:
        """Integers that old operator sets give as an attribute and new ones as an input."""
        if name in self.node.attributes:
            return self.attribute(name)
        return self.integers(index) if self.has(index) else default

    def value(self, index: int) -> Value:
        """Input `index` as a symbolic tensor."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, Value):
            return found
        return self.constant(self.array(index))

    def constant(self, array: Array) -> Value:
        """A constant as a symbolic tensor: floats and booleans in the engine's float type."""
        kind = KINDS.get(array.dtype.kind)
        if kind is None:
            raise ShapeError(
                f"{self.where}: found sizes that are not known yet where numbers are computed "
                "with; give the model fixed input sizes"
            )
        dtype = "int32" if kind == "int" else self.drawing.dtype
        return Value(constant(array.astype(dtype)), natural(array.ndim), kind)

    def floats(self, index: int) -> Value:
        """Input `index` as a symbolic tensor of floats; integers have to be known now."""
        value = self.value(index)
        if value.kind in ("int", "position"):
            raise self._integers(index)
        return value

    def _integers(self, index: int) -> ValueNeeded:
        """The engine computes with floats: with integers, NumPy does, once all inputs are known."""
        tensors = [v.tensor for v in self.inputs if isinstance(v, Value)]
        return ValueNeeded(f"{self.where}: input {index} (integers)", tensors)

    def known(self, sizes: Sequence[int | None]) -> tuple[int, ...]:
        """Sizes that have to be known while the node is drawn."""
        if None in sizes:
            raise ShapeError(
                f"{self.where}: found sizes {tuple(sizes)}, expected all of them to be known; fix "
                "the model's input sizes"
            )
        return tuple(d for d in sizes if d is not None)

    def arranged(self, value: Value, order: Order) -> Tensor:
        """The value's tensor in `order`."""
        return self.drawing.arranged(value, order)

    def image(self, index: int) -> tuple[Tensor, int]:
        """Input `index` as (N, H, W, C), and the rank it has; (N, C, W) is an image of one row."""
        value = self.floats(index)
        if value.rank not in (3, 4):
            raise ShapeError(
                f"{self.where}: found an input of shape {value.shape}, expected (N, C, H, W) or "
                "(N, C, W); fastcnn has no windows of other ranks"
            )
        tensor = self.arranged(value, channels_last(value.rank))
        return (ops.expand_dims(tensor, 1) if value.rank == 3 else tensor), value.rank

    def from_image(self, tensor: Tensor, rank: int, kind: str = "float") -> Value:
        """(N, P, Q, K) as the ONNX tensor of that rank."""
        if rank == 3:
            tensor = ops.squeeze(tensor, 1)
        return Value(tensor, channels_last(rank), kind)

    def broadcast(self, *indices: int) -> tuple[list[Any], Order]:
        """Inputs as operands of one elementwise op, and the order in which their result lies.

        Constants are arrays. Before operator set 7 the second of two may be aligned by `axis`.
        """
        if self.opset < 7 and "axis" in self.node.attributes:
            self.inputs[indices[1]] = self._aligned(*indices)
        values = [v for v in (self.inputs[i] for i in indices) if isinstance(v, Value)]
        if not values:
            values = [self.floats(indices[0])]
        order = common_order(values)
        constants = (a for a in (self.inputs[i] for i in indices) if isinstance(a, np.ndarray))
        rank = max(len(order), 0, *(a.ndim for a in constants))
        # A constant of more axes than any tensor gives the result its axes.
        least = rank if rank > len(order) else 0
        order = natural(rank) if least else order
        return [self._operand(i, order, least) for i in indices], order

    def _aligned(self, first: int, second: int) -> Value | Array:
        """The second input with ones behind, so that it begins at `axis` of the first."""
        rank = self.value(first).rank
        found = self.inputs[second]
        behind = rank - self.attribute("axis") % rank
        if isinstance(found, np.ndarray):
            return found.reshape(found.shape + (1,) * (behind - found.ndim))
        tensor = self.value(second).natural()
        for _ in range(behind - tensor.ndim):
            tensor = ops.expand_dims(tensor, -1)
        return Value(tensor, natural(tensor.ndim), self.value(second).kind)

    def _operand(self, index: int, order: Order, least: int) -> Any:
        found = self.inputs[index]
        if isinstance(found, Value):
            if found.kind in ("int", "position"):
                raise self._integers(index)
            settled = found.settled()
            if (order, settled.order) == (natural(len(order)), natural(found.rank)):
                return settled.tensor
            return self.arranged(lifted(settled, len(order)), order)
        array = self.array(index)
        if array.dtype.kind not in "fbiu":
            raise ShapeError(f"{self.where}: input {index} has unknown sizes; fix the input sizes")
        return arrange_array(array.astype(self.drawing.dtype), order, min(least, array.ndim))

    def layer(
        self, cls: type[Layer], x: Any, weights: dict[str, Array] | None = None, **config: Any
    ) -> Any:
        """The output for `x` of a new layer named after this node.

        Args:
            weights: values of the layer's weights by attribute (kernel, bias, gamma, ...).
        """
        return self.drawing.layer(self, cls, x, weights or {}, **config)

    def absorb(self, op_type: str, fits: Callable[[Array], bool]) -> Array | None:
        """The constant that the only reader of the output, an `op_type`, combines it with.

        That reader then needs no drawing: its result is this node's.
        """
        return self.drawing.absorb(self, op_type, fits)
