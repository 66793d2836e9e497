# SPDX-License-Identifier: Apache-2.0
"""All passes of a prediction, but for folding batch norms and cutting weights off."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.graph import Tensor
from fastcnn.passes.algorithms import Algorithms
from fastcnn.passes.depthwise import to_depthwise
from fastcnn.passes.fuse import fuse_convolutions
from fastcnn.passes.fuse_pools import fuse_pools
from fastcnn.passes.fuse_separable import fuse_separable
from fastcnn.passes.fuse_shuffle import fuse_shuffles
from fastcnn.passes.turn import turn_convolutions
from fastcnn.passes.unstride import unstride
from fastcnn.passes.values import forget_winners


def for_inference(outputs: Sequence[Tensor], algorithms: Algorithms | None = None) -> list[Tensor]:
    """The graph of a prediction as the cpu backend runs it best.

    Args:
        outputs: of the graph.
        algorithms: those allowed; those of the environment when None.
    """
    algorithms = algorithms or Algorithms()
    tensors = to_depthwise(turn_convolutions(forget_winners(outputs)))
    tensors = fuse_convolutions(unstride(tensors, algorithms), algorithms=algorithms)
    return fuse_shuffles(fuse_separable(fuse_pools(tensors), algorithms))
