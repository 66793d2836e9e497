# SPDX-License-Identifier: Apache-2.0
"""Joining, cutting and padding: Concat, Slice and Pad, each made of the others' gradients."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Array, Node, Op, Spec, Tensor
from fastcnn.ops._apply import apply
from fastcnn.records import dataclass

MAX_RANK = 6


def normal_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front, or a ShapeError."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ArgumentError(f"found axis {axis!r}, expected an integer")
    if not -rank <= axis < rank:
        raise ShapeError(
            f"found axis {axis} for an input of rank {rank}, expected {-rank} to {rank - 1}; "
            "count axes from 0, or from -1 at the end"
        )
    return axis % rank


def numbered(name: str, values: Sequence[int]) -> dict[str, int]:
    """A tuple as the kernels' attributes name0 to name5; missing ones are 0."""
    return {f"{name}{i}": values[i] if i < len(values) else 0 for i in range(MAX_RANK)}


@final
@dataclass(frozen=True)
class Concat(Op):
    """The inputs one after the other along `axis`; any dtype."""

    axis: int = -1
    name: ClassVar[str] = "concat"
    image_by_image: ClassVar[bool] = True

    def infer(self, *inputs: Spec) -> Spec:
        """Sizes along the axis add up; all others agree."""
        if not inputs:
            raise ShapeError(
                "found no inputs to join, expected at least one; give a list of tensors"
            )
        first = inputs[0]
        axis = normal_axis(self.axis, first.rank)
        for position, spec in enumerate(inputs[1:], 1):
            if spec.dtype != first.dtype:
                raise DtypeError(
                    f"found {first.dtype} for input 0 and {spec.dtype} for input {position}, "
                    "expected one dtype; convert them first"
                )
            if spec.rank != first.rank or not _agree(first, spec, axis):
                raise ShapeError(
                    f"found shapes {first.shape} for input 0 and {spec.shape} for input "
                    f"{position}, expected equal sizes but on axis {axis}; pad or crop them first"
                )
        shape = [_known(dims) for dims in zip(*(s.shape for s in inputs), strict=True)]
        along = [s.shape[axis] for s in inputs]
        shape[axis] = None if None in along else sum(d for d in along if d is not None)
        return first.with_shape(*shape)

    def reference(self, *inputs: Array) -> Array:
        """numpy.concatenate."""
        return np.concatenate(inputs, self.axis)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Each input's part of dy."""
        rank = node.specs[0].rank
        axis = normal_axis(self.axis, rank)
        begin, parts = 0, []
        for tensor in node.inputs:
            size = tensor.shape[axis]
            parts.append(_along(dys[0], axis, rank, begin, size))
            begin += size or 0
        return parts

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The axis, counted from the front."""
        return {"axis": normal_axis(self.axis, inputs[0].rank)}


def _agree(a: Spec, b: Spec, axis: int) -> bool:
    pairs = enumerate(zip(a.shape, b.shape, strict=True))
    return all(p == q or None in (p, q) for i, (p, q) in pairs if i != axis)


def _known(dims: Sequence[int | None]) -> int | None:
    return next((d for d in dims if d is not None), None)


def _along(x: Any, axis: int, rank: int, begin: int, size: int | None) -> Any:
    """The slice [begin, begin + size) of one axis."""
    begins, sizes = [0] * rank, [None] * rank  # type: list[int], list[int | None]
    begins[axis], sizes[axis] = begin, size
    return apply(Slice(tuple(begins), tuple(sizes)), x)


@final
@dataclass(frozen=True)
class Slice(Op):
    """The block that starts at `begin` and has `size`; a size of None reaches to the end.

    Any dtype.
    """

    begin: tuple[int, ...]
    size: tuple[int | None, ...]
    name: ClassVar[str] = "slice"

    def infer(self, *inputs: Spec) -> Spec:
        """`size`, where the block lies inside the input."""
        x = inputs[0]
        if not len(self.begin) == len(self.size) == x.rank:
            raise ShapeError(
                f"found starts {self.begin} and sizes {self.size} for an input of shape {x.shape}, "
                f"expected {x.rank} of each; give one per axis"
            )
        for axis, (begin, size, dim) in enumerate(zip(self.begin, self.size, x.shape, strict=True)):
            if begin < 0 or (size or 0) < 0 or (dim is not None and begin + (size or 0) > dim):
                raise ShapeError(
                    f"found start {begin} and size {size} along axis {axis} of an input of shape "
                    f"{x.shape}, expected a block inside it; move or shrink the block"
                )
        return x.with_shape(*self._sizes(x))

    def _sizes(self, x: Spec) -> list[int | None]:
        return [
            size if size is not None else (None if dim is None else dim - begin)
            for begin, size, dim in zip(self.begin, self.size, x.shape, strict=True)
        ]

    def reference(self, *inputs: Array) -> Array:
        """Basic indexing, copied."""
        block = (
            builtins.slice(begin, None if size is None else begin + size)
            for begin, size in zip(self.begin, self.size, strict=True)
        )
        return inputs[0][tuple(block)].copy()

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """dy with zeros around it."""
        pads = []
        for begin, size, dim in zip(self.begin, self.size, node.inputs[0].shape, strict=True):
            after = 0 if size is None or dim is None else dim - begin - size
            pads.append((begin, after))
        return (apply(Pad(tuple(pads)), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The starts; sizes are the output's."""
        return dict(numbered("begin", self.begin))


@final
@dataclass(frozen=True)
class Pad(Op):
    """`value` around the input: pads[axis] = (before, after), none negative; any dtype."""

    pads: tuple[tuple[int, int], ...]
    value: float = 0.0
    name: ClassVar[str] = "pad"

    def infer(self, *inputs: Spec) -> Spec:
        """Every axis grows by its pads."""
        x = inputs[0]
        if len(self.pads) != x.rank:
            raise ShapeError(
                f"found pads {self.pads} for an input of shape {x.shape}, expected {x.rank} pairs; "
                "give (before, after) for every axis"
            )
        if min((min(pair) for pair in self.pads), default=0) < 0:
            raise ShapeError(
                f"found a negative pad in {self.pads}, expected none below 0; crop instead"
            )
        _check_fits(self.value, x.dtype)
        return x.with_shape(
            *(None if d is None else d + sum(p) for d, p in zip(x.shape, self.pads, strict=True))
        )

    def reference(self, *inputs: Array) -> Array:
        """numpy.pad with a constant."""
        return np.pad(inputs[0], self.pads, constant_values=self.value)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """The inside of dy."""
        begin = tuple(before for before, _ in self.pads)
        shape = node.inputs[0].shape
        size = tuple(d if any(p) else None for d, p in zip(shape, self.pads, strict=True))
        return (apply(Slice(begin, size), dys[0]),)

    def attributes(self, *inputs: Spec) -> dict[str, int | float]:
        """The pads before each axis, and the value."""
        return {**numbered("before", [before for before, _ in self.pads]), "value": self.value}


def _check_fits(value: float, dtype: str) -> None:
    if np.dtype(dtype).kind not in "iu":
        return
    limits = np.iinfo(dtype)
    if value != int(value) or not limits.min <= value <= limits.max:
        raise ArgumentError(
            f"found the padding value {value} for a tensor of {dtype}, expected a whole number "
            f"from {limits.min} to {limits.max}; convert the tensor to float32 first"
        )


# --- functions ---------------------------------------------------------------------------------


def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors of equal sizes but along `axis`, by default the first as in NumPy.

    Raises:
        ShapeError: other sizes differ, or there is nothing to join.
        DtypeError: the tensors have different dtypes.
    """
    if not isinstance(xs, (list, tuple)):
        raise ArgumentError(
            f"ops.concatenate: found {type(xs).__name__}, expected a list of tensors"
        )
    return apply(Concat(axis), *xs)


def concat(xs: Sequence[Any], axis: int = -1) -> Any:
    """`concatenate` along the channels."""
    return concatenate(xs, axis)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut `x` along `axis` into equal sections, or at the indices given.

    Args:
        x: array or tensor whose size along `axis` is known.
        indices_or_sections: a number of equal parts, or increasing positions of the cuts.
        axis: the axis that is cut.

    Returns:
        A list of arrays or tensors.
    """
    shape = np.shape(x) if not hasattr(x, "shape") else x.shape
    axis = normal_axis(axis, len(shape))
    size = shape[axis]
    if size is None:
        raise ShapeError(f"split: axis {axis} of shape {shape} has no known size; cut another axis")
    if isinstance(indices_or_sections, (int, np.integer)):
        count = int(indices_or_sections)
        if count < 1 or size % count:
            raise ShapeError(
                f"split: found {count} sections for axis {axis} of size {size}, expected a divisor "
                f"of {size}; give the positions of the cuts for unequal parts"
            )
        cuts = [size // count * i for i in range(count + 1)]
    else:
        cuts = [0, *(int(i) for i in indices_or_sections), size]
        if sorted(cuts) != cuts:
            raise ShapeError(
                f"split: found cuts at {cuts[1:-1]} for axis {axis} of size {size}, expected "
                f"increasing positions from 0 to {size}; sort them"
            )
    rank = len(shape)
    return [_along(x, axis, rank, begin, end - begin) for begin, end in pairwise(cuts)]


def slice(x: Any, start_indices: Sequence[int], shape: Sequence[int | None]) -> Any:
    """The block of `shape` that starts at `start_indices`; None reaches to the axis' end."""
    sizes = tuple(None if s is None else int(s) for s in shape)
    return apply(Slice(tuple(int(i) for i in start_indices), sizes), x)


def pad(
    x: Any,
    pad_width: int | Sequence[Sequence[int]],
    mode: str = "constant",
    constant_values: float = 0.0,
) -> Any:
    """Constant values around `x`.

    Args:
        x: array or tensor.
        pad_width: (before, after) for every axis, or one number for all sides.
        mode: "constant" is the only one.
        constant_values: the value around.
    """
    if mode != "constant":
        raise ArgumentError(f"pad: found mode='{mode}', expected 'constant', the only one there is")
    rank = len(x.shape) if hasattr(x, "shape") else np.ndim(x)
    return apply(Pad(_pairs(pad_width, rank), float(constant_values)), x)


def crop(x: Any, cropping: int | Sequence[Sequence[int]]) -> Any:
    """`x` without (before, after) elements of every axis, or without one number on all sides."""
    shape = x.shape if hasattr(x, "shape") else np.shape(x)
    pairs = _pairs(cropping, len(shape))
    sizes: list[int | None] = []
    for dim, (before, after) in zip(shape, pairs, strict=True):
        if dim is None and after:
            raise ShapeError(f"crop: shape {shape} is not known where {cropping} crops its end")
        sizes.append(dim - before - after if dim is not None and before + after else None)
        if min(before, after) < 0 or (sizes[-1] or 0) < 0:
            raise ShapeError(
                f"crop: found cropping {pairs} for shape {tuple(shape)}, expected no negative "
                "number and none beyond the size; crop less"
            )
    return slice(x, [before for before, _ in pairs], sizes)


def _pairs(widths: int | Sequence[Sequence[int]], rank: int) -> tuple[tuple[int, int], ...]:
    if isinstance(widths, (int, np.integer)):
        return ((int(widths), int(widths)),) * rank
    pairs = tuple(tuple(int(w) for w in pair) for pair in widths)
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ShapeError(
            f"found widths {widths} for an input of rank {rank}, expected (before, after) for "
            "every axis; give (0, 0) for axes that stay as they are"
        )
    return pairs  # type: ignore[return-value]


OPS: tuple[type[Op], ...] = (Concat, Slice, Pad)
