# SPDX-License-Identifier: Apache-2.0
"""Ways back through a network, as tables of derivatives by class of op.

    Gradient    the derivative
    Guided      of what comes back through a rectifier, only what is positive and open goes on
    Deconvnet   only what is positive goes on; max pooling puts it back at its recorded switches
    Relevance   every op shares the relevance of its outputs out among its inputs (LRP-epsilon)

Sources: K. Simonyan, A. Vedaldi, A. Zisserman, arXiv:1312.6034; J. T. Springenberg et al.,
arXiv:1412.6806; M. D. Zeiler and R. Fergus, arXiv:1311.2901; S. Bach et al., PLOS ONE 10(7),
e0130140 (2015), equation 58.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fastcnn import ops
from fastcnn.autodiff import GradientRules
from fastcnn.errors import UnsupportedError
from fastcnn.graph import Node, Op, Tensor, topological
from fastcnn.ops import elementwise_activations as activations
from fastcnn.ops.conv import Conv2D, Conv2DGradInput
from fastcnn.ops.conv_depthwise import DepthwiseConv2D, DepthwiseConv2DGradInput
from fastcnn.ops.dense import MatMul
from fastcnn.ops.elementwise import Cast, Identity
from fastcnn.ops.elementwise_binary import Add, Divide, Multiply, Subtract
from fastcnn.ops.elementwise_dropout import Dropout
from fastcnn.ops.elementwise_unary import FUNCTIONS, Negative
from fastcnn.ops.loss_softmax import LogSoftmax, Softmax
from fastcnn.ops.norm_batch import BatchNormInference
from fastcnn.ops.norm_local import LocalResponseNorm
from fastcnn.ops.pool_adaptive import AdaptiveAvgPool2D
from fastcnn.ops.pool_average import AvgPool2D
from fastcnn.ops.reduce import Broadcast, ReduceMean, ReduceSum
from fastcnn.ops.shape_resize import ResizeBilinear

Found = Sequence[Tensor | None]

RECTIFIERS: tuple[type[Op], ...] = (
    activations.ReLU,
    activations.ReLU6,
    activations.LeakyReLU,
    activations.BoundedReLU,
    activations.PReLU,
)
# Weighted sums of their first input.
LINEAR: tuple[type[Op], ...] = (
    Conv2D,
    DepthwiseConv2D,
    Conv2DGradInput,
    DepthwiseConv2DGradInput,
    MatMul,
    AvgPool2D,
    AdaptiveAvgPool2D,
    ReduceMean,
    ReduceSum,
    Broadcast,
    ResizeBilinear,
)
# Functions of one number each, and what is as good as one: all relevance is that of their input.
POINTWISE: tuple[type[Op], ...] = (
    *activations.ACTIVATIONS,
    activations.PReLU,
    *FUNCTIONS,
    Negative,
    Softmax,
    LogSoftmax,
    LocalResponseNorm,
    Identity,
    Cast,
    Dropout,
)
# What moves or chooses numbers: its own gradient moves relevance back just so.
MOVING = (
    "adaptive_max_pool2d",
    "broadcast_to",
    "channel_shuffle",
    "concat",
    "crop",
    "max_pool2d",
    "max_unpool2d",
    "maximum",
    "minimum",
    "pad",
    "reduce_max",
    "reduce_min",
    "reshape",
    "resize_nearest",
    "slice",
    "take",
    "transpose",
    "where",
)


def _through_fixed_statistics(node: Node, dy: Tensor) -> Found:
    """The part of a batch norm for x alone; its own gradient makes those of the weights too."""
    _, gamma, _, _, variance = node.inputs
    scale = ops.multiply(gamma, ops.rsqrt(ops.add(variance, node.op.epsilon)))  # type: ignore[attr-defined]
    return ops.multiply(dy, scale), None, None, None, None


def _guided(node: Node, dy: Tensor) -> Found:
    return node.op.gradient(node, ops.relu(dy))


def _rectified(node: Node, dy: Tensor) -> Found:
    return ops.relu(dy), *(None for _ in node.inputs[1:])


class Way(ABC):
    """How to come back from the scores."""

    def seed(self, wanted: Tensor, scores: Tensor) -> Tensor:
        """What arrives at the scores, where `wanted` is 1 at those explained and 0 elsewhere."""
        return wanted

    @abstractmethod
    def rules(self) -> GradientRules:
        """Derivatives that differ from the ops' own."""

    def check(self, scores: Tensor, image: Tensor) -> None:  # noqa: B027 - optional, not abstract
        """UnsupportedError where an op between image and scores has no rule."""


@final
@dataclass(frozen=True)
class Gradient(Way):
    """The derivative."""

    def rules(self) -> GradientRules:
        """Batch norms are spared the gradients of their weights."""
        return {BatchNormInference: _through_fixed_statistics}


@final
@dataclass(frozen=True)
class Guided(Way):
    """Guided back-propagation (Springenberg et al. 2014)."""

    def rules(self) -> GradientRules:
        """Rectifiers pass what is positive, where they were open."""
        return {**Gradient().rules(), **dict.fromkeys(RECTIFIERS, _guided)}


@final
@dataclass(frozen=True)
class Deconvnet(Way):
    """The deconvolutional network (Zeiler and Fergus 2013)."""

    def rules(self) -> GradientRules:
        """Rectifiers pass what is positive, open or not."""
        return {**Gradient().rules(), **dict.fromkeys(RECTIFIERS, _rectified)}


@final
@dataclass(frozen=True)
class Relevance(Way):
    """Layer-wise relevance propagation, epsilon rule (Bach et al. 2015).

    R_in = x * W^T (R_out / (y + epsilon sign y)). Activations pass relevance on as it is, sums
    share it out in proportion, a product with a gate gives all of it to what is gated.
    """

    epsilon: float = 1e-6

    def seed(self, wanted: Tensor, scores: Tensor) -> Tensor:
        """The relevance of a score is the score."""
        seed: Tensor = ops.multiply(wanted, scores)
        return seed

    def rules(self) -> GradientRules:
        """One for every op that networks in inference are made of."""
        return {
            **dict.fromkeys(LINEAR, self._linear),
            **dict.fromkeys(POINTWISE, _as_it_is),
            **dict.fromkeys((Add, Subtract), self._sum),
            **dict.fromkeys((Multiply, Divide), _to_the_signal),
            BatchNormInference: self._normalized,
        }

    def check(self, scores: Tensor, image: Tensor) -> None:
        """Ops whose relevance nobody has defined are named, all at once."""
        known = set(self.rules())
        depends = {id(image.node)}
        unknown = set()
        for node in topological([scores]):
            if any(id(t.node) in depends for t in node.inputs):
                depends.add(id(node))
                if type(node.op) not in known and node.op.name not in MOVING:
                    unknown.add(node.op.name)
        if unknown:
            raise UnsupportedError(
                f"explain.lrp: there is no rule for {', '.join(sorted(unknown))}; use "
                "integrated_gradients, which is complete as well"
            )

    def _stable(self, y: Tensor) -> Tensor:
        """y, kept from 0 by epsilon on its own side."""
        side = ops.subtract(ops.multiply(ops.greater_equal(y, 0.0), 2.0), 1.0)
        stable: Tensor = ops.add(y, ops.multiply(side, self.epsilon))
        return stable

    def _linear(self, node: Node, relevance: Tensor) -> Found:
        x = node.inputs[0]
        share = ops.divide(relevance, self._stable(node.outputs[0]))
        back = node.op.gradient(node, share)[0]
        return ops.multiply(x, back), *(None for _ in node.inputs[1:])

    def _sum(self, node: Node, relevance: Tensor) -> Found:
        share = ops.divide(relevance, self._stable(node.outputs[0]))
        parts = node.op.gradient(node, share)
        pairs = zip(node.inputs, parts, strict=True)
        return [None if part is None else ops.multiply(x, part) for x, part in pairs]

    def _normalized(self, node: Node, relevance: Tensor) -> Found:
        x = node.inputs[0]
        share = ops.divide(relevance, self._stable(node.outputs[0]))
        return ops.multiply(x, _through_fixed_statistics(node, share)[0]), None, None, None, None


def _as_it_is(node: Node, relevance: Tensor) -> Found:
    return relevance, *(None for _ in node.inputs[1:])


def _to_the_signal(node: Node, relevance: Tensor) -> Found:
    """Gates are smaller than what they gate, or weights; of equals the first is the signal."""
    shapes = [t.shape for t in node.inputs]
    signal = 0 if shapes[0] == relevance.shape else 1
    return [relevance if i == signal else None for i in range(len(shapes))]
