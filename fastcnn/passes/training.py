# SPDX-License-Identifier: Apache-2.0
"""All passes of a training step."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.graph import Tensor
from fastcnn.passes.algorithms import Algorithms
from fastcnn.passes.depthwise import to_depthwise
from fastcnn.passes.fuse_losses import fuse_losses
from fastcnn.passes.fuse_moments import fuse_moments
from fastcnn.passes.fuse_norms import fuse_norms
from fastcnn.passes.fuse_sums import fuse_sums
from fastcnn.passes.fuse_updates import fuse_updates
from fastcnn.passes.pack_training import pack_training
from fastcnn.passes.recompute import recompute


def for_training(
    outputs: Sequence[Tensor],
    made: Sequence[Tensor],
    algorithms: Algorithms | None = None,
    keep_less: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """The graph of a step as the cpu backend runs it best.

    Args:
        outputs: what forward makes.
        made: new values of weights and statistics.
        algorithms: those allowed; those of the environment when None.
        keep_less: make again what is cheap to make, instead of keeping it for the gradients.

    Returns:
        The same tensors of the new graph.
    """
    tensors = to_depthwise(fuse_losses([*outputs, *made]))
    tensors = fuse_sums(pack_training(fuse_norms(tensors), algorithms))
    if keep_less:
        outputs, made = recompute(tensors[: len(outputs)], tensors[len(outputs) :])
        tensors = [*outputs, *made]
    tensors = fuse_moments(tensors)
    outputs, made = tensors[: len(outputs)], tensors[len(outputs) :]
    return outputs, fuse_updates(outputs, made)
