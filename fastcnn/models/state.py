# SPDX-License-Identifier: Apache-2.0
"""The weights of a model in PyTorch's names and layouts, and back.

A Dense layer behind a Flatten reads its inputs in (H, W, C) order here and in (C, H, W) order in
PyTorch: where the drawn graph shows that, the rows of its weights are put in order too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fastcnn.errors import DtypeError, ShapeError
from fastcnn.graph import Array, Node, Parameter, State, Tensor, numbers_of, topological
from fastcnn.layers.foreign import Foreign
from fastcnn.ops.dense import MatMul
from fastcnn.ops.shape import Reshape
from fastcnn.records import dataclass

if TYPE_CHECKING:
    from fastcnn.models.model import Model

Maps = tuple[int, ...]


@final
@dataclass(frozen=True)
class Entry:
    """One weight in `state_dict()`.

    Attributes:
        parameter: the weight.
        foreign: PyTorch's name and axes of it.
        maps: sizes (H, W, C) of the maps that were flattened into its first axis, or none.
    """

    parameter: Parameter
    foreign: Foreign
    maps: Maps = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in PyTorch's layout."""
        return self.foreign.shape(self.parameter.shape)

    def outward(self) -> Array:
        """A copy of the value in PyTorch's layout."""
        value = self.parameter.value
        if self.maps:
            channels_first = np.moveaxis(value.reshape(*self.maps, -1), len(self.maps) - 1, 0)
            value = channels_first.reshape(value.shape)
        return self.foreign.outward(value)

    def inward(self, array: Array) -> Array:
        """An array in PyTorch's layout as a value of the parameter."""
        value = self.foreign.inward(array, self.parameter.shape)
        if self.maps:
            *sizes, channels = self.maps
            value = np.moveaxis(value.reshape(channels, *sizes, -1), 0, len(sizes))
        return value.reshape(self.parameter.shape)


def entries(model: Model) -> dict[str, Entry]:
    """All weights of `model` by their names in `state_dict()`."""
    maps = _flattened_maps(model.outputs)
    found = {}
    for prefix, owner, parameter in model.owned_weights():
        foreign = owner.foreign.get(parameter.name, Foreign(parameter.name))
        found[prefix + foreign.name] = Entry(parameter, foreign, maps.get(id(parameter), ()))
    return found


def _flattened_maps(outputs: Sequence[Tensor]) -> dict[int, Maps]:
    """By id of a parameter: the maps (H, W, C) whose flattening its first axis follows."""
    flat: dict[Tensor, Maps] = {}
    found: dict[int, Maps] = {}
    for node in topological(outputs):
        maps = _maps_flattened_by(node) or next((flat[t] for t in node.inputs if t in flat), ())
        if not maps:
            continue
        size = math.prod(maps)
        for tensor in node.inputs:
            if isinstance(tensor.node.op, State) and tensor.shape[0] == size:
                found[id(tensor.node.op.parameter)] = maps
        if not isinstance(node.op, MatMul):
            flat.update({t: maps for t in node.outputs if t.ndim == 2 and t.shape[1] == size})
    return found


def _maps_flattened_by(node: Node) -> Maps:
    """Sizes (H, W, C) where the node flattens maps of more than one pixel."""
    if not isinstance(node.op, Reshape):
        return ()
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if len(before) < 3 or len(after) != 2 or None in before[1:] or after[1] == before[-1]:
        return ()
    sizes = tuple(int(d) for d in before[1:] if d is not None)
    return sizes if math.prod(sizes) == after[1] else ()


# --- methods of Model ----------------------------------------------------------------------------


def state_dict(self: Model) -> dict[str, Array]:
    """Copies of all weights and statistics, named and laid out as PyTorch does.

    `layer1.0.conv1.weight` (K, C/G, R, S), `fc.weight` (K, C), `bn1.running_mean` and so on; the
    columns of a Dense layer behind a Flatten are in (C, H, W) order. The networks of
    `fastcnn.applications` carry torchvision's names, so that PyTorch loads what this returns.
    """
    return {name: entry.outward() for name, entry in entries(self).items()}


def load_state_dict(self: Model, state_dict: Mapping[str, Any], strict: bool = True) -> None:
    """Overwrite weights by the names and layouts of `state_dict()`, all or none.

    Args:
        state_dict: arrays, or tensors of PyTorch on the CPU. PyTorch's counters of batches
            (`num_batches_tracked`) are passed over.
        strict: missing or unexpected names are an error.

    Raises:
        ShapeError: names or shapes do not match; all of them are listed, nothing was changed.
    """
    known = entries(self)
    arrays = as_arrays(self, state_dict)
    arrays = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}
    check(self, {name: e.shape for name, e in known.items()}, arrays, strict)
    for name, entry in known.items():
        if name in arrays:
            entry.parameter.assign(entry.inward(arrays[name]))


def as_arrays(model: Model, given: Any) -> dict[str, Array]:
    """`given` as NumPy arrays by name."""
    if not isinstance(given, Mapping):
        raise DtypeError(
            f"model '{model.name}': found weights of type {type(given).__name__}, expected a "
            "dict of arrays by name; pass what state_dict() returns"
        )
    where = f"model '{model.name}': weight"
    return {name: numbers_of(value, f"{where} '{name}'") for name, value in given.items()}


def check(
    model: Model,
    expected: Mapping[str, tuple[int, ...]],
    arrays: Mapping[str, Array],
    strict: bool = True,
) -> None:
    """Raise a ShapeError that lists all names and shapes that do not fit."""
    problems = []
    missing = [n for n in expected if n not in arrays]
    unexpected = [n for n in arrays if n not in expected]
    if strict and missing:
        problems.append(f"missing {missing}")
    if strict and unexpected:
        problems.append(f"unexpected {unexpected}")
    problems += [
        f"'{n}' has shape {arrays[n].shape} where {shape} is expected"
        for n, shape in expected.items()
        if n in arrays and arrays[n].shape != shape
    ]
    if problems:
        raise ShapeError(
            f"model '{model.name}' cannot take these weights: {'; '.join(problems)}; "
            "nothing was changed"
        )
