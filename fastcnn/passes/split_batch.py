# SPDX-License-Identifier: Apache-2.0
"""The first layers of a large batch run a few images at a time.

What they pass on is larger than the third-level cache, so that each layer reads from memory what
the one before it has just written; that of two or three images is not. The cut lies where one
tensor goes from the front of the graph to its rest, and the parts of that tensor are written where
the rest reads them (`fastcnn.views`), so nothing is copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from fastcnn.graph import Node, Op, Placeholder, Tensor, infer, topological
from fastcnn.ops.conv_packed import WinogradConv2D
from fastcnn.ops.shape_copy import InterleaveChannels
from fastcnn.ops.shape_join import Concat, Slice
from fastcnn.passes.rewrite import carry_over

# Bytes that a call may move and find in the cache.
_CACHED_BYTES = 12 << 20
# Multiply-adds in the time of a byte from memory: 110 billion a second, and 45 GB/s.
_MACS_PER_BYTE = 2.5
# Winograd's convolutions take about this share of a direct one's time, and in parts so much more.
_WINOGRAD, _WINOGRAD_LOSS = 0.3, 0.04
# The share of a prediction that must be gained, and parts at most: each is a list of calls.
_LEAST_GAIN, _MOST_PARTS = 0.02, 8

# A node, the bytes of its images before and behind it, and those of its weights.
_Call = tuple[Node, int, int]


class _Cut(NamedTuple):
    """The nodes in front of it, the tensor that crosses it, and in how many parts they run best."""

    front: list[Node]
    crossing: Tensor
    parts: int


def split_batch(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The graph of a prediction with its front in parts, if that is expected to gain.

    Args:
        outputs: of a graph whose weights are leaves (`hoist`). Their values keep their bits.
    """
    nodes = topological(outputs)
    images = [node.outputs[0] for node in nodes if isinstance(node.op, Placeholder)]
    cut = _best_cut(nodes, images[0], outputs) if len(images) == 1 else None
    if cut is None:
        return list(outputs)
    joined = _in_parts(cut, images[0])
    new = {cut.crossing: joined}
    front = set(cut.front)
    for node in nodes:
        if node not in front:
            carry_over(node, [new.get(t, t) for t in node.inputs], new)
    return [new.get(t, t) for t in outputs]


def _in_parts(cut: _Cut, images: Tensor) -> Tensor:
    """The crossing tensor, joined of those of every part."""
    N = images.spec.sizes[0]
    ends = [N * i // cut.parts for i in range(cut.parts + 1)]
    made = []
    for begin, end in pairwise(ends):
        rest = images.spec.rank - 1
        part = Slice((begin, *[0] * rest), (end - begin, *[None] * rest))
        new = {images: _applied(part, [images], cut.front[0])}
        for node in cut.front:
            inputs = [new.get(t, t) for t in node.inputs]
            new[node.outputs[0]] = _applied(node.op, inputs, node)
        made.append(new[cut.crossing])
    return _applied(Concat(axis=0), made, cut.crossing.node)


def _applied(op: Op, inputs: Sequence[Tensor], like: Node) -> Tensor:
    specs = infer(op, [t.spec for t in inputs])
    return Node(op, tuple(inputs), specs, like.layer, like.source).outputs[0]


def _best_cut(nodes: Sequence[Node], images: Tensor, outputs: Sequence[Tensor]) -> _Cut | None:
    if images.spec.rank != 4 or images.spec.sizes[0] < 2:
        return None
    N, best = images.spec.sizes[0], None
    most = _LEAST_GAIN * sum(_work(node) for node in nodes)
    for front, crossing in _cuts(nodes, images, outputs):
        largest = max(1, *(moved for _, moved, _ in front))
        parts = min(_MOST_PARTS, math.ceil(N / max(1, _CACHED_BYTES * N // largest)))
        gain = sum(_gain(*call, parts) for call in front)
        if gain > most:
            most, best = gain, _Cut([node for node, _, _ in front], crossing, parts)
    return best


def _cuts(
    nodes: Sequence[Node], images: Tensor, outputs: Sequence[Tensor]
) -> Iterator[tuple[list[_Call], Tensor]]:
    """Calls in front, and what crosses."""
    readers = dict.fromkeys(outputs, 1)
    for node in nodes:
        for tensor in node.inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    front: list[_Call] = []
    waited_for, of_images = {images}, {images}
    for node in nodes:
        if not node.inputs:
            continue
        if not _can_split(node, of_images):
            return
        y = node.outputs[0]
        read = [t for t in node.inputs if t in of_images]
        weights = sum(t.spec.nbytes for t in node.inputs if t not in of_images)
        moved = 0 if isinstance(node.op, Concat) else sum(t.spec.nbytes for t in (*read, y))
        front.append((node, moved, weights))
        of_images.add(y)
        waited_for.add(y)
        for tensor in node.inputs:
            readers[tensor] -= 1
            if not readers[tensor]:
                waited_for.discard(tensor)
        if waited_for == {y} and y not in outputs:
            yield list(front), y


def _can_split(node: Node, of_images: set[Tensor]) -> bool:
    """Whether it works image by image, on images and weights alone."""
    if not node.op.image_by_image or len(node.specs) > 1 or node.specs[0].rank != 4:
        return False
    if isinstance(node.op, (Concat, InterleaveChannels)):
        axis = getattr(node.op, "axis", -1)
        return axis in (-1, 3) and of_images.issuperset(node.inputs)
    # A sum may be with a constant for the whole batch.
    others = [t.spec for t in node.inputs if t not in of_images]
    return node.inputs[0] in of_images and node.specs[0] not in others


def _gain(node: Node, moved: int, weights: int, parts: int) -> float:
    """Multiply-adds that could be done in the time that a call gains in so many parts."""
    again = _MACS_PER_BYTE * weights * (parts - 1)  # they are read for each
    if isinstance(node.op, WinogradConv2D):
        return -_WINOGRAD_LOSS * _work(node) - again
    fits = moved / parts <= _CACHED_BYTES < moved
    return (_MACS_PER_BYTE * moved if fits else 0.0) - again


def _work(node: Node) -> float:
    """Multiply-adds that take as long."""
    share = _WINOGRAD if isinstance(node.op, WinogradConv2D) else 1.0
    return share * node.op.macs(*(t.spec for t in node.inputs))
