# SPDX-License-Identifier: Apache-2.0
"""fastcnn: convolutional networks, trained and run fast on ordinary CPUs.

Names are looked up when they are first used, so that `import fastcnn` costs next to nothing;
`__init__.pyi` lists them for type checkers.
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "activations",
    "analysis",
    "applications",
    "backends",
    "callbacks",
    "config",
    "datasets",
    "deploy",
    "errors",
    "explain",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "onnx",
    "ops",
    "optimizers",
    "regularizers",
    "teach",
    "utils",
    "weights",
)
_NAMES = {
    "Functional": "fastcnn.models",
    "Initializer": "fastcnn.initializers",
    "Input": "fastcnn.layers",
    "Layer": "fastcnn.layers",
    "Loss": "fastcnn.losses",
    "Metric": "fastcnn.metrics",
    "Model": "fastcnn.models",
    "Optimizer": "fastcnn.optimizers",
    "Plan": "fastcnn.plan",
    "Regularizer": "fastcnn.regularizers",
    "Sequential": "fastcnn.models",
    "autotune": "fastcnn.models.tuning",
    "get_num_threads": "fastcnn.backends.threads",
    "gradients": "fastcnn.autodiff",
    "set_num_threads": "fastcnn.backends.threads",
    "set_random_seed": "fastcnn.random",
    "show_config": "fastcnn.environment",
}
__all__ = [*_MODULES, *_NAMES, "__version__"]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"fastcnn.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'fastcnn' has no attribute '{name}'")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    # Kept, so that the next use is a plain attribute.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
