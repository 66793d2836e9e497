# SPDX-License-Identifier: Apache-2.0
"""Weights of Keras in HDF5: `.weights.h5` of Keras 3 and the older `.h5`.

Keras 3 writes a group `vars` with the variables `0`, `1` … of every layer, at a path made of the
layers' classes; the attribute `name` is the layer's name. Older files have the attributes
`layer_names` and, of each layer, `weight_names`. Here a variable is always `<layer>.<variable>`;
sublayers are joined by dots, and slashes are turned into underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastcnn.errors import FileError, MissingDependencyError
from fastcnn.graph import Array
from fastcnn.weights.contents import damaged

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Entry of a .keras archive.
INNER = "model.weights.h5"
# What a layer is called whose name the file does not give: Keras 3 wrote none at first.
NAMELESS = "layers."

_KERNEL, _NORM = ("kernel", "bias"), ("gamma", "beta")
_STATISTICS = ("moving_mean", "moving_variance")
# Variables in the order in which a layer of the class saves them.
VARIABLES = {
    "conv1d": _KERNEL,
    "conv2d": _KERNEL,
    "conv2d_transpose": _KERNEL,
    "dense": _KERNEL,
    "depthwise_conv2d": _KERNEL,
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "batch_normalization": (*_NORM, *_STATISTICS),
    "layer_normalization": _NORM,
    "group_normalization": _NORM,
    "p_re_lu": ("alpha",),
}
_KNOWN = {variable for variables in VARIABLES.values() for variable in variables}
_CONTAINERS = ("", "layers", "_layer_checkpoint_dependencies")
_NOT_LAYERS = ("optimizer", "compile_metrics", "seed_generator", "_metrics")
# No compression of HDF5's is stronger than this (deflate's limit).
_STRONGEST = 1032
_DAMAGE = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


def recognises(data: memoryview) -> bool:
    """Whether the bytes are HDF5: the signature stands at byte 0, 512, 1024, 2048 and so on."""
    at = 0
    while at + 8 <= len(data):
        if data[at : at + 8] == SIGNATURE:
            return True
        at = max(512, 2 * at)
    return False


def read(path: Path, source: IO[bytes], size: int) -> dict[str, Array]:
    """Variables by `<layer>.<variable>`, in Keras' layout.

    Args:
        path: the file, for messages.
        source: its bytes.
        size: how many they are.

    Raises:
        FileError: the file is damaged, or does not hold a Keras model's weights.
        MissingDependencyError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            'Keras\' files need h5py, which is not installed; run: pip install "fastcnn[hdf5]"'
        ) from error
    try:
        with h5py.File(source, "r") as file:
            root = _member(file, "model_weights") if "model_weights" in file else file
            legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
            found = _legacy(root) if legacy else _groups(root)
            arrays = {name: _array(dataset, size) for name, dataset in found}
    except FileError:
        raise
    except _DAMAGE as error:
        raise damaged(path, f"its HDF5 cannot be understood ({error})") from None
    if not arrays:
        raise FileError(
            f"'{path}' is an HDF5 file without a Keras model's weights; write it with "
            "model.save_weights('name.weights.h5') or model.save('name.keras')"
        )
    return arrays


# --- Keras 3 -------------------------------------------------------------------------------------


def _groups(root: Any) -> Iterator[tuple[str, Any]]:
    """Variables of every group that has `vars`, under the names of the layers on the way to it."""
    import h5py

    pending: list[tuple[tuple[str, ...], str, Any]] = [((), "", root)]
    seen = set()
    while pending:
        names, key, group = pending.pop(0)
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        inner = {
            k: group[k]
            for k in group
            if _is_here(group, k) and group.get(k, getclass=True) is h5py.Group
        }
        variables = inner.pop("vars", None)
        if key not in _CONTAINERS:
            given = None if variables is None else variables.attrs.get("name")
            names = (*names, key if given is None else _text(given))
            if variables is not None:
                yield from _variables(_layer_name(names, given is None), key, variables)
        pending += [(names, k, g) for k, g in inner.items() if k not in _NOT_LAYERS]


def _variables(layer: str, key: str, group: Any) -> Iterator[tuple[str, Any]]:
    class_name = re.sub(r"_\d+$", "", key)
    keys = sorted((k for k in group if k.isdigit()), key=int)
    variables = list(VARIABLES.get(class_name, ()))
    if class_name == "batch_normalization":
        variables = _norm_variables(len(keys))
    for number, name in enumerate(keys):
        variable = variables[number] if number < len(variables) else name
        yield f"{layer}.{variable}", _member(group, name)


def _norm_variables(count: int) -> list[str]:
    """A batch normalization without all of its variables has no gamma, as in Inception."""
    scale_and_shift = _NORM[4 - count :] if 2 <= count <= 4 else _NORM
    return [*scale_and_shift, *_STATISTICS]


def _layer_name(names: Sequence[str], nameless: bool) -> str:
    return (NAMELESS if nameless else "") + ".".join(names).replace("/", "_")


# --- older files ---------------------------------------------------------------------------------


def _legacy(root: Any) -> Iterator[tuple[str, Any]]:
    for layer in _list(root, "layer_names"):
        group = _member(root, layer)
        names = _list(group, "weight_names")
        datasets = [_member(group, name) for name in names]
        leaves = _leaves(names, datasets)
        owners = [name.rpartition("/")[0].rpartition("/")[2] for name in names]
        nested = len(set(owners)) > 1
        for inner, leaf, dataset in zip(owners, leaves, datasets, strict=True):
            owner = f"{layer}.{inner}" if nested else layer
            yield f"{owner.replace('/', '_')}.{leaf}", dataset


def _leaves(names: Sequence[str], datasets: Sequence[Any]) -> list[str]:
    """What the variables of a layer are called; kernel:0 is kernel."""
    leaves = [name.rpartition("/")[2].partition(":")[0] for name in names]
    if not set(leaves) <= _KNOWN:
        # Files of Keras 1 have names such as block1_conv1_W_1.
        return _by_shape([len(d.shape) for d in datasets]) or leaves
    if "pointwise_kernel" not in leaves:
        return ["kernel" if leaf == "depthwise_kernel" else leaf for leaf in leaves]
    return leaves


def _by_shape(ranks: Sequence[int]) -> list[str]:
    if list(ranks) == [1, 1, 1, 1]:
        return [*_NORM, *_STATISTICS]
    return list(_KERNEL[: len(ranks)]) if len(ranks) <= 2 else []


def _list(group: Any, name: str) -> list[str]:
    """A list in an attribute, or in name0, name1 … where it was too long for one."""
    if name in group.attrs:
        return [_text(item) for item in group.attrs[name]]
    chunks: list[str] = []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    return [_text(item) for chunk in chunks for item in group.attrs[chunk]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- what a file may not do ----------------------------------------------------------------------


def _is_here(group: Any, key: str) -> bool:
    """Whether a member lies in this very file: links may lead to any file on the machine."""
    import h5py

    return isinstance(group.get(key, getlink=True), h5py.HardLink)


def _member(group: Any, path: str) -> Any:
    for key in path.strip("/").split("/"):
        if not _is_here(group, key):
            raise ValueError(f"'{path}' is missing or a link to somewhere else")
        group = group[key]
    return group


def _array(dataset: Any, size: int) -> Array:
    """The numbers of a dataset, float32 where they are shorter floats."""
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", True):
        raise ValueError(f"'{dataset.name}' is no dataset of its own or lies in another file")
    filters = dataset.compression is not None or dataset.scaleoffset is not None
    if dataset.size * dataset.dtype.itemsize > size * (_STRONGEST if filters else 1):
        raise ValueError(f"'{dataset.name}' has shape {dataset.shape}, more than the file holds")
    kind = dataset.attrs.get("dtype")
    found: Array = np.asarray(dataset[()])
    if kind is not None and _text(kind) == "bfloat16":
        from fastcnn.weights.numbers import decode

        return decode(memoryview(found.tobytes()), "bfloat16").reshape(found.shape)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"'{dataset.name}' holds {found.dtype}, expected numbers")
    return found.astype(np.float32) if found.dtype == np.float16 else found
