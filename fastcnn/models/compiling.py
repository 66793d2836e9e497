# SPDX-License-Identifier: Apache-2.0
"""The arguments of `compile`: what can be said about them at once, and what a file says.

Whoever only predicts does not import this, nor losses, metrics and optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastcnn import arguments, losses, metrics, optimizers


def check_identifiers(loss: Any, *metric_arguments: Any) -> None:
    """Raise an ArgumentError at once for a loss or metric that does not exist."""
    for identifier in _identifiers(loss):
        losses.get(identifier)
    for identifier in _identifiers(metric_arguments):
        if identifier not in metrics.CHOSEN_BY_SHAPE:
            metrics.get(identifier)


def check_weights(loss_weights: Any, where: str) -> None:
    """Raise an ArgumentError at once for factors that are no numbers."""
    for factor in _identifiers(loss_weights):
        arguments.number(where, "loss_weights", factor)


def _identifiers(given: Any) -> list[Any]:
    if isinstance(given, (list, tuple)):
        return [found for g in given for found in _identifiers(g)]
    if isinstance(given, dict) and "class_name" not in given:
        return _identifiers(list(given.values()))
    return [] if given is None else [given]


def decode(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> dict[str, Any]:
    """A file's arguments, with optimizer, losses and metrics made of their configs."""
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


def _each(make: Any, given: Any, found: Mapping[str, Any]) -> Any:
    """`make` on every config in nested lists and dicts; names stay names unless `found`."""
    if isinstance(given, list):
        return [_each(make, g, found) for g in given]
    if isinstance(given, dict) and "class_name" not in given:
        return {k: _each(make, g, found) for k, g in given.items()}
    if isinstance(given, dict):
        return make(given)
    return found.get(given, given) if isinstance(given, str) else given
