# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies computed from logits.

Row losses come with the probabilities as a by-product, so that their gradients take one pass; or
with the gradients themselves, where what arrives from above is known before (`passes.fuse_losses`).
With label smoothing s over K classes the target t becomes (1 - s) t + s / K (Szegedy et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from fastcnn.errors import ArgumentError, DtypeError, NotDifferentiableError, ShapeError
from fastcnn.graph import Array, Node, Op, Parameter, Spec, Tensor
from fastcnn.ops._apply import apply, require_float
from fastcnn.ops.elementwise_binary import multiply
from fastcnn.ops.loss_softmax import OPS as SOFTMAX
from fastcnn.ops.loss_softmax import LogSoftmax, log_softmax_of, require_row
from fastcnn.ops.shape import expand_dims
from fastcnn.records import dataclass


def _require_same(x: Spec, other: Spec, what: str) -> None:
    pairs = zip(x.shape, other.shape, strict=False)
    if x.rank != other.rank or not all(p == q or None in (p, q) for p, q in pairs):
        raise ShapeError(
            f"found {what} of shape {other.shape} for logits of shape {x.shape}, expected equal "
            "shapes; reshape one of them"
        )


def _require_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(
            f"found label_smoothing={label_smoothing}, expected a number from 0 to 1; try 0.1"
        )


def _first_only(dys: Sequence[Tensor | None]) -> Tensor:
    if dys[0] is None or dys[1] is not None:
        raise NotDifferentiableError(
            "the probabilities beside a cross-entropy carry no gradient; use ops.softmax for them"
        )
    return dys[0]


@final
@dataclass(frozen=True)
class SparseSoftmaxCrossEntropy(Op):
    """(logits (..., K), labels (...) int32) -> (loss (...), probabilities (..., K)).

    A label outside [0, K) gives the loss NaN.
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "sparse_softmax_cross_entropy"
    inplace: ClassVar[dict[int, int]] = {}

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """One loss per row, and the probabilities."""
        logits, labels = inputs
        require_row(logits)
        _require_smoothing(self.label_smoothing)
        if labels.dtype != "int32":
            raise DtypeError(
                f"found labels of {labels.dtype}, expected int32 class numbers; convert them with "
                ".astype('int32'), or use categorical_crossentropy for one-hot targets"
            )
        rows = zip(logits.shape, labels.shape, strict=False)
        if labels.rank != logits.rank - 1 or not all(p == q or None in (p, q) for p, q in rows):
            raise ShapeError(
                f"found labels of shape {labels.shape} for logits of shape {logits.shape}, "
                f"expected {logits.shape[:-1]}; give one class number per row of logits"
            )
        return logits.with_shape(*logits.shape[:-1]), logits

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Picks the label's log-probability."""
        logits, labels = inputs
        log_p, s = log_softmax_of(logits), self.label_smoothing
        known = (labels >= 0) & (labels < logits.shape[-1])
        at_label = np.take_along_axis(log_p, np.where(known, labels, 0)[..., None], -1)[..., 0]
        loss = -(1 - s) * at_label
        if s:
            loss = loss - s * log_p.mean(-1)
        return np.where(known, loss, np.array(np.nan, loss.dtype)), np.exp(log_p)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """From the probabilities; labels have none."""
        op = SparseSoftmaxCrossEntropyGrad(self.label_smoothing)
        return apply(op, node.outputs[1], node.inputs[1], _first_only(dys)), None


@final
@dataclass(frozen=True)
class SparseSoftmaxCrossEntropyGrad(Op):
    """dlogits = (p - one-hot(label) smoothed) dloss from p, labels and dloss."""

    label_smoothing: float = 0.0
    name: ClassVar[str] = "sparse_softmax_cross_entropy_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """The probabilities' spec."""
        require_float(inputs[0], inputs[2])
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """With one-hot targets; NaN rows where the label is none of the classes."""
        p, labels, dy = inputs
        classes = p.shape[-1]
        one_hot = (labels[..., None] == np.arange(classes)).astype(p.dtype)
        target = (1 - self.label_smoothing) * one_hot + self.label_smoothing / classes
        known = (labels >= 0) & (labels < classes)
        scale = np.where(known, dy, np.array(np.nan, dy.dtype))
        return np.asarray((p - target) * scale[..., None])


@final
@dataclass(frozen=True)
class SparseSoftmaxCrossEntropyWithGrad(Op):
    """(logits (..., K), labels (...) int32, dloss (...)) -> (loss (...), dlogits (..., K))."""

    label_smoothing: float = 0.0
    name: ClassVar[str] = "sparse_softmax_cross_entropy_with_grad"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """One loss per row, and the logits' spec."""
        return _with_gradient(SparseSoftmaxCrossEntropy(self.label_smoothing), *inputs)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Forward and gradient one after the other."""
        logits, labels, dy = inputs
        loss, p = SparseSoftmaxCrossEntropy(self.label_smoothing).reference(logits, labels)
        return loss, SparseSoftmaxCrossEntropyGrad(self.label_smoothing).reference(p, labels, dy)


@final
@dataclass(frozen=True)
class SoftmaxCrossEntropy(Op):
    """(logits (..., K), targets (..., K)) -> (loss (...), probabilities (..., K)).

    Targets need not sum to 1.
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "softmax_cross_entropy"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """One loss per row, and the probabilities."""
        logits, targets = inputs
        require_row(logits)
        require_float(logits, targets)
        _require_smoothing(self.label_smoothing)
        _require_same(logits, targets, "targets")
        return logits.with_shape(*logits.shape[:-1]), logits

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Minus the targets' mean log-probability."""
        logits, targets = inputs
        log_p, s = log_softmax_of(logits), self.label_smoothing
        target = (1 - s) * targets + s / logits.shape[-1]
        return -(target * log_p).sum(-1), np.exp(log_p)

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """Logits' from the probabilities; targets' is -(1 - s) log softmax(logits) dloss."""
        dy = _first_only(dys)
        logits, targets = node.inputs
        op = SoftmaxCrossEntropyGrad(self.label_smoothing)
        dlogits = apply(op, node.outputs[1], targets, dy)
        share = multiply(expand_dims(dy, -1), self.label_smoothing - 1.0)
        return dlogits, multiply(apply(LogSoftmax(), logits), share)


@final
@dataclass(frozen=True)
class SoftmaxCrossEntropyGrad(Op):
    """dlogits = (p sum t' - t') dloss from p, targets and dloss, t' the smoothed targets."""

    label_smoothing: float = 0.0
    name: ClassVar[str] = "softmax_cross_entropy_grad"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """The probabilities' spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """As the formula."""
        p, targets, dy = inputs
        s = self.label_smoothing
        target = (1 - s) * targets + s / p.shape[-1]
        return np.asarray((p * target.sum(-1, keepdims=True) - target) * dy[..., None])


@final
@dataclass(frozen=True)
class SoftmaxCrossEntropyWithGrad(Op):
    """(logits (..., K), targets (..., K), dloss (...)) -> (loss (...), dlogits (..., K))."""

    label_smoothing: float = 0.0
    name: ClassVar[str] = "softmax_cross_entropy_with_grad"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """One loss per row, and the logits' spec."""
        return _with_gradient(SoftmaxCrossEntropy(self.label_smoothing), *inputs)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """Forward and gradient one after the other."""
        logits, targets, dy = inputs
        loss, p = SoftmaxCrossEntropy(self.label_smoothing).reference(logits, targets)
        return loss, SoftmaxCrossEntropyGrad(self.label_smoothing).reference(p, targets, dy)


def _with_gradient(
    op: SparseSoftmaxCrossEntropy | SoftmaxCrossEntropy, *inputs: Spec
) -> tuple[Spec, ...]:
    """The specs of a cross-entropy's losses and of its gradient for the logits."""
    logits, targets, dy = inputs
    loss, _ = op.infer(logits, targets)
    require_float(logits, dy)
    if dy.shape != loss.shape:
        raise ShapeError(
            f"found a gradient of shape {dy.shape} for losses of shape {loss.shape}, expected "
            "equal shapes; repeat it with broadcast_to"
        )
    return loss, logits


@final
@dataclass(frozen=True)
class BinaryCrossEntropy(Op):
    """loss = -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), elementwise from logits x."""

    name: ClassVar[str] = "binary_cross_entropy"
    inplace: ClassVar[dict[int, int]] = {0: 0}

    def infer(self, *inputs: Spec) -> Spec:
        """The logits' spec."""
        require_float(*inputs)
        _require_same(inputs[0], inputs[1], "targets")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """max(x, 0) - x t + log(1 + e^-|x|): no power overflows."""
        x, t = inputs
        return np.asarray(np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x))))

    def gradient(self, node: Node, *dys: Tensor | None) -> Sequence[Tensor | None]:
        """(sigmoid(x) - t) dy and -x dy."""
        x, t = node.inputs
        dt = multiply(multiply(x, -1.0), dys[0])
        return apply(BinaryCrossEntropyGrad(), x, t, dys[0]), dt


@final
@dataclass(frozen=True)
class BinaryCrossEntropyGrad(Op):
    """dx = (sigmoid(x) - t) dy from x, t and dy."""

    name: ClassVar[str] = "binary_cross_entropy_grad"
    inplace: ClassVar[dict[int, int]] = {0: 2}

    def infer(self, *inputs: Spec) -> Spec:
        """The logits' spec."""
        require_float(*inputs)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        """With the stable sigmoid."""
        x, t, dy = inputs
        e = np.exp(-np.abs(x))
        return np.asarray((np.where(x >= 0, 1, e) / (1 + e) - t) * dy)


# --- functions ---------------------------------------------------------------------------------


def sparse_categorical_crossentropy(target: Any, output: Any, label_smoothing: float = 0.0) -> Any:
    """Cross-entropy of every row of logits against its class number.

    Args:
        target: class numbers (...), integers; a symbolic tensor must be int32.
        output: logits (..., K).
        label_smoothing: s in 0 to 1; the target distribution becomes (1 - s) one-hot + s / K.

    Returns:
        Losses (...); NaN where the class number is outside [0, K).
    """
    op = SparseSoftmaxCrossEntropy(float(label_smoothing))
    return apply(op, output, _as_labels(target))[0]


def _as_labels(target: Any) -> Any:
    if isinstance(target, (Tensor, Parameter)):
        return target
    labels = np.asarray(target)
    if labels.dtype.kind not in "iu" or labels.dtype == np.int32:
        return labels
    # Beyond int32 they are no class in any case: keep them so.
    limits = np.iinfo(np.int32)
    return np.clip(labels, limits.min if labels.dtype.kind == "i" else 0, limits.max).astype(
        np.int32
    )


def categorical_crossentropy(target: Any, output: Any, label_smoothing: float = 0.0) -> Any:
    """Cross-entropy of every row of logits against a target distribution.

    Args:
        target: one-hot or soft targets (..., K).
        output: logits (..., K).
        label_smoothing: s in 0 to 1; the target becomes (1 - s) t + s / K.

    Returns:
        Losses (...).
    """
    return apply(SoftmaxCrossEntropy(float(label_smoothing)), output, target)[0]


def binary_crossentropy(target: Any, output: Any) -> Any:
    """Elementwise cross-entropy of independent yes-no targets (any shape) against logits."""
    return apply(BinaryCrossEntropy(), output, target)


OPS: tuple[type[Op], ...] = (
    *SOFTMAX,
    SparseSoftmaxCrossEntropy,
    SparseSoftmaxCrossEntropyGrad,
    SparseSoftmaxCrossEntropyWithGrad,
    SoftmaxCrossEntropy,
    SoftmaxCrossEntropyGrad,
    SoftmaxCrossEntropyWithGrad,
    BinaryCrossEntropy,
    BinaryCrossEntropyGrad,
)
