# SPDX-License-Identifier: Apache-2.0
"""What `import fastcnn` costs in time and memory, alone and until a model can be built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Names are imported on first use, so the import alone is not the whole price.
FIRST_USE = "import fastcnn; fastcnn.Model; fastcnn.layers.Conv2D"
RESIDENT = """
import os
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


class Import:
    def timeraw_fastcnn(self) -> tuple[str, str]:
        return "import fastcnn", "import numpy"

    def timeraw_first_use(self) -> tuple[str, str]:
        return FIRST_USE, "import numpy"

    def timeraw_numpy(self) -> str:
        return "import numpy"


class ImportMemory:
    # The peak of a process that has loaded fastcnn and NumPy and done nothing else.
    def peakmem_fastcnn(self) -> None:
        import fastcnn  # noqa: F401


def resident(code: str) -> int:
    """Bytes in memory of a fresh process that has run `code`."""
    if not Path("/proc/self/statm").exists():
        raise NotImplementedError("resident memory is read from /proc")
    output = subprocess.check_output([sys.executable, "-c", code + RESIDENT], text=True)
    return int(output)


class Resident:
    unit = "bytes"

    def track_python(self) -> int:
        return resident("")

    def track_numpy(self) -> int:
        return resident("import numpy")

    def track_first_use(self) -> int:
        return resident(FIRST_USE)
