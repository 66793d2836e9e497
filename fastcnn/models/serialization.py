# SPDX-License-Identifier: Apache-2.0
"""Layers and models as plain JSON, and back.

{"class_name": "Conv2D", "config": {...}}                  any layer
Functional: its layers, and its steps as calls of layers or bare ops, tensors being references
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fastcnn.errors import ArgumentError, FileError
from fastcnn.graph import Constant, Node, Tensor, constant
from fastcnn.layers.base import Layer, tuples
from fastcnn.layers.call import LayerCall
from fastcnn.layers.input import Input
from fastcnn.models.functional import Functional, step_of
from fastcnn.models.sequential import Sequential
from fastcnn.ops._apply import apply
from fastcnn.ops.registry import BY_NAME
from fastcnn.structure import flatten

Json = dict[str, Any]
T = TypeVar("T")

_registered: dict[str, type] = {}


def register_serializable(cls: type[T]) -> type[T]:
    """Class decorator: saved models may hold this layer class and find it when loaded."""
    _registered[cls.__name__] = cls
    return cls


def serialize(layer: Layer) -> Json:
    """`{"class_name", "config"}` of a layer or model."""
    if isinstance(layer, Functional):
        config = _functional_config(layer)
    elif isinstance(layer, Sequential):
        config = {"name": layer.name, "layers": [serialize(inner) for inner in layer.sublayers]}
        if layer.inputs and not layer.begins_with_input:
            config["build_shape"] = list(layer.inputs[0].shape)
    else:
        config = layer.get_config()
    return {"class_name": type(layer).__name__, "config": config}


def deserialize(data: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer or model that `serialize` described."""
    name, config = data["class_name"], dict(data["config"])
    if name == "Functional":
        return _functional(config, custom_objects)
    if name == "Sequential":
        layers = [deserialize(inner, custom_objects) for inner in config["layers"]]
        model = Sequential(layers, name=config["name"])
        if "build_shape" in config:
            model.build(tuple(config["build_shape"]))
        return model
    found = custom_objects or {}
    # Functions given by name, such as a custom activation.
    config = {k: found.get(v, v) if isinstance(v, str) else v for k, v in config.items()}
    return _layer_class(name, custom_objects).from_config(config)


def _layer_class(name: str, custom_objects: Mapping[str, Any] | None) -> Any:
    from fastcnn import layers

    known = {**vars(layers), **_registered, **(custom_objects or {})}
    found = known.get(name)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise FileError(
            f"the model has a layer of class '{name}', which fastcnn does not know; pass "
            f"custom_objects={{'{name}': {name}}} or decorate it with register_serializable"
        )
    return found


def _functional_config(model: Functional) -> Json:
    places: dict[Tensor, list[Any]] = {t: ["input", i] for i, t in enumerate(model.inputs)}
    steps = []
    for number, step in enumerate(model.steps):
        steps.append(_encode_step(step, places))
        outputs = step.flat_outputs if isinstance(step, LayerCall) else step.outputs
        places.update({t: [number, i] for i, t in enumerate(outputs)})
    own_inputs = [c for c in map(step_of, model.inputs) if isinstance(c, LayerCall)]
    inputs = {id(c.layer) for c in own_inputs if not c.args}
    return {
        "name": model.name,
        "dtype": model.dtype,
        "inputs": [
            {"name": t.node.layer, "batch_shape": list(t.shape), "dtype": t.dtype}
            for t in model.inputs
        ],
        "layers": [serialize(layer) for layer in model.sublayers if id(layer) not in inputs],
        "steps": steps,
        "input_structure": _encode(model.input_structure, places),
        "output_structure": _encode(model.output_structure, places),
    }


def _encode_step(step: LayerCall | Node, places: dict[Tensor, list[Any]]) -> Json:
    if isinstance(step, LayerCall):
        return {
            "layer": step.layer.name,
            "args": _encode(list(step.args), places),
            "kwargs": _encode(step.kwargs, places),
        }
    if isinstance(step.op, Constant):
        return {"constant": step.op.value.tolist(), "dtype": step.op.value.dtype.name}
    if step.op.name not in BY_NAME:
        raise ArgumentError(
            f"the model uses a weight outside of any layer ({step}); hold it in a Layer to save it"
        )
    attributes = {f.name: getattr(step.op, f.name) for f in dataclasses.fields(step.op)}  # type: ignore[arg-type]
    args = [_encode(t, places) for t in step.inputs]
    return {"op": step.op.name, "attributes": attributes, "args": args}


def _encode(leaf: Any, places: dict[Tensor, list[Any]]) -> Any:
    """JSON of an argument; tensors become {"tensor": place}, tuples and arrays are marked."""
    if isinstance(leaf, Tensor):
        return {"tensor": places[leaf]}
    if isinstance(leaf, tuple):
        return {"tuple": [_encode(v, places) for v in leaf]}
    if isinstance(leaf, list):
        return [_encode(v, places) for v in leaf]
    if isinstance(leaf, dict):
        return {"dict": {k: _encode(v, places) for k, v in leaf.items()}}
    if isinstance(leaf, np.ndarray):
        return {"array": leaf.tolist(), "dtype": leaf.dtype.name}
    return leaf


def _decode(data: Any, values: list[list[Tensor]], inputs: list[Tensor]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(data, list):
        return [_decode(v, values, inputs) for v in data]
    if not isinstance(data, dict):
        return data
    if "tensor" in data:
        place, index = data["tensor"]
        return inputs[index] if place == "input" else values[place][index]
    if "tuple" in data:
        return tuple(_decode(v, values, inputs) for v in data["tuple"])
    if "array" in data:
        return np.array(data["array"], data["dtype"])
    return {k: _decode(v, values, inputs) for k, v in data["dict"].items()}


def _functional(config: Json, custom_objects: Mapping[str, Any] | None) -> Functional:
    inputs = [Input(**given) for given in config["inputs"]]
    layers = {d["config"]["name"]: deserialize(d, custom_objects) for d in config["layers"]}
    values: list[list[Tensor]] = []
    for step in config["steps"]:
        if "layer" in step:
            args = _decode(step["args"], values, inputs)
            kwargs = _decode(step["kwargs"], values, inputs)
            result = layers[step["layer"]](*args, **kwargs)
        elif "constant" in step:
            result = constant(step["constant"], step["dtype"])
        else:
            attributes = {k: tuples(v) for k, v in step["attributes"].items()}
            args = _decode(step["args"], values, inputs)
            result = apply(BY_NAME[step["op"]](**attributes), *args)
        values.append(flatten(result))
    structures = [config["input_structure"], config["output_structure"]]
    given, made = (_decode(s, values, inputs) for s in structures)
    return Functional(given, made, name=config["name"], dtype=config.get("dtype"))
