# SPDX-License-Identifier: Apache-2.0
"""A softmax cross-entropy and its gradient for the logits become one op.

    loss, p = cross_entropy(x, t); dx = cross_entropy_grad(p, t, dloss)
    becomes  loss, dx = cross_entropy_with_grad(x, t, dloss)

What reaches the losses from above is mostly known before them: one over the batch size, times the
samples' weights. Then logits are gone through once, and probabilities are not kept. Where it
depends on a cross-entropy, as for the square of one, the two ops stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn.drawing import scope_path
from fastcnn.graph import Node, Op, Tensor, topological
from fastcnn.ops._apply import apply
from fastcnn.ops.loss import (
    SoftmaxCrossEntropy,
    SoftmaxCrossEntropyGrad,
    SoftmaxCrossEntropyWithGrad,
    SparseSoftmaxCrossEntropy,
    SparseSoftmaxCrossEntropyGrad,
    SparseSoftmaxCrossEntropyWithGrad,
)
from fastcnn.passes.rewrite import count_readers, rewrite

_LOSSES = (SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy)


def fuse_losses(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a training step with cross-entropies that give their gradients.

    Args:
        tensors: outputs and new values of weights, together: they share the graph.
    """
    readers = count_readers(tensors)
    after: set[int] = set()  # cross-entropies, and what is made of them
    gradients: dict[int, tuple[Node, Op]] = {}  # by the loss: its gradient, and both in one
    for node in topological(tensors):
        known = all(id(t.node) not in after for t in node.inputs[2:])
        joint = _joint(node)
        if joint is not None and known and readers[node.inputs[0]] == 1:
            gradients[id(node.inputs[0].node)] = node, joint
        if isinstance(node.op, _LOSSES) or any(id(t.node) in after for t in node.inputs):
            after.add(id(node))
    fused = {id(gradient) for gradient, _ in gradients.values()}

    def rule(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
        if id(node) in fused:
            return inputs[:1]  # it stands where the probabilities were
        if id(node) not in gradients:
            return None
        gradient, joint = gradients[id(node)]
        with scope_path(node.layer):
            return apply(joint, *inputs, gradient.inputs[2])  # type: ignore[no-any-return]

    return rewrite(tensors, rule)


def _joint(node: Node) -> Op | None:
    """The op of loss and gradient, if `node` is the gradient of whose probabilities it reads."""
    op = node.op
    if isinstance(op, SparseSoftmaxCrossEntropyGrad):
        loss: Op = SparseSoftmaxCrossEntropy(op.label_smoothing)
        joint: Op = SparseSoftmaxCrossEntropyWithGrad(op.label_smoothing)
    elif isinstance(op, SoftmaxCrossEntropyGrad):
        loss = SoftmaxCrossEntropy(op.label_smoothing)
        joint = SoftmaxCrossEntropyWithGrad(op.label_smoothing)
    else:
        return None
    p, targets, _ = node.inputs
    belongs = p.index == 1 and p.node.op == loss and p.node.inputs[1] == targets
    return joint if belongs else None
