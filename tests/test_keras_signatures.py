# SPDX-License-Identifier: Apache-2.0
"""Arguments have Keras' names, order and defaults, so that its scripts run unchanged.

`keras_signatures.json` lists them for Keras 3.15 as its `inspect.signature` tells them, for the
classes and methods that fastcnn has too: argument -> default ("required": none).
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import fastcnn
from fastcnn.errors import ArgumentError

KERAS = json.loads(Path(__file__).with_name("keras_signatures.json").read_text())

# What Keras has and fastcnn does not take even at its default.
OMITTED = {"input_axes", "output_axes", "from_sorted_ids", "overwrite_with_gradient"}
# Extensions where Keras requires a value or names differently.
OTHER_DEFAULT = {
    "layers.AveragePooling1D": {"pool_size"},
    "layers.AveragePooling2D": {"pool_size"},
}
REQUIRED = {
    "activation": "relu",
    "dims": (1,),
    "filters": 2,
    "height": 4,
    "kernel_size": 1,
    "output_size": 1,
    "pool_size": 2,
    "rate": 0.5,
    "scale": 2.0,
    "shape": (1,),
    "target_shape": (1,),
    "units": 2,
    "width": 4,
}
LAYERS = [name for name in KERAS if name.startswith("layers.")]


def find(name: str) -> Any:
    found: Any = fastcnn
    for part in name.split("."):
        found = getattr(found, part)
    return found


def arguments_of(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: p.default for p in named if p.name != "self"}


def same(found: Any, expected: Any, argument: str, name: str) -> bool:
    if expected == "required":
        return found is inspect.Parameter.empty
    if argument == "name" and name.startswith("optimizers."):
        return True
    if isinstance(found, str) and isinstance(expected, str):
        return found.lower() == expected.lower()
    return json.loads(json.dumps(found)) == expected


def required(name: str) -> dict[str, Any]:
    wanted = {a for a, d in KERAS[name].items() if d == "required"}
    if name.startswith("layers.Input"):
        wanted = {"shape"}
    return {a: REQUIRED[a] for a in wanted}


@pytest.mark.parametrize("name", KERAS)
def test_shared_arguments_are_those_of_keras(name: str) -> None:
    keras, ours = KERAS[name], arguments_of(find(name))
    shared = [a for a in keras if a in ours]
    if not name.startswith("Layer.__init__"):  # keywords only
        assert [a for a in ours if a in keras] == shared
    for argument in shared:
        if argument not in OTHER_DEFAULT.get(name, ()):
            assert same(ours[argument], keras[argument], argument, name), argument


@pytest.mark.parametrize("name", KERAS)
def test_other_arguments_of_keras_are_accepted_at_their_defaults(name: str) -> None:
    missing = [a for a in KERAS[name] if a not in arguments_of(find(name))]
    if not name.startswith("layers."):
        assert set(missing) <= OMITTED | {"args", "activity_regularizer", "autocast"}
        return
    find(name)(**required(name), **{a: KERAS[name][a] for a in missing})


@pytest.mark.parametrize("name", LAYERS)
def test_what_fastcnn_lacks_is_refused_unless_it_asks_for_nothing(name: str) -> None:
    known = {*arguments_of(find(name)), "name", "dtype", "trainable", "activity_regularizer"}
    for argument in KERAS[name].keys() - known:
        with pytest.raises(ArgumentError, match=argument):
            find(name)(**required(name), **{argument: "channels_first"})


def test_base_classes_are_at_the_top_as_in_keras() -> None:
    for name in ("Initializer", "Layer", "Loss", "Metric", "Model", "Optimizer", "Regularizer"):
        assert isinstance(getattr(fastcnn, name), type)
    assert callable(fastcnn.models.save_model)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("run_eagerly", True),
        ("steps_per_execution", 8),
        ("jit_compile", "no"),
        ("auto_scale_loss", False),
    ],
)
def test_compile_refuses_what_it_would_have_to_ignore(argument: str, value: Any) -> None:
    model = fastcnn.Sequential([fastcnn.Input((2,)), fastcnn.layers.Dense(1)])
    with pytest.raises(ArgumentError, match=argument):
        model.compile("sgd", "mse", **{argument: value})
    assert not model.compiled
