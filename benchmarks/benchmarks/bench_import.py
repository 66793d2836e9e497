# SPDX-License-Identifier: Apache-2.0
"""What `import fastcnn` costs, on top of NumPy and in memory."""

from __future__ import annotations


class Import:
    def timeraw_fastcnn(self) -> tuple[str, str]:
        return "import fastcnn", "import numpy"

    def timeraw_numpy(self) -> str:
        return "import numpy"


class ImportMemory:
    # The peak of a process that has loaded fastcnn and NumPy and done nothing else.
    def peakmem_fastcnn(self) -> None:
        import fastcnn  # noqa: F401
