# SPDX-License-Identifier: Apache-2.0
"""Models in files: safetensors with the config in its metadata. No pickle; writing is atomic.

weights/<dotted path>      weights and running statistics
optimizer/<name>           optimizer slots
metadata: format, version, config (layers and how they are joined), training (compile, steps)
"""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments, weights
from fastcnn.errors import ArgumentError, FastcnnError, FileError, located
from fastcnn.graph import Array
from fastcnn.models import state
from fastcnn.models.state import check
from fastcnn.utils.atomic import write_atomically
from fastcnn.weights import releaser

if TYPE_CHECKING:
    from fastcnn.models.model import Model

FORMAT = "fastcnn"
VERSION = 1

_WEIGHTS = "weights/"
_OPTIMIZER = "optimizer/"


def write_tensors(path: Any, tensors: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file with JSON values as metadata."""
    from safetensors.numpy import save

    text = {"format": FORMAT, "version": str(VERSION)}
    text.update({key: json.dumps(value) for key, value in metadata.items()})
    contiguous = {name: np.ascontiguousarray(a) for name, a in tensors.items()}
    write_atomically(path, save(contiguous, text))


def read_tensors(path: Any) -> tuple[Mapping[str, Array], dict[str, Any]]:
    """Tensors and metadata of a file written here.

    Raises:
        FileError: the file is missing, truncated, of another program, or of a newer version.
    """
    file = weights.read(arguments.path("load", "filepath", path))
    if file.kind != "fastcnn":
        raise FileError(
            f"'{path}' was not written by Model.save and holds weights but no layers; build the "
            "model and use load_weights"
        )
    return file.tensors, _checked_metadata(path, file.metadata)


def _checked_metadata(path: Any, text: Mapping[str, str]) -> dict[str, Any]:
    with _understood(path):
        if int(text["version"]) > VERSION:
            raise FileError(
                f"'{path}' has file version {text['version']}, this fastcnn reads up to {VERSION}; "
                "upgrade"
            )
        return {k: json.loads(v) for k, v in text.items() if k not in ("format", "version")}


@contextlib.contextmanager
def _understood(path: Any) -> Iterator[None]:
    """What goes wrong inside while a file is interpreted becomes an error that names the file."""
    try:
        yield
    except FastcnnError as error:
        if f"'{path}'" in str(error):
            raise
        raise located(error, f"'{path}'") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"'{path}' describes something that cannot be made ({type(error).__name__}: {error}); "
            "it is damaged or was written by another program, so save it again"
        ) from error


# --- methods of Model ----------------------------------------------------------------------------


def save_model(
    self: Model, filepath: Any, overwrite: bool = True, zipped: bool | None = None
) -> None:
    """Write layers, weights, compile arguments and optimizer state to one file.

    Args:
        filepath: by convention "name.fastcnn".
        overwrite: False makes an existing file an error.
        zipped: only None: the file is not an archive.
    """
    arguments.only_default(f"model '{self.name}': save", "zipped", zipped, None)
    _check_overwrite(filepath, overwrite)
    from fastcnn.models.serialization import serialize

    tensors, metadata = _state(self)
    write_tensors(filepath, tensors, {**metadata, "config": serialize(self)})


def export_model(
    self: Model,
    filepath: Any,
    format: str = "onnx",
    opset: int = 17,
    input_shape: Any = None,
    layout: str = "NCHW",
) -> None:
    """Write the model for other runtimes, or as a plan that starts at once.

    Args:
        filepath: by convention "name.onnx" or "name.plan".
        format: "onnx", as `fastcnn.onnx.export` says, or "plan", as `fastcnn.deploy.export` says.
        opset, layout: of ONNX alone.
        input_shape: shape of the input with the batch, or a list of shapes; the model's own when
            None, a plan's with a batch of 1.
    """
    where = f"model '{self.name}': export"
    arguments.one_of(where, "format", format, ("onnx", "plan"))
    # They stand above models in the order of imports, so they are fetched when asked for.
    if format == "onnx":
        onnx = importlib.import_module("fastcnn.onnx")
        onnx.export(self, filepath, opset, input_shape, layout)
        return
    for name, value, default in (("opset", opset, 17), ("layout", layout, "NCHW")):
        if value != default:
            raise ArgumentError(
                f"{where}: found {name}={value!r}, which is of format='onnx' alone; leave it out"
            )
    deploy = importlib.import_module("fastcnn.deploy")
    deploy.export(self, filepath, input_shape)


def save_weights(
    self: Model, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write `state_dict()` to one safetensors file, which PyTorch's programs read as well.

    Args:
        filepath: by convention "name.safetensors".
        overwrite: False makes an existing file an error.
        max_shard_size: only None: the file is never cut.
    """
    from safetensors.numpy import save

    where = f"model '{self.name}': save_weights"
    arguments.only_default(where, "max_shard_size", max_shard_size, None)
    _check_overwrite(filepath, overwrite)
    _check_built(self)
    # The word by which PyTorch's loaders know the layout.
    write_atomically(filepath, save(self.state_dict(), {"format": "pt"}))


def load_weights(self: Model, filepath: Any, skip_mismatch: bool = False) -> None:
    """Read weights into this model; on any error its weights stay as they were.

    Args:
        filepath: a file that `save_weights` or `save` wrote; a checkpoint of PyTorch (safetensors,
            .pth), with the names of torchvision, timm or Hugging Face where the network is one of
            `fastcnn.applications`; one of Keras (.weights.h5, .h5, .keras). Or the address of a
            file on the Hugging Face Hub, "hub:timm/resnet18.a1_in1k".
        skip_mismatch: take the weights whose name and shape fit, and leave the others; that none
            fits is an error.

    Raises:
        FileError: there is no such file, or it is damaged or of an unknown kind.
        ShapeError: names or shapes do not match; all of them are listed.
        MissingDependencyError: the kind of file or address wants a package that is not installed.
    """
    load_checkpoint(self, filepath, skip_mismatch=skip_mismatch)


def load_checkpoint(
    model: Model,
    filepath: Any,
    *,
    skip_mismatch: bool = False,
    ignore: Sequence[str] = (),
    surplus: bool = False,
) -> None:
    """`load_weights`, told which tensors the model has no place for.

    Args:
        model: whose weights are read.
        filepath, skip_mismatch: as in `load_weights`.
        ignore: beginnings of the names of such tensors.
        surplus: all that the model does not have are such.
    """
    _check_built(model)
    path = arguments.path(f"model '{model.name}': load_weights", "filepath", filepath)
    file = weights.read(weights.fetch(path) if str(path).startswith("hub:") else path)
    if file.kind == "fastcnn":
        _checked_metadata(path, file.metadata)
    known = state.entries(model)
    found = weights.match(
        file,
        {name: entry.shape for name, entry in known.items()},
        _shapes(model),
        where=f"model '{model.name}'",
        ignore=ignore,
        skip_mismatch=skip_mismatch,
        surplus=surplus,
    )
    for name, array in found.tensors.items():
        if found.layout == "torch":
            known[name].parameter.assign(known[name].inward(array))
    if found.layout == "keras":
        _assign(model, found.tensors)


def save_state(self: Model, filepath: Any, extra: Mapping[str, Any] | None = None) -> None:
    """Write what training needs to go on: weights, optimizer state, seed, and `extra` (JSON)."""
    tensors, metadata = _state(self)
    write_tensors(filepath, tensors, {**metadata, "extra": dict(extra or {})})


def load_state(self: Model, filepath: Any) -> dict[str, Any]:
    """Read what `save_state` wrote into this compiled model; returns `extra`."""
    tensors, metadata = read_tensors(filepath)
    if not {"training", "extra"} <= metadata.keys():
        raise FileError(
            f"'{filepath}' was not written by save_state; use load_weights or load_model"
        )
    weights = _unprefixed(_WEIGHTS, tensors)
    with _understood(filepath):
        check(self, _shapes(self), weights)
        # The optimizer refuses as a whole before any weight is written.
        _restore_training(self, tensors, metadata["training"])
        _assign(self, weights)
    extra: dict[str, Any] = metadata["extra"]
    return extra


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The model that `Model.save` wrote, compiled as it was.

    Weights stay in the file, mapped into memory, until they are written to. So replace the file, as
    `save` does, rather than write into it while the model lives.

    Args:
        filepath: the file.
        custom_objects: layer, loss or metric classes by name that fastcnn does not know.
        compile: False leaves optimizer, loss and metrics out.
        safe_mode: of no consequence: a file holds no code.
    """
    from fastcnn.models.serialization import deserialize

    tensors, metadata = read_tensors(filepath)
    if "config" not in metadata:
        raise FileError(
            f"'{filepath}' holds weights but no layers; build the model and use load_weights"
        )
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise ArgumentError(
            f"load_model: found custom_objects={custom_objects!r}, expected a dict by name"
        )
    with _understood(filepath):
        model = deserialize(metadata["config"], custom_objects)
        if not hasattr(model, "load_state_dict"):
            raise FileError(f"'{filepath}' holds a {type(model).__name__}, expected a model")
        weights = _unprefixed(_WEIGHTS, tensors)
        parameters = model.named_weights()
        check(model, {path: p.shape for path, p in parameters.items()}, weights)
        for path, parameter in parameters.items():
            parameter.adopt(weights[path], releaser(weights[path]))
        training = metadata.get("training")
        if compile and training:
            from fastcnn.models.compiling import decode

            model.compile_as_saved(decode(training["compile"], custom_objects))
            _restore_training(model, tensors, training)
    return model


def _check_overwrite(filepath: Any, overwrite: bool) -> None:
    path = Path(arguments.path("save", "filepath", filepath))
    if not overwrite and path.exists():
        raise FileError(f"'{filepath}' exists; pass overwrite=True or another name")


# --- parts ---------------------------------------------------------------------------------------


def _check_built(model: Model) -> None:
    if not model.built:
        raise ArgumentError(
            f"model '{model.name}' has no weights yet; begin it with an Input or run it once"
        )


def _built_weights(model: Model) -> dict[str, Array]:
    _check_built(model)
    return {path: p.numpy() for path, p in model.named_weights().items()}


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {path: p.shape for path, p in model.named_weights().items()}


def _assign(model: Model, arrays: Mapping[str, Array]) -> None:
    for path, parameter in model.named_weights().items():
        if path in arrays:
            parameter.assign(arrays[path])


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {prefix + name: array for name, array in arrays.items()}


def _unprefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _state(model: Model) -> tuple[dict[str, Array], dict[str, Any]]:
    tensors = _prefixed(_WEIGHTS, _built_weights(model))
    if not model.compiled:
        return tensors, {}
    trainer = model.trainer
    try:
        arguments = trainer.get_config()
    except ArgumentError as error:
        # The network is worth more than how it was trained.
        warnings.warn(f"saved without optimizer and loss: {error}", stacklevel=3)
        return tensors, {}
    tensors.update(_prefixed(_OPTIMIZER, trainer.optimizer.state()))
    training = {
        "seed": trainer.seed,
        "iterations": trainer.optimizer.iterations,
        "accumulated": trainer.optimizer.accumulated,
        "compile": arguments,
    }
    return tensors, {"training": training}


def _restore_training(model: Model, tensors: Mapping[str, Array], training: dict[str, Any]) -> None:
    trainer = model.trainer
    iterations = arguments.integer("training", "iterations", training["iterations"])
    accumulated = trainer.optimizer.check_accumulated(training.get("accumulated", 0))
    seed = arguments.integer("training", "seed", training["seed"])
    trainer.build_optimizer()
    slots = _unprefixed(_OPTIMIZER, tensors)
    if slots:
        trainer.optimizer.load_state(slots)
    trainer.optimizer.iterations = iterations
    trainer.optimizer.accumulated = accumulated
    trainer.seed = seed
