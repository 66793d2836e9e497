# SPDX-License-Identifier: Apache-2.0
"""Fail unless `import fastcnn`, NumPy being loaded, takes less than the seconds given."""

import subprocess
import sys

RUNS = 30
CODE = """
import time
import numpy
begin = time.perf_counter()
import fastcnn
print(time.perf_counter() - begin)
"""


def main() -> None:
    limit = float(sys.argv[1])
    # The smallest of many fresh processes: what the import costs, not what the machine was doing.
    command = [sys.executable, "-c", CODE]
    seconds = min(float(subprocess.check_output(command, text=True)) for _ in range(RUNS))
    print(f"import fastcnn: {seconds:.4f} s over numpy (smallest of {RUNS}; limit {limit} s)")
    if seconds >= limit:
        sys.exit("fastcnn imports too slowly; see `python -X importtime -c 'import fastcnn'`")


if __name__ == "__main__":
    main()
