# SPDX-License-Identifier: Apache-2.0
"""What can be said about the arguments of `compile` at once."""

from __future__ import annotations

from typing import Any

from fastcnn import arguments, losses, metrics


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
