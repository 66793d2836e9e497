# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph being written, and where the axes of every tensor lie in it.

Images are (N, H, W, C) here and (N, C, H, W) in ONNX. No tensor is turned round for that: of each
is noted in which order its axes were written. Convolutions ask for channels first, elementwise
operations take what comes, and a transposition is only written where neither will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from fastcnn.graph import Array, Constant, Node, State, Tensor
from fastcnn.ops.elementwise_binary import Add

Order = tuple[int, ...]
Emitter = Callable[["GraphWriter", Node, Any], None]

# Numbers of ONNX's TensorProto.DataType.
TYPES = {
    "float32": 1,
    "uint8": 2,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float64": 11,
    "uint32": 12,
}


class CannotExport(Exception):
    """Why an operation has no counterpart in ONNX; joined with the others to one error."""


def as_drawn(rank: int) -> Order:
    """The axes in our own order."""
    return tuple(range(rank))


def channels_first(rank: int) -> Order:
    """(N, C, H, W) of (N, H, W, C), for any number of axes."""
    return as_drawn(rank) if rank < 3 else (0, rank - 1, *range(1, rank - 1))


def flat_order(maps: Sequence[int]) -> Array:
    """Where the elements of flattened maps (H, W, C) stand that were flattened as (C, H, W)."""
    last = len(maps) - 1
    return np.moveaxis(np.arange(math.prod(maps)).reshape(maps), last, 0).reshape(-1)


@final
@dataclass(frozen=True)
class Value:
    """A tensor as it was written.

    Attributes:
        name: in the ONNX graph.
        order: axis `order[i]` of the tensor lies at position i.
        maps: of a tensor (N, H * W * C): sizes (H, W, C) of the maps that were flattened channels
            first, or nothing.
    """

    name: str
    order: Order
    maps: tuple[int, ...] = ()


@final
@dataclass
class Record:
    """One node of the ONNX graph."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


@final
class GraphWriter:
    """Nodes and initializers so far, and the value of every tensor met.

    Args:
        opset: version of the operators.
        names: of parameters, by id.
        nodes: all that will be written, inputs before users.
        outputs: tensors that the graph returns.
    """

    def __init__(
        self,
        opset: int,
        names: Mapping[int, str],
        nodes: Sequence[Node],
        outputs: Sequence[Tensor],
    ) -> None:
        self.opset = opset
        self.records: list[Record] = []
        self.initializers: dict[str, Array] = {}
        self.layer = ""
        self._names = names
        self._values: dict[Tensor, Value] = {}
        self._fixed: dict[Tensor, tuple[str, Array]] = {}
        self._turned: dict[tuple[Tensor, Order, str], str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._used: dict[str, int] = {}
        self._readers: dict[Tensor, list[Node | None]] = {t: [None] for t in outputs}
        for node in nodes:
            for tensor in node.inputs:
                self._readers.setdefault(tensor, []).append(node)

    # --- names, nodes, constants -----------------------------------------------------------------

    def unique(self, name: str) -> str:
        """`name`, or with a number where it is taken."""
        count = self._used.get(name, -1) + 1
        self._used[name] = count
        return name if count == 0 else self.unique(f"{name}_{count}")

    def emit(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write a node; the name of its output."""
        return self.emit_several(1, kind, *inputs, **attributes)[0]

    def emit_several(self, count: int, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """Write a node of `count` outputs; their names."""
        name = self.unique(f"{self.layer}/{kind}" if self.layer else kind)
        outputs = [name, *(self.unique(f"{name}:{i}") for i in range(1, count))]
        self.records.append(Record(kind, name, list(inputs), outputs, attributes))
        return outputs

    def store(self, name: str, array: Array) -> str:
        """Write an initializer of its own."""
        name = self.unique(name)
        self.initializers[name] = np.asarray(array, order="C")
        return name

    def constant(self, value: Any, dtype: str, what: str = "constant") -> str:
        """A small initializer; equal ones are one."""
        array = np.asarray(value, dtype)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.store(what, array)
        return self._constants[key]

    def integers(self, values: Sequence[int], what: str) -> str:
        """An int64 vector: a shape, axes, pads."""
        return self.constant(list(values), "int64", what)

    # --- values of tensors -----------------------------------------------------------------------

    def put(
        self, tensor: Tensor, name: str, order: Order | None = None, maps: tuple[int, ...] = ()
    ) -> None:
        """Note what a tensor became; in our own order where none is given."""
        self._values[tensor] = Value(name, as_drawn(tensor.ndim) if order is None else order, maps)

    def put_like(self, tensor: Tensor, name: str, source: Tensor) -> None:
        """Note a tensor that lies as `source`, which has its shape."""
        value = self._values[source]
        self.put(tensor, name, value.order, value.maps)

    def known(self, tensor: Tensor) -> bool:
        """Whether the tensor has been written or is fixed."""
        return tensor in self._values or tensor in self._fixed

    def value(self, tensor: Tensor) -> Value:
        """A tensor as it was written; fixed ones are written now."""
        if tensor in self._fixed:
            return Value(self.take(tensor), as_drawn(tensor.ndim))
        return self._values[tensor]

    def plain(self, tensor: Tensor) -> Value:
        """A tensor that is not flattened channels first: turned back where it was."""
        value = self.value(tensor)
        if not value.maps:
            return value
        *sizes, channels = value.maps
        rank = len(value.maps) + 1
        shape = self.integers([0, channels, *sizes], "shape")
        maps = self.emit("Reshape", value.name, shape)
        turned = self.emit("Transpose", maps, perm=(0, *range(2, rank), 1))
        self.put(tensor, self.emit("Flatten", turned, axis=1))
        return self._values[tensor]

    def take(self, tensor: Tensor, order: Order | None = None) -> str:
        """The name of a tensor whose axes lie in `order`, by default our own."""
        order = as_drawn(tensor.ndim) if order is None else order
        key = (tensor, order, "")
        if key not in self._turned:
            self._turned[key] = self._turn(tensor, order)
        return self._turned[key]

    def _turn(self, tensor: Tensor, order: Order) -> str:
        array = self.fixed(tensor)
        if array is not None:
            return self.store(self.name_of_fixed(tensor), array.transpose(order))
        value = self.plain(tensor)
        if value.order == order:
            return value.name
        permutation = tuple(value.order.index(axis) for axis in order)
        return self.emit("Transpose", value.name, perm=permutation)

    def take_broadcast(self, tensor: Tensor, order: Order) -> str:
        """A tensor that broadcasts with one whose axes lie in `order`, of as many axes or more."""
        missing = len(order) - tensor.ndim
        if not missing:
            return self.take(tensor, order)
        own = tuple(axis - missing for axis in order if axis >= missing)
        # Positions of axes that the tensor lacks; leading ones need not be spelled out.
        first = next((i for i, axis in enumerate(order) if axis >= missing), len(order))
        new = [i - first for i, axis in enumerate(order) if axis < missing and i > first]
        key = (tensor, order, "broadcast")
        if key not in self._turned:
            array = self.fixed(tensor)
            if new and array is not None:
                spread = np.expand_dims(array.transpose(own), tuple(new))
                turned = self.store(self.name_of_fixed(tensor), spread)
            else:
                turned = self.unsqueeze(self.take(tensor, own), new)
            self._turned[key] = turned
        return self._turned[key]

    def common_order(self, tensors: Sequence[Tensor], rank: int) -> Order:
        """An order that suits several tensors: of the first that is not in our own."""
        plain = as_drawn(rank)
        orders = [self.plain(t).order for t in tensors if t.ndim == rank and t not in self._fixed]
        return next((order for order in orders if order != plain), plain)

    # --- fixed tensors: weights, constants and what is made of them ------------------------------

    def fix(self, tensor: Tensor, array: Array, name: str = "") -> None:
        """Note a tensor whose value is known."""
        op = tensor.node.op
        if isinstance(op, State):
            name = self._names.get(id(op.parameter), op.parameter.name)
        self._fixed[tensor] = (name, array)

    def fixed(self, tensor: Tensor) -> Array | None:
        """The value of a fixed tensor, else None."""
        return self._fixed[tensor][1] if tensor in self._fixed else None

    def name_of_fixed(self, tensor: Tensor) -> str:
        """What an initializer made of a fixed tensor is called."""
        name = self._fixed[tensor][0]
        return name or f"{self.layer or 'graph'}.constant"

    def fold(self, node: Node) -> None:
        """Note what a leaf holds, and what a node makes of fixed inputs alone."""
        if isinstance(node.op, (State, Constant)):
            leaf = node.op
            value = leaf.parameter.value if isinstance(leaf, State) else leaf.value
            self.fix(node.outputs[0], value)
        if not node.inputs or any(t not in self._fixed for t in node.inputs):
            return
        with np.errstate(all="ignore"):
            results = node.op.reference(*(self._fixed[t][1] for t in node.inputs))
        arrays = results if isinstance(results, tuple) else (results,)
        name = next((self._fixed[t][0] for t in node.inputs if self._fixed[t][0]), "")
        for tensor, array in zip(node.outputs, arrays, strict=True):
            self.fix(tensor, np.asarray(array, tensor.dtype), name)

    # --- looking ahead ---------------------------------------------------------------------------

    def readers(self, tensor: Tensor) -> list[Node | None]:
        """Nodes that read the tensor; None among them where the graph returns it."""
        return self._readers.get(tensor, [])

    def bias_after(self, node: Node) -> tuple[Tensor, list[str]]:
        """The tensor that `node` and its bias make, and the bias' name where there is one.

        That is so where the only reader of the node's output adds a fixed vector to it.
        """
        (output,) = node.outputs
        readers = self.readers(output)
        reader = readers[0] if len(readers) == 1 else None
        if reader is None or not isinstance(reader.op, Add) or reader.inputs[0] != output:
            return output, []
        bias = self.fixed(reader.inputs[1])
        if bias is None or bias.shape != (output.shape[-1],):
            return output, []
        return reader.outputs[0], [self.take(reader.inputs[1])]

    # --- operators whose form depends on the opset -----------------------------------------------

    def squeeze(self, name: str, positions: Sequence[int]) -> str:
        """Without the axes of size 1 at `positions`."""
        return self._with_axes("Squeeze", name, positions, 13)

    def unsqueeze(self, name: str, positions: Sequence[int]) -> str:
        """With axes of size 1 at `positions` of the result."""
        return self._with_axes("Unsqueeze", name, positions, 13)

    def _with_axes(
        self, kind: str, name: str, positions: Sequence[int], as_input: int, **attributes: Any
    ) -> str:
        """A node whose axes are an input from opset `as_input` on, an attribute before."""
        if not positions:
            return name
        if self.opset >= as_input:
            return self.emit(kind, name, self.integers(positions, "axes"), **attributes)
        return self.emit(kind, name, axes=list(positions), **attributes)

    def reduce(self, kind: str, name: str, positions: Sequence[int], keepdims: bool) -> str:
        """ReduceSum, ReduceMean, ReduceMax or ReduceMin over the axes at `positions`."""
        as_input = 13 if kind == "ReduceSum" else 18
        return self._with_axes(kind, name, positions, as_input, keepdims=int(keepdims))

    def reshape_as(self, name: str, source: str, sizes: Sequence[int | None]) -> str:
        """`name` in the shape of `source`, whose sizes are these where they are known."""
        if sum(size is None for size in sizes[1:]) > 1:
            return self.emit("Reshape", name, self.emit("Shape", source))
        rest = [-1 if size is None else size for size in sizes[1:]]
        first = 0 if sizes[0] is None else sizes[0]
        return self.emit("Reshape", name, self.integers([first, *rest], "shape"))
