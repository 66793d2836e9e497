# SPDX-License-Identifier: Apache-2.0
"""What a pass may choose from where several algorithms compute the same convolution."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import final


def exact_by_environment() -> bool:
    """Whether FASTCNN_EXACT=1 is set."""
    return os.environ.get("FASTCNN_EXACT", "0") not in ("", "0")


@final
@dataclass(frozen=True)
class Algorithms:
    """Which algorithms the convolutions of a graph may have.

    Attributes:
        exact: direct sums only; Winograd's algorithm, whose results differ from them by rounding,
            is forbidden.
    """

    exact: bool = field(default_factory=exact_by_environment)
