# SPDX-License-Identifier: Apache-2.0
"""Optimizers: how gradients change weights. Defaults and formulas are those of Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastcnn.configurable import resolve as _resolve
from fastcnn.configurable import serialize as serialize
from fastcnn.optimizers import schedules as schedules
from fastcnn.optimizers.adam import Adam as Adam
from fastcnn.optimizers.adam import AdamW as AdamW
from fastcnn.optimizers.base import Optimizer as Optimizer
from fastcnn.optimizers.rmsprop import Adagrad as Adagrad
from fastcnn.optimizers.rmsprop import RMSprop as RMSprop
from fastcnn.optimizers.sgd import SGD as SGD

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": SGD,
}


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """An optimizer from its name, config, class or instance.

    Raises:
        ArgumentError: there is none of that name.
    """
    return deserialize(identifier, custom_objects)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """An optimizer from `{"class_name", "config"}`."""
    return _resolve(config, "optimizer", Optimizer, OPTIMIZERS, custom_objects)
