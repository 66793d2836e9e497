# SPDX-License-Identifier: Apache-2.0
"""What all convolutions share: a filter sliding over an image, its geometry, bias and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastcnn.drawing import current_scope
from fastcnn.errors import FastcnnError, ShapeError, located
from fastcnn.graph import Op
from fastcnn.ops._apply import as_operands
from fastcnn.ops.geometry import AXES, Padding, output_size, resolve_pads
from fastcnn.records import dataclass

Sizes = tuple[int | None, int | None]


@contextmanager
def located_in(function: str) -> Iterator[None]:
    """Errors inside begin with the layer being called, or with `function`'s name."""
    try:
        yield
    except FastcnnError as error:
        layer = current_scope()
        raise located(
            error, f"layer '{layer}' ({function})" if layer else f"ops.{function}"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Convolution(Op):
    """Abstract: what forward convolution and its gradients share, dense and depthwise.

    Attributes:
        strides: (vertical, horizontal) steps of the filter.
        padding: of each axis, as `normalize_padding` gives it.
        dilations: (vertical, horizontal) distances of the taps.
    """

    strides: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilations: tuple[int, int] = (1, 1)

    def siblings(self) -> dict[str, Any]:
        """The fields that an op and its gradients have in common."""
        return {"strides": self.strides, "padding": self.padding, "dilations": self.dilations}

    def output_sizes(self, image: Sequence[int | None], taps: Sequence[int]) -> Sizes:
        """(P, Q) for an input of (H, W) and a filter of (R, S)."""
        return self._output_size(0, image[0], taps[0]), self._output_size(1, image[1], taps[1])

    def _output_size(self, axis: int, size: int | None, taps: int) -> int | None:
        stride, dilation = self.strides[axis], self.dilations[axis]
        return output_size(size, taps, stride, dilation, self.padding[axis], AXES[axis])

    def pads(self, image: Sequence[int], taps: Sequence[int]) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) for an input of (H, W) and a filter of (R, S)."""
        axes = zip(self.padding, image, taps, self.strides, self.dilations, strict=True)
        (top, bottom), (left, right) = (resolve_pads(*axis) for axis in axes)
        return top, bottom, left, right

    def numbers(self, image: Sequence[int], taps: Sequence[int]) -> dict[str, int | float]:
        """The kernels' attributes; pads at the bottom and right follow from the output's size."""
        top, _, left, _ = self.pads(image, taps)
        return {
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
            "pad_top": top,
            "pad_left": left,
            "dilation_h": self.dilations[0],
            "dilation_w": self.dilations[1],
        }

    def require_output(
        self, image: Sequence[int | None], taps: Sequence[int], dy: Sequence[int | None]
    ) -> None:
        """ShapeError unless `dy`'s (P, Q) is what an input of (H, W) gives; None fits all."""
        expected = self.output_sizes(image, taps)
        for axis, want, found in zip(AXES, expected, dy, strict=True):
            if want is not None and found is not None and want != found:
                raise ShapeError(
                    f"dy has {axis} {found}, but a {taps[0]}x{taps[1]} filter over an input of "
                    f"{image[0]}x{image[1]} gives {want}; give the input_size that made it"
                )


def require_equal(found: int | None, expected: int | None, sentence: str) -> None:
    """ShapeError with `sentence` where both numbers are known and differ."""
    if found is not None and expected is not None and found != expected:
        raise ShapeError(sentence)


def with_bias(y: Any, bias: Any, function: str) -> Any:
    """y + bias over the last axis, or y where `bias` is None; ShapeError unless bias is (K,)."""
    if bias is None:
        return y
    from fastcnn import ops

    (bias,) = as_operands([bias])
    with located_in(function):
        if tuple(bias.shape) != (y.shape[-1],):
            raise ShapeError(
                f"the bias has shape {tuple(bias.shape)}, expected ({y.shape[-1]},); give one "
                "number for each output channel"
            )
    return ops.add(y, bias)
