# SPDX-License-Identifier: Apache-2.0
"""Networks as plans in files: opened in a millisecond, run from Python or C.

export    write what `predict_on_batch` runs for batches of one shape
load      open such a file; needs neither a model nor NumPy

A plan holds the calls of kernels, where their tensors lie, and weights as kernels want them:
folded, packed, transformed. It is used where the file is mapped. C programs open it by
`src_c/fastcnn.h`.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcnn.deploy.network import Network as Network
    from fastcnn.deploy.network import load as load
    from fastcnn.deploy.writing import export as export

_NAMES = {
    "Network": "fastcnn.deploy.network",
    "export": "fastcnn.deploy.writing",
    "load": "fastcnn.deploy.network",
}
__all__ = ["Network", "export", "load"]


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'fastcnn.deploy' has no attribute '{name}'")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return __all__
