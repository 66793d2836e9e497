# SPDX-License-Identifier: Apache-2.0
"""Which algorithms `autotune` found to be the fastest on this machine, in a file of its own.

`$FASTCNN_HOME/autotune/<host>-<isa>.json`. There is none per number of threads: results have the
same bits for any, and other algorithms round differently. What another machine or another version
has written counts for nothing, and neither does a damaged file.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastcnn.errors import FileError
from fastcnn.passes.algorithms import Choices
from fastcnn.utils.atomic import write_atomically
from fastcnn.utils.files import fastcnn_home

# By instruction set: what this process goes by.
_known: dict[str, Choices] = {}


def measured_choices(isa: str) -> Choices:
    """What was measured for an instruction set; the file is read once per process."""
    found = _known.get(isa)
    if found is None:
        found = _known[isa] = frozenset(_read(isa).items())
    return found


def keep_choices(isa: str, found: Mapping[str, str]) -> None:
    """Add to what is known: for this process and, if the folder can be written, for later ones."""
    merged = {**dict(measured_choices(isa)), **_read(isa), **found}
    _known[isa] = frozenset(merged.items())
    content = {"origin": _origin(isa), "choices": dict(sorted(merged.items()))}
    file = _file(isa)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(content, indent=1).encode())
    except (OSError, FileError):
        pass  # measured again by the next process that asks


def folder() -> Path:
    """Where the files are."""
    return fastcnn_home() / "autotune"


def _file(isa: str) -> Path:
    return folder() / f"{platform.node() or 'host'}-{isa}.json"


def _origin(isa: str) -> dict[str, str]:
    """Whose measurements count: kernels of another version have other times."""
    import fastcnn

    return {"fastcnn": fastcnn.__version__, "host": platform.node(), "isa": isa}


def _read(isa: str) -> dict[str, str]:
    try:
        kept: Any = json.loads(_file(isa).read_text())
        if kept["origin"] != _origin(isa):
            return {}
        return {str(shape): str(name) for shape, name in kept["choices"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
