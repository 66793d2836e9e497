# SPDX-License-Identifier: Apache-2.0
"""Tensors of an ONNX graph as they lie here: in another order of axes, or still as an image.

ONNX images are (N, C, H, W), ours (N, H, W, C). A `Value` remembers which axis is which, so that a
Transpose costs nothing, elementwise ops work in any order, and a flattened image can be left as it
lies until somebody looks at its columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.graph import Array, Shape, Tensor

Order = tuple[int, ...]


@final
class Unknown:
    """A size that is not known while a model is drawn, such as the batch, in an array of sizes.

    Args:
        axis: the axis of the tensor it was read from; None for what was computed from such sizes.
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis

    def _computed(self, *_: Any) -> Unknown:
        return Unknown()

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _computed
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __neg__ = _computed

    def __repr__(self) -> str:
        return "?"


def with_known_sizes(found: Any) -> Any:
    """An array of sizes as integers where none of them has to wait; all else as it is."""
    if isinstance(found, np.ndarray) and found.dtype == object:
        flat = found.reshape(-1).tolist()
        return found if any(isinstance(d, Unknown) for d in flat) else found.astype(np.int64)
    return found


def natural(rank: int) -> Order:
    """ONNX's own order of axes."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """(N, C, spatial...) with the channels moved to the end; matrices and vectors stay."""
    return (0, *range(2, rank), 1) if rank > 2 else natural(rank)


@final
@dataclass(frozen=True)
class Value:
    """A symbolic tensor.

    Attributes:
        tensor: ours.
        order: axis i of `tensor` is axis order[i] of the ONNX tensor.
        kind: "float"; "bool" as floats 0 and 1; "int" as int32; "position" as int32 positions
            h * W + w in the plane, for which ONNX counts in the whole tensor.
        flat: the ONNX tensor is this one with all axes but the first made one, in ONNX's order.
        plane: of positions, H and W, and whether ONNX counts down the columns.
    """

    tensor: Tensor
    order: Order
    kind: str = "float"
    flat: bool = False
    plane: tuple[int, int, bool] = (0, 0, False)

    @property
    def shape(self) -> Shape:
        """Shape of the ONNX tensor."""
        sizes = self._sizes
        if not self.flat:
            return sizes
        rest = sizes[1:]
        return (sizes[0], None if None in rest else math.prod(d for d in rest if d is not None))

    @property
    def _sizes(self) -> Shape:
        return tuple(self.tensor.shape[self.order.index(i)] for i in range(len(self.order)))

    @property
    def rank(self) -> int:
        """Rank of the ONNX tensor."""
        return 2 if self.flat else len(self.order)

    def axis(self, axis: int) -> int:
        """Where axis `axis` of the ONNX tensor lies."""
        return self.order.index(axis % self.rank)

    def with_tensor(self, tensor: Tensor, kind: str | None = None) -> Value:
        """Another tensor that lies in the same way."""
        return replace(self, tensor=tensor, kind=self.kind if kind is None else kind)

    def with_plane(self, plane: tuple[int, int, bool]) -> Value:
        """Positions in another plane."""
        return replace(self, plane=plane)

    def settled(self) -> Value:
        """The same, with axes of its own where it was a flattened image."""
        if not self.flat:
            return self
        image = replace(self, flat=False).arranged(natural(len(self.order)))
        return replace(self, tensor=ops.flatten(image.tensor), order=(0, 1), flat=False)

    def arranged(self, order: Order) -> Value:
        """The same with its axes in `order`."""
        value = self.settled()
        if value.order == order:
            return value
        moves = tuple(value.order.index(axis) for axis in order)
        return replace(value, tensor=ops.transpose(value.tensor, moves), order=order)

    def natural(self) -> Tensor:
        """The tensor with ONNX's own order of axes."""
        return self.arranged(natural(self.rank)).tensor


def arrange_array(array: Array, order: Order, least: int = 0) -> Array:
    """A constant as it broadcasts with tensors that lie in `order`.

    Ones in front are left out, down to `least` axes.
    """
    full = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)
    while full.ndim > least and full.shape[0] == 1:
        full = full[0]
    return np.asarray(full, order="C")


def lifted(value: Value, rank: int) -> Value:
    """The value with ones in front, up to `rank` axes."""
    value = value.settled()
    more = rank - value.rank
    if not more:
        return value
    tensor = value.tensor
    for _ in range(more):
        tensor = ops.expand_dims(tensor, 0)
    return Value(tensor, (*range(more), *(axis + more for axis in value.order)), value.kind)


def common_order(values: Sequence[Value]) -> Order:
    """The order that costs least for an elementwise op: that of the tensor with most axes.

    Where two of them differ, the one that does not lie in ONNX's own order is followed.
    """
    rank = max(v.rank for v in values)
    orders = [v.settled().order for v in values if v.rank == rank]
    return next((o for o in orders if o != natural(rank)), orders[0])
