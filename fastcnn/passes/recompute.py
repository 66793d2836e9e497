# SPDX-License-Identifier: Apache-2.0
"""A training step that keeps less: what is cheap to make is made again where gradients read it.

Between two convolutions stand a normalization, a sum, an activation, a pooling. Their outputs take
as much memory as the convolutions', which must be kept anyway, and are made from those in one pass
over memory. So forward drops them, and the same kernels make them again, to the same bits, just
before the gradient of the next convolution reads them. Nothing is made again that would ask for
more to be kept, and nothing twice.

The idea, with whole segments of a network made again: T. Chen, B. Xu, C. Zhang and C. Guestrin,
"Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Op, Tensor, topological, view_root
from fastcnn.ops import (
    elementwise_activations,
    elementwise_binary,
    elementwise_dropout,
    elementwise_unary,
    norm_group,
    pool_average,
    pool_max,
)
from fastcnn.ops._apply import apply
from fastcnn.ops.norm_batch import BatchNormTrain
from fastcnn.ops.norm_batch_fused import FusedBatchNormAgain, FusedBatchNormTrain
from fastcnn.ops.shape import ChannelShuffle, Transpose
from fastcnn.ops.shape_join import Concat, Pad
from fastcnn.passes.rewrite import carry_over, reading, rewrite

# Ops that read memory once or a few times over; of Concat see `_Keeping.can_make`.
CHEAP: frozenset[type[Op]] = frozenset(
    [
        *elementwise_activations.OPS,
        *elementwise_binary.OPS,
        *elementwise_dropout.OPS,
        *elementwise_unary.OPS,
        *norm_group.OPS,
        *pool_average.OPS,
        *pool_max.OPS,
        FusedBatchNormTrain,
        ChannelShuffle,
        Transpose,
        Concat,
        Pad,
    ]
)


def recompute(
    outputs: Sequence[Tensor], made: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The graph of a step in which gradients read what was made again.

    Args:
        outputs: what forward makes.
        made: new values of weights, out of gradients.

    Returns:
        The same tensors of the new graph.
    """
    tensors = rewrite([*outputs, *made], _with_tables)
    outputs, made = tensors[: len(outputs)], tensors[len(outputs) :]
    order = topological(outputs)
    forward = {id(node) for node in order}
    later = [node for node in topological(made) if id(node) not in forward]
    keeping = _Keeping(order, later)
    new: dict[Tensor, Tensor] = {}
    for node in later:
        inputs = [
            new.get(t, t) if id(t.node) not in forward else keeping.again(t) for t in node.inputs
        ]
        carry_over(node, inputs, new)
    return list(outputs), [new.get(t, t) for t in made]


def _with_tables(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
    """A normalization that hands out what is needed to apply it again."""
    if not isinstance(node.op, BatchNormTrain):
        return None
    with scope_path(node.layer):
        made: Sequence[Tensor] = apply(FusedBatchNormTrain(epsilon=node.op.epsilon), *inputs)
    return made[:3]


class _Keeping:
    """What forward keeps for the nodes `later`, and what stands for the rest."""

    def __init__(self, order: Sequence[Node], later: Sequence[Node]) -> None:
        self._read = {view_root(t) for node in later for t in node.inputs}
        self._makes: dict[Tensor, bool] = {}
        self._again: dict[Tensor, Tensor] = {}
        for node in order:  # so that no chain is too long to be followed
            for tensor in node.outputs:
                self.again(tensor)

    def can_make(self, tensor: Tensor) -> bool:
        """Whether a tensor can be made again of what is kept or made again."""
        tensor = view_root(tensor)
        if tensor not in self._makes:
            node = tensor.node
            cheap = bool(node.inputs) and type(node.op) in CHEAP and tensor.index == 0
            self._makes[tensor] = cheap and all(map(self._has, node.inputs))
            if isinstance(node.op, Concat):
                # Parts that are kept lie inside the whole, which then costs nothing.
                parts = all(self.can_make(t) for t in node.inputs)
                self._makes[tensor] = self._makes[tensor] and parts
        return self._makes[tensor]

    def _has(self, tensor: Tensor) -> bool:
        root = view_root(tensor)
        return not root.node.inputs or root in self._read or self.can_make(root)

    def again(self, tensor: Tensor) -> Tensor:
        """What stands for a tensor of forward's: itself where it is kept."""
        if not tensor.node.inputs or not (tensor.node.op.is_view or self.can_make(tensor)):
            return tensor
        if tensor not in self._again:
            self._again[tensor] = self._made(tensor)
        return self._again[tensor]

    def _made(self, tensor: Tensor) -> Tensor:
        node = tensor.node
        inputs = [self.again(t) for t in node.inputs]
        if node.op.is_view and inputs == list(node.inputs):
            return tensor
        if not isinstance(node.op, FusedBatchNormTrain):
            return reading(node, inputs).outputs[tensor.index]
        x, _, _, *residual = inputs
        _, mean, _, scale, offset = node.outputs
        op = FusedBatchNormAgain(bounds=node.op.bounds)
        return Node(
            op, (x, mean, scale, offset, *residual), node.specs[:1], node.layer, node.source
        ).outputs[0]
