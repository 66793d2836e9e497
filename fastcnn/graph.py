# SPDX-License-Identifier: Apache-2.0
"""The graph: immutable nodes of coarse operations over tensors of known shape.

    Op      what is computed: a frozen dataclass of static attributes
    Node    an op applied to tensors, with the layer it belongs to
    Tensor  one output of a node, with its Spec (shape and dtype)

Leaves are nodes too: `Placeholder` (fed at run time), `Constant`, and `State` (a `Parameter`).
A dimension may be None while a model is being drawn (the batch, mostly); a plan needs them all.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, cast, final

import numpy as np

from fastcnn import storage
from fastcnn.errors import DtypeError, FastcnnError, NotDifferentiableError, ShapeError, located
from fastcnn.records import dataclass

Shape = tuple[int | None, ...]
Array = np.ndarray[Any, Any]


@final
@dataclasses.dataclass(frozen=True)  # compiled: every call of a model makes and compares some
class Spec:
    """Shape and dtype of a tensor; a dimension of None is not known yet."""

    shape: Shape
    dtype: str = "float32"

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every dimension is known."""
        return None not in self.shape

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of a static spec as plain integers."""
        if not self.is_static:
            raise ShapeError(f"shape {self.shape} is not fully known; bind the batch size first")
        return self.shape  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """Number of elements of a static spec."""
        count = 1
        for dim in self.sizes:
            count *= dim
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of a static spec."""
        return self.size * np.dtype(self.dtype).itemsize

    def with_shape(self, *shape: int | None) -> Spec:
        """The same dtype with another shape."""
        return Spec(tuple(shape), self.dtype)

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype}({dims})"


def spec_of(array: Array) -> Spec:
    """Spec of a NumPy array."""
    return Spec(tuple(array.shape), array.dtype.name)


class Op(ABC):
    """An operation: static attributes, and all that is known about it.

    Subclasses are final frozen dataclasses. `inplace` maps an output to the input whose memory it
    may overwrite, where there is such an input; `is_view` says that output 0 is input 0's memory
    under another shape; `strided_inputs` are those whose pixels may lie apart, inside a wider
    tensor's; `image_by_image` says that an image of the batch knows nothing of the others, which
    passes that divide a batch ask.
    """

    name: ClassVar[str]
    inplace: ClassVar[dict[int, int]] = {}
    is_view: ClassVar[bool] = False
    strided_inputs: ClassVar[frozenset[int]] = frozenset()
    image_by_image: ClassVar[bool] = False

    @abstractmethod
    def infer(self, *inputs: Spec) -> Spec | tuple[Spec, ...]:
        """Specs of the outputs, or a ShapeError/DtypeError that says what would work."""

    @abstractmethod
    def reference(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """The outputs, written to be read; float32 and float64."""

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Symbolic gradient for each input, given that of each output (None: not needed)."""
        raise NotDifferentiableError(
            f"{self.name} has no gradient; cut the graph before it or use another operation"
        )

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The numbers a kernel needs beside its tensors, by the names of `kernels.def`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def strided_output(self, index: int, *inputs: Spec) -> bool:
        """Whether all kernels can write output `index` into a wider tensor's pixels."""
        return False

    def macs(self, *inputs: Spec) -> int:
        """Multiply-accumulates of one run (convolutions and matrix products; others count none)."""
        return 0


@final
@dataclass(frozen=True, eq=False)
class Node:
    """An op applied to tensors. `call` is the outermost layer call that emitted it, if any."""

    op: Op
    inputs: tuple[Tensor, ...]
    specs: tuple[Spec, ...]
    layer: str = ""
    source: str = ""
    call: Any = None

    @functools.cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """The node's output tensors, the same objects each time."""
        return tuple(Tensor(self, i) for i in range(len(self.specs)))

    @property
    def name(self) -> str:
        """Layer and op, for printing."""
        return f"{self.layer}/{self.op.name}" if self.layer else self.op.name

    def __str__(self) -> str:
        return f"{self.name}{[str(t.spec) for t in self.inputs]} -> {[str(s) for s in self.specs]}"


@final
@dataclass(frozen=True, eq=False)
class Tensor:
    """Output `index` of `node`. Arithmetic operators are attached by `fastcnn.ops`.

    A node makes its own, once, so the same output is the same object.
    """

    node: Node
    index: int = 0

    # NumPy must not try to loop over a symbolic tensor in `array + tensor`.
    __array_ufunc__: ClassVar[None] = None

    @property
    def spec(self) -> Spec:
        """Shape and dtype."""
        return self.node.specs[self.index]

    @property
    def shape(self) -> Shape:
        """Shape; None where not known yet."""
        return self.spec.shape

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.spec.rank

    @property
    def name(self) -> str:
        """Name of the node that makes it."""
        return self.node.name

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise DtypeError(
            f"{self} is symbolic and has no values; use fastcnn.ops on it, or run a Model"
        )

    def __bool__(self) -> bool:
        raise DtypeError(f"{self} is symbolic and has no truth value; graphs have no branches")

    def __len__(self) -> int:
        raise DtypeError(f"{self} is symbolic; use its .shape")

    def __str__(self) -> str:
        return f"<Tensor {self.name} {self.spec}>"

    __repr__ = __str__


def numbers_of(value: Any, where: str) -> Array:
    """The array of numbers that `value` is or spells out, or a DtypeError."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DtypeError(f"{where}: found something that is no array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{where}: found values of dtype {array.dtype}, expected real numbers")
    return array


@final
@dataclass(frozen=True)
class Pending:
    """An array that is drawn once someone needs it."""

    spec: Spec
    draw: Callable[[], Array]


class _Write:
    """Stands for the last write of any parameter: each write leaves another one."""


# Reentrant: an initializer may look at another weight.
_drawing = threading.RLock()


@final
class Parameter:
    """A named array that outlives a run: a weight, a running statistic, an optimizer slot.

    `value` keeps its address: it is written in place, so plans may bind to it once. `version`
    counts the writes, so that what was computed from it can be known to be stale. Given a `Pending`
    in place of an array, the first value is only drawn when someone looks at it, so weights that
    are read from a file are never drawn.

    Args:
        name: unique within its layer.
        value: the array, or one to be drawn later.
        trainable: False for statistics that training does not optimise.
        regularizer: adds to the training loss.
        path: the name with those of the layers around it; the model sets it.
    """

    # `array + parameter` is for the operators here; functions of NumPy still take a parameter.
    __array_priority__: ClassVar[float] = 1000.0

    # Who has seen this very object has seen all writes of all parameters.
    last_write: ClassVar[object] = _Write()

    def __init__(
        self,
        name: str,
        value: Array | Pending,
        trainable: bool = True,
        regularizer: Any = None,
        path: str = "",
    ) -> None:
        self.name = name
        self.trainable = trainable
        self.regularizer = regularizer
        self.path = path
        self.version = 0
        self.spec = value.spec if isinstance(value, Pending) else spec_of(value)
        self._value = value
        self._release: Callable[[], None] | None = None
        self._leaf: Any = None

    def __repr__(self) -> str:
        return f"Parameter('{self.path or self.name}', {self.spec})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_value": self.value, "_release": None}

    @property
    def value(self) -> Array:
        """The array itself; write with `assign`, which counts the write."""
        if isinstance(self._value, Pending):
            with _drawing:  # two threads must end up with one array
                if isinstance(self._value, Pending):
                    drawn = np.ascontiguousarray(self._value.draw(), self.dtype)
                    self._value = storage.settled(drawn)
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return cast("tuple[int, ...]", self.spec.shape)

    @property
    def dtype(self) -> str:
        """Name of the value's dtype."""
        return self.spec.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def assign(self, value: Any) -> None:
        """Overwrite the value in place; a ShapeError leaves it as it was."""
        array = numbers_of(value, f"weight '{self.path or self.name}'")
        if array.shape != self.shape:
            raise ShapeError(
                f"weight '{self.path or self.name}' has shape {self.shape} but the new value "
                f"has shape {array.shape}; give an array of exactly that shape"
            )
        with _drawing:
            if isinstance(self._value, Pending):
                self._value = storage.empty(self.shape, self.dtype)
        self.own()
        self._value[...] = array
        self.count_write()

    def adopt(self, array: Array, release: Callable[[], None] | None) -> None:
        """`assign` without a copy where that can be: of an array that lies in a mapped file.

        The value then is read-only until something is assigned to it, or training begins.

        Args:
            array: of this shape; nobody else writes to it.
            release: gives back the pages of memory under it, as long as nothing was written.
        """
        ready = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
        same = array.shape == self.shape and array.dtype.name == self.dtype
        with _drawing:
            taken = release is not None and ready and same and isinstance(self._value, Pending)
            if taken:
                self._value, self._release = array, release
        if not taken:
            self.assign(array)
        self.count_write()

    @property
    def adopted(self) -> bool:
        """Whether the value lies in a mapped file."""
        return self._release is not None

    def own(self) -> None:
        """Make the value one that may be written to, and that is not given back."""
        with _drawing:
            if self._release is not None:
                self._release = None
                self.value.flags.writeable = True

    def release(self) -> None:
        """Give back the memory of a value that lies in a mapped file, to be read anew if needed."""
        with _drawing:
            if self._release is not None:
                self._release()

    def count_write(self) -> None:
        """Note that the value has changed."""
        self.version += 1
        Parameter.last_write = _Write()

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype)

    @property
    def tensor(self) -> Tensor:
        """The one symbolic leaf that stands for this parameter."""
        if self._leaf is None:
            self._leaf = Node(State(self), (), (self.spec,)).outputs[0]
        return self._leaf  # type: ignore[no-any-return]


class Leaf(Op):
    """An op without inputs: the plan provides its value."""

    def reference(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """Leaves are not computed."""
        raise NotImplementedError(f"{self.name} is a leaf")


@final
@dataclass(frozen=True, eq=False)
class Placeholder(Leaf):
    """A tensor fed at run time."""

    spec: Spec
    label: str = "input"
    name: ClassVar[str] = "placeholder"

    def infer(self, *inputs: Spec) -> Spec:
        """Its own spec."""
        return self.spec


@final
@dataclass(frozen=True, eq=False)
class Constant(Leaf):
    """A fixed array."""

    value: Array
    name: ClassVar[str] = "constant"

    def infer(self, *inputs: Spec) -> Spec:
        """Spec of the array."""
        return spec_of(self.value)


@final
@dataclass(frozen=True, eq=False)
class State(Leaf):
    """A parameter as it stands when the run begins."""

    parameter: Parameter
    name: ClassVar[str] = "state"

    def infer(self, *inputs: Spec) -> Spec:
        """Spec of the parameter."""
        return self.parameter.spec


def placeholder(shape: Iterable[int | None], dtype: str = "float32", name: str = "input") -> Tensor:
    """A symbolic tensor to be fed at run time."""
    spec = Spec(tuple(shape), dtype)
    return Node(Placeholder(spec, name), (), (spec,), layer=name).outputs[0]


def native(array: Array) -> Array:
    """The array, or a copy: C-contiguous, aligned and in this machine's byte order."""
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def constant(value: Any, dtype: str | None = None) -> Tensor:
    """A symbolic tensor that holds a copy of `value`."""
    array = native(np.array(value, dtype=dtype, order="C"))
    return Node(Constant(array), (), (spec_of(array),)).outputs[0]


def infer(op: Op, specs: Sequence[Spec], layer: str = "") -> tuple[Spec, ...]:
    """Output specs of `op`, with the layer's or op's name in front of any error."""
    try:
        out = op.infer(*specs)
    except FastcnnError as error:
        where = f"layer '{layer}' ({op.name})" if layer else f"ops.{op.name}"
        raise located(error, where) from None
    return out if isinstance(out, tuple) else (out,)


def view_root(tensor: Tensor) -> Tensor:
    """The tensor whose memory `tensor` is, under another shape or not."""
    while tensor.node.op.is_view:
        tensor = tensor.node.inputs[0]
    return tensor


def topological(outputs: Iterable[Tensor]) -> list[Node]:
    """All ancestors of `outputs`, inputs before users, in a fixed depth-first order."""
    done: dict[Node, None] = {}  # in their order
    opened: set[Node] = set()
    stack = [tensor.node for tensor in outputs][::-1]
    while stack:
        node = stack[-1]
        if node not in opened:
            opened.add(node)
            stack.extend([t.node for t in reversed(node.inputs) if t.node not in done])
        else:
            # Its inputs are done. It may have been on the stack more than once.
            done.setdefault(stack.pop())
    return list(done)
