# SPDX-License-Identifier: Apache-2.0
"""`python -m fastcnn` is the command `fastcnn`."""

import sys

from fastcnn.cli import main

sys.exit(main())
