# SPDX-License-Identifier: Apache-2.0
"""Models in files: safetensors with the config in its metadata. No pickle; writing is atomic.

weights/<dotted path>      weights and running statistics
optimizer/<name>           optimizer slots
metadata: format, version, config (layers and how they are joined), training (compile, steps)
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments, losses, metrics, optimizers
from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, FileError, ShapeError, located
from fastcnn.graph import Array, Parameter, numbers_of
from fastcnn.utils.atomic import write_atomically

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


def read_tensors(path: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and metadata of a file written here.

    Raises:
        FileError: the file is missing, truncated, not safetensors, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(arguments.path("load", "filepath", path))
    try:
        if not path.is_file():
            raise FileError(f"there is no file '{path}'; check the path")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(
            f"'{path}' is not a whole safetensors file ({error}); it may be truncated or of "
            "another kind, so save it again"
        ) from None
    return tensors, _checked_metadata(path, metadata)


def _checked_metadata(path: Path, text: Mapping[str, str]) -> dict[str, Any]:
    if text.get("format") != FORMAT:
        raise FileError(
            f"'{path}' is a safetensors file but was not written by fastcnn (format "
            f"{text.get('format')!r}); build the model and use load_state_dict"
        )
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


def save_weights(
    self: Model, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None
) -> None:
    """Write the weights alone, to one file: `max_shard_size` must be None."""
    where = f"model '{self.name}': save_weights"
    arguments.only_default(where, "max_shard_size", max_shard_size, None)
    _check_overwrite(filepath, overwrite)
    write_tensors(filepath, _prefixed(_WEIGHTS, _built_weights(self)), {})


def load_weights(self: Model, filepath: Any, skip_mismatch: bool = False) -> None:
    """Read weights into this model; on any error its weights stay as they were.

    Args:
        filepath: what `save_weights` or `save` wrote.
        skip_mismatch: take the weights whose name and shape fit, and leave the others.
    """
    tensors, _ = read_tensors(filepath)
    arrays = _unprefixed(_WEIGHTS, tensors)
    if skip_mismatch:
        shapes = {name: p.shape for name, p in self.named_weights().items()}
        arrays = {n: a for n, a in arrays.items() if shapes.get(n) == a.shape}
    with _understood(filepath):
        load_state_dict(self, arrays, strict=not skip_mismatch)


def load_state_dict(self: Model, state_dict: Mapping[str, Any], strict: bool = True) -> None:
    """Overwrite weights by dotted name, all or none.

    Args:
        state_dict: arrays by the names of `state_dict()`.
        strict: missing or unexpected names are an error.

    Raises:
        ShapeError: names or shapes do not match; all of them are listed, nothing was changed.
    """
    parameters, arrays = _matched(self, state_dict, strict)
    for name, parameter in parameters.items():
        if name in arrays:
            parameter.assign(arrays[name])


def _matched(
    model: Model, state_dict: Mapping[str, Any], strict: bool = True
) -> tuple[dict[str, Parameter], dict[str, Array]]:
    """Parameters and arrays that fit them, or an error listing all that do not."""
    parameters = model.named_weights()
    if not isinstance(state_dict, Mapping):
        raise DtypeError(
            f"model '{model.name}': found weights of type {type(state_dict).__name__}, expected a "
            "dict of arrays by name; pass what state_dict() returns"
        )
    where = f"model '{model.name}': weight"
    arrays = {name: numbers_of(value, f"{where} '{name}'") for name, value in state_dict.items()}
    problems = []
    missing = [n for n in parameters if n not in arrays]
    unexpected = [n for n in arrays if n not in parameters]
    if strict and missing:
        problems.append(f"missing {missing}")
    if strict and unexpected:
        problems.append(f"unexpected {unexpected}")
    problems += [
        f"'{n}' has shape {arrays[n].shape} where {p.shape} is expected"
        for n, p in parameters.items()
        if n in arrays and arrays[n].shape != p.shape
    ]
    if problems:
        raise ShapeError(
            f"model '{model.name}' cannot take these weights: {'; '.join(problems)}; "
            "nothing was changed"
        )
    return parameters, arrays


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
        _matched(self, weights)
        # The optimizer refuses as a whole before any weight is written.
        _restore_training(self, tensors, metadata["training"])
        load_state_dict(self, weights)
    extra: dict[str, Any] = metadata["extra"]
    return extra


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The model that `Model.save` wrote, compiled as it was.

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
        load_state_dict(model, _unprefixed(_WEIGHTS, tensors))
        training = metadata.get("training")
        if compile and training:
            model.compile_as_saved(_decode_compile(training["compile"], custom_objects))
            _restore_training(model, tensors, training)
    return model


def _check_overwrite(filepath: Any, overwrite: bool) -> None:
    path = Path(arguments.path("save", "filepath", filepath))
    if not overwrite and path.exists():
        raise FileError(f"'{filepath}' exists; pass overwrite=True or another name")


# --- parts ---------------------------------------------------------------------------------------


def _built_weights(model: Model) -> dict[str, Array]:
    if not model.built:
        raise ArgumentError(
            f"model '{model.name}' has no weights yet; begin it with an Input or run it once"
        )
    return model.state_dict()


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
        "compile": arguments,
    }
    return tensors, {"training": training}


def _restore_training(model: Model, tensors: Mapping[str, Array], training: dict[str, Any]) -> None:
    trainer = model.trainer
    iterations = arguments.integer("training", "iterations", training["iterations"])
    seed = arguments.integer("training", "seed", training["seed"])
    trainer.build_optimizer()
    slots = _unprefixed(_OPTIMIZER, tensors)
    if slots:
        trainer.optimizer.load_state(slots)
    trainer.optimizer.iterations = iterations
    trainer.seed = seed


def _decode_compile(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None
) -> dict[str, Any]:
    found = custom_objects or {}

    def metric(given: Any) -> Any:
        return metrics.get(given, custom_objects)

    return {
        **config,
        "optimizer": optimizers.deserialize(config["optimizer"], custom_objects),
        "loss": _each(lambda given: losses.get(given, custom_objects), config["loss"], found),
        "metrics": _each(metric, config["metrics"], found),
        "weighted_metrics": _each(metric, config["weighted_metrics"], found),
    }


def _each(decode: Any, given: Any, found: Mapping[str, Any]) -> Any:
    """`decode` on every config in nested lists and dicts; names stay names unless `found`."""
    if isinstance(given, list):
        return [_each(decode, g, found) for g in given]
    if isinstance(given, dict) and "class_name" not in given:
        return {k: _each(decode, g, found) for k, g in given.items()}
    if isinstance(given, dict):
        return decode(given)
    return found.get(given, given) if isinstance(given, str) else given
