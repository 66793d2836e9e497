# SPDX-License-Identifier: Apache-2.0
"""Losses: what training makes small. On arrays they give numbers, on symbolic tensors a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastcnn.configurable import folded as _folded
from fastcnn.configurable import resolve as _resolve
from fastcnn.configurable import serialize as serialize
from fastcnn.losses.base import Loss as Loss
from fastcnn.losses.base import LossFunctionWrapper as LossFunctionWrapper
from fastcnn.losses.crossentropy import BinaryCrossentropy as BinaryCrossentropy
from fastcnn.losses.crossentropy import CategoricalCrossentropy as CategoricalCrossentropy
from fastcnn.losses.crossentropy import KLDivergence as KLDivergence
from fastcnn.losses.crossentropy import (
    SparseCategoricalCrossentropy as SparseCategoricalCrossentropy,
)
from fastcnn.losses.crossentropy import binary_crossentropy as binary_crossentropy
from fastcnn.losses.crossentropy import categorical_crossentropy as categorical_crossentropy
from fastcnn.losses.crossentropy import kl_divergence as kl_divergence
from fastcnn.losses.crossentropy import (
    sparse_categorical_crossentropy as sparse_categorical_crossentropy,
)
from fastcnn.losses.hinge import CategoricalHinge as CategoricalHinge
from fastcnn.losses.hinge import Hinge as Hinge
from fastcnn.losses.hinge import SquaredHinge as SquaredHinge
from fastcnn.losses.hinge import categorical_hinge as categorical_hinge
from fastcnn.losses.hinge import hinge as hinge
from fastcnn.losses.hinge import squared_hinge as squared_hinge
from fastcnn.losses.regression import Huber as Huber
from fastcnn.losses.regression import LogCosh as LogCosh
from fastcnn.losses.regression import MeanAbsoluteError as MeanAbsoluteError
from fastcnn.losses.regression import MeanSquaredError as MeanSquaredError
from fastcnn.losses.regression import Poisson as Poisson
from fastcnn.losses.regression import huber as huber
from fastcnn.losses.regression import log_cosh as log_cosh
from fastcnn.losses.regression import mean_absolute_error as mean_absolute_error
from fastcnn.losses.regression import mean_squared_error as mean_squared_error
from fastcnn.losses.regression import poisson as poisson

LOSSES: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "categorical_hinge": CategoricalHinge,
    "hinge": Hinge,
    "huber": Huber,
    "kl_divergence": KLDivergence,
    "log_cosh": LogCosh,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "poisson": Poisson,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "squared_hinge": SquaredHinge,
}

_FUNCTIONS: dict[Callable[..., Any], type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    categorical_hinge: CategoricalHinge,
    hinge: Hinge,
    huber: Huber,
    kl_divergence: KLDivergence,
    log_cosh: LogCosh,
    mean_absolute_error: MeanAbsoluteError,
    mean_squared_error: MeanSquaredError,
    poisson: Poisson,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    squared_hinge: SquaredHinge,
}

_ALIASES = {
    "bce": "binary_crossentropy",
    "huberloss": "huber",
    "kld": "kl_divergence",
    "kullbackleiblerdivergence": "kl_divergence",
    "logcosh": "log_cosh",
}


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Loss:
    """A loss from its name, config, class or instance, or from a function of (y_true, y_pred).

    Raises:
        ArgumentError: there is none of that name.
    """
    if isinstance(identifier, str) and not (custom_objects and identifier in custom_objects):
        identifier = _ALIASES.get(_folded(identifier), identifier)
    if callable(identifier) and not isinstance(identifier, (Loss, type)):
        known = _FUNCTIONS.get(identifier)
        return known() if known else LossFunctionWrapper(identifier)
    return deserialize(identifier, custom_objects)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Loss:
    """A loss from `{"class_name", "config"}`."""
    return _resolve(config, "loss", Loss, LOSSES, custom_objects)
