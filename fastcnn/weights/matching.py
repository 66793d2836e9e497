# SPDX-License-Identifier: Apache-2.0
"""Which tensor of a file is which of a network's: the dialect that fits best, or one error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.weights import dialects
from fastcnn.weights.contents import Kind, WeightsFile
from fastcnn.weights.dialects import Dialect, Layout
from fastcnn.weights.dialects.base import Shapes, Sizes, Tensors

# Names given of a long list in a message.
LISTED = 8

# What DataParallel, torch.compile and training frameworks put before every name.
PREFIXES = ("module.", "_orig_mod.", "model.")

# A counter that PyTorch keeps beside running statistics.
_COUNTER = "num_batches_tracked"
# Where `Model.save` puts weights.
_OWN = "weights/"
_LAYOUTS: Mapping[Kind, tuple[Layout, ...]] = {
    "fastcnn": ("keras", "torch"),
    "safetensors": ("torch", "keras"),
    "torch": ("torch", "keras"),
    "keras": ("keras",),
}


@final
@dataclass(frozen=True)
class Checkpoint:
    """Tensors by a network's own names, in the expected shapes.

    Attributes:
        tensors: arrays by name.
        layout: "torch": names and layout of `state_dict()`; "keras": of `named_weights()`.
        dialect: whose names the file has, in words.
    """

    tensors: Mapping[str, Array]
    layout: Layout
    dialect: str


def match(
    file: WeightsFile,
    torch_shapes: Shapes,
    own_shapes: Shapes,
    *,
    where: str = "the network",
    ignore: Sequence[str] = (),
    skip_mismatch: bool = False,
    surplus: bool = False,
) -> Checkpoint:
    """Translate a file's names into a network's; `module.` and the like before all are taken off.

    1x1 convolutions and dense layers take each other's weights, as do a dense layer behind a
    flatten and a convolution over the whole map.

    Args:
        file: what `read` returned.
        torch_shapes: shapes by name that the network has in `state_dict()`.
        own_shapes: shapes by name that it has in `named_weights()`.
        where: the network, for messages.
        ignore: beginnings of names (translated) that the network leaves out, as "aux1.".
        skip_mismatch: take what fits and pass over the rest; something must fit.
        surplus: pass over tensors that have no place, as for a network without its top.

    Returns:
        Tensors in one of the two layouts; all that are expected unless `skip_mismatch`.

    Raises:
        ShapeError: tensors are missing, unexpected, of a wrong shape or not floating-point; all
            are named, and whose names the file was taken to have.
    """
    tensors = {
        name.removeprefix(_OWN) if file.kind == "fastcnn" else name: array
        for name, array in file.tensors.items()
        if not name.endswith(_COUNTER) and (file.kind != "fastcnn" or name.startswith(_OWN))
    }
    dialect, found = _best(tensors, file.kind, torch_shapes, own_shapes)
    shapes = torch_shapes if dialect.layout == "torch" else own_shapes
    found = {name: array for name, array in found.items() if not name.startswith(tuple(ignore))}
    found = dialect.adapt(found, shapes)
    if surplus:
        found = {name: array for name, array in found.items() if name in shapes}
    fitting = {
        name: fitted
        for name, array in found.items()
        if (fitted := _fitted(array, shapes.get(name), dialect.layout)) is not None
    }
    if not skip_mismatch or not fitting:
        _check(file, dialect, found, fitting, shapes, where)
    return Checkpoint(fitting, dialect.layout, dialect.name)


def _best(
    tensors: Tensors, kind: Kind, torch_shapes: Shapes, own_shapes: Shapes
) -> tuple[Dialect, Tensors]:
    """The dialect in which most tensors fit, then in which most names are known; renamed."""

    def score(candidate: tuple[Dialect, Tensors]) -> tuple[int, int]:
        dialect, renamed = candidate
        shapes = torch_shapes if dialect.layout == "torch" else own_shapes
        if len(renamed) < len(tensors):
            # Two tensors would have one name.
            return -1, 0
        known = [name for name in renamed if name in shapes]
        fits = [n for n in known if _fitted(renamed[n], shapes[n], dialect.layout) is not None]
        return len(fits), len(known)

    layouts = _LAYOUTS[kind]
    candidates = sorted(
        (dialect for dialect in dialects.ALL if dialect.layout in layouts),
        key=lambda dialect: layouts.index(dialect.layout),
    )
    variants = _without_prefixes(tensors)
    return max(((d, _renamed(v, d)) for v in variants for d in candidates), key=score)


def _without_prefixes(tensors: Tensors) -> list[Tensors]:
    """The tensors as they are, and without each prefix that stands before all names."""
    variants = [tensors]
    for prefix in PREFIXES * 2:
        last = variants[-1]
        if last and all(name.startswith(prefix) for name in last):
            variants.append({name.removeprefix(prefix): array for name, array in last.items()})
    return variants


def _renamed(tensors: Tensors, dialect: Dialect) -> Tensors:
    names = dialect.rename(list(tensors))
    return {names.get(name, name): array for name, array in tensors.items()}


def _fitted(array: Array, shape: Sizes | None, layout: Layout) -> Array | None:
    """The array in that shape, if it has it or is the same layer in another form."""
    if shape is None or array.dtype.kind != "f":
        return None
    if array.shape == shape:
        return array
    units = 0 if layout == "torch" else -1
    same_layer = (
        {array.ndim, len(shape)} == {2, 4}
        and array.shape[units] == shape[units]
        and array.size == math.prod(shape)
    )
    return array.reshape(shape) if same_layer else None


def _check(
    file: WeightsFile,
    dialect: Dialect,
    found: Mapping[str, Array],
    fitting: Mapping[str, Array],
    shapes: Shapes,
    where: str,
) -> None:
    missing = [f"'{name}'" for name in shapes if name not in found]
    unexpected = [f"'{name}'" for name in found if name not in shapes]
    wrong = [
        f"'{name}' of {array.dtype} {array.shape} where float {tuple(shapes[name])} is expected"
        for name, array in found.items()
        if name in shapes and name not in fitting
    ]
    if not missing and not unexpected and not wrong:
        return
    if not fitting:
        raise ShapeError(
            f"{where} cannot take the weights of '{file.path}': not one of its {len(found)} "
            f"tensors ({_some(unexpected or wrong, 3)}) has the name and shape of one of the "
            f"network's {len(shapes)} ({_some([f'{n!r}' for n in shapes], 3)}); it is another "
            "network's, and nothing was changed"
        )
    problems = [
        f"{len(listed)} {what}: {_some(listed)}"
        for what, listed in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of a wrong shape or dtype", wrong),
        )
        if listed
    ]
    raise ShapeError(
        f"{where} cannot take the weights of '{file.path}' (read as {dialect.name}): "
        f"{'; '.join(problems)}; nothing was changed, and load_weights(path, skip_mismatch=True) "
        "takes what fits"
    )


def _some(names: Sequence[str], most: int = LISTED) -> str:
    """The first few of many names."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
