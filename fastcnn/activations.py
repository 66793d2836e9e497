# SPDX-License-Identifier: Apache-2.0
"""Activations: functions of a tensor by their Keras names, on arrays and on symbolic tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastcnn import ops
from fastcnn.configurable import folded, plain
from fastcnn.errors import ArgumentError

Activation = Callable[..., Any]

relu = ops.relu
relu6 = ops.relu6
leaky_relu = ops.leaky_relu
elu = ops.elu
selu = ops.selu
sigmoid = ops.sigmoid
hard_sigmoid = ops.hard_sigmoid
tanh = ops.tanh
scaled_tanh = ops.scaled_tanh
silu = ops.silu
swish = ops.silu
hard_silu = ops.hard_swish
hard_swish = ops.hard_swish
mish = ops.mish
softplus = ops.softplus
softsign = ops.softsign
softmax = ops.softmax
log_softmax = ops.log_softmax


def gelu(x: Any, approximate: bool = False) -> Any:
    """x·Φ(x), Φ the normal distribution function, or its approximation by tanh.

    Source: Hendrycks and Gimpel, 2016.
    """
    return ops.gelu(x, approximate=approximate)


def exponential(x: Any) -> Any:
    """e^x."""
    return ops.exp(x)


def linear(x: Any) -> Any:
    """The identity."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_swish,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "scaled_tanh": scaled_tanh,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "swish": swish,
    "tanh": tanh,
}


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Activation:
    """An activation from its name or its config; None is `linear`, a function is itself.

    Raises:
        ArgumentError: there is none of that name.
    """
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier  # type: ignore[no-any-return]
    return deserialize(identifier, custom_objects)


def serialize(activation: Activation) -> str:
    """The name of an activation.

    Raises:
        ArgumentError: a function without a name of its own, which could not be found again.
    """
    return str(plain(activation))


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Activation:
    """An activation from what `serialize` returned."""
    name = config.get("config", config.get("class_name")) if isinstance(config, Mapping) else config
    if isinstance(name, str):
        if custom_objects and name in custom_objects:
            return custom_objects[name]  # type: ignore[no-any-return]
        for known, function in ACTIVATIONS.items():
            if folded(known) == folded(name):
                return function
    raise ArgumentError(
        f"unknown activation {config!r}; there are {', '.join(sorted(ACTIVATIONS))}"
    )
