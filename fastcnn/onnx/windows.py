# SPDX-License-Identifier: Apache-2.0
"""Attributes of sliding windows: kernel_shape, strides, dilations, pads and auto_pad.

One-dimensional windows become those of an image of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.errors import UnsupportedError
from fastcnn.graph import Array
from fastcnn.onnx.call import Call
from fastcnn.onnx.proto import NodeView
from fastcnn.ops.geometry import extent, resolve_pads

Pair = tuple[int, int]

# ONNX's words for paddings that depend on the input's size.
AUTO_PADS = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
ATTRIBUTES = "auto_pad dilations kernel_shape pads strides"


@final
@dataclass(frozen=True)
class Window:
    """A window over (H, W). `padding` is "same", "same_lower" or ((top, bottom), (left, right))."""

    size: Pair
    strides: Pair
    dilations: Pair
    padding: str | tuple[Pair, Pair]

    def padding_of(self, axis: int) -> str | Pair:
        """The padding of one axis."""
        return self.padding if isinstance(self.padding, str) else self.padding[axis]

    @property
    def simple_padding(self) -> Any:
        """The padding as a layer's argument: one number where one is enough."""
        if isinstance(self.padding, str):
            return self.padding
        sides = {side for axis in self.padding for side in axis}
        if sides == {0}:
            return "valid"
        return sides.pop() if len(sides) == 1 else self.padding


def _pair(values: Sequence[int], filler: int) -> Pair:
    both = (filler, *values) if len(values) == 1 else tuple(values)
    return both[0], both[1]


def window_of(call: Call, size: Sequence[int] | None = None) -> Window:
    """The node's window; `size` is that of its weights where it has such."""
    size = call.attribute("kernel_shape") or size or ()
    rank = len(size)
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    return Window(_pair(size, 1), _pair(strides, 1), _pair(dilations, 1), padding_of(call, rank))


def padding_of(call: Call, rank: int) -> str | tuple[Pair, Pair]:
    """The node's padding of (H, W)."""
    word = call.attribute("auto_pad", "NOTSET")
    if word in AUTO_PADS:
        return AUTO_PADS[word]
    pads = call.attribute("pads") if word == "NOTSET" else None
    pads = list(pads or [0] * (2 * rank))
    if min(pads) < 0:
        raise UnsupportedError(f"{call.where}: found negative pads {pads}; crop the image instead")
    sides = list(zip(pads[:rank], pads[rank:], strict=True))
    return ((0, 0), sides[0]) if rank == 1 else (sides[0], sides[1])


def cells(call: Call, x: Any, window: Window, filler: float) -> tuple[Any, Array]:
    """The cells of all windows laid side by side, and which of them are pixels.

    Windows then touch and do not overlap: (N, P R, Q S, C), which any dilation comes down to.
    `filler` stands for cells outside of the image.
    """
    taken, inside = x, []
    for axis in (0, 1):
        (size,) = call.known(x.shape[1 + axis : 2 + axis])
        places = _places(call, size, window, axis)
        inside.append((places >= 0) & (places < size))
        taken = ops.take(taken, np.where(inside[-1], places, 0), 1 + axis)
    pixels = inside[0][:, None] & inside[1]
    if not pixels.all():
        mask = pixels[..., None].astype(x.dtype)
        taken = ops.where(mask, taken, filler)
    return taken, pixels


def _places(call: Call, size: int, window: Window, axis: int) -> Array:
    """Along one axis: the position of every cell of every window, in the image or outside."""
    taps, step, dilation = (v[axis] for v in (window.size, window.strides, window.dilations))
    before, after = resolve_pads(window.padding_of(axis), size, taps, step, dilation)
    room = size + before + after - extent(taps, dilation)
    count = room // step + 1
    if call.attribute("ceil_mode", 0):
        count = -(-room // step) + 1
        count -= (count - 1) * step >= size + before
    return (np.arange(count)[:, None] * step - before + np.arange(taps) * dilation).reshape(-1)


def two_dimensional(node: NodeView, constants: dict[str, Array]) -> str:
    """What is said of windows with three or more axes."""
    size = node.attributes.get("kernel_shape")
    if size is None and len(node.inputs) > 1 and node.inputs[1] in constants:
        size = constants[node.inputs[1]].shape[2:]
    if size is not None and len(size) not in (1, 2):
        return f"windows of {len(size)} axes"
    return ""
