# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: the gradient of a convolution for its input, with Keras' size rules."""

from __future__ import annotations

from typing import Any

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Spec
from fastcnn.ops._apply import apply, as_operands, require_rank
from fastcnn.ops.conv import Conv2DGradInput
from fastcnn.ops.conv_window import located_in, require_equal, with_bias
from fastcnn.ops.geometry import AxisPadding, Padding, extent, normalize_padding, pair


def conv2d_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    strides: int | tuple[int, int] = 1,
    padding: Any = "valid",
    output_padding: int | tuple[int, int] | None = None,
    dilation_rate: int | tuple[int, int] = 1,
) -> Any:
    """2-D transposed convolution: the gradient of `conv2d` for its input, as a layer of its own.

    Args:
        x: (N, h, w, C).
        kernel: (R, S, K, C): output channels before input channels, as in Keras.
        bias: (K,), added at every pixel; None for none.
        strides: output pixels from one input pixel to the next, one or (vertical, horizontal).
        padding: "valid", "same", "same_lower", pixels cut off every side, or their pairs.
        output_padding: extra pixels at the bottom and right, less than the stride; None lets the
            padding decide.
        dilation_rate: distances of the taps in pixels, one or (vertical, horizontal).

    Returns:
        (N, H, W, K). With k = (R - 1) * dilation + 1, H is (h - 1) * stride + max(k, stride) for
        "valid", h * stride for "same", and with output_padding p given (h - 1) * stride + k + p for
        "valid" and (h - 1) * stride + k % 2 + p for "same", as Keras has it.

    Raises:
        ShapeError: ranks or channels do not fit, or nothing is left of the output.
        ArgumentError: a stride, dilation, padding or output_padding that cannot be.
        DtypeError: inputs that are not float, or not of one type.
    """
    x, kernel = as_operands([x, kernel])
    with located_in("conv2d_transpose"):
        op = _transposed(
            x, kernel, strides, normalize_padding(padding), output_padding, dilation_rate
        )
    return with_bias(apply(op, x, kernel), bias, "conv2d_transpose")


def _transposed(
    x: Any, kernel: Any, strides: Any, padding: Padding, output_padding: Any, dilation_rate: Any
) -> Conv2DGradInput:
    require_rank(Spec(tuple(x.shape)), 4, "(N, h, w, C)")
    require_rank(Spec(tuple(kernel.shape)), 4, "(R, S, K, C)", "the kernel")
    require_equal(
        x.shape[3],
        kernel.shape[3],
        f"the input has {x.shape[3]} channels but the kernel {tuple(kernel.shape)} takes "
        f"{kernel.shape[3]}; give a kernel of shape (R, S, output channels, {x.shape[3]})",
    )
    steps, dilations = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    extra = _output_padding(output_padding, steps)
    (H, top_bottom), (W, left_right) = (
        transposed_axis(
            x.shape[1 + axis],
            extent(kernel.shape[axis], dilations[axis]),
            steps[axis],
            padding[axis],
            extra[axis],
        )
        for axis in (0, 1)
    )
    return Conv2DGradInput(
        input_size=(H, W), strides=steps, padding=(top_bottom, left_right), dilations=dilations
    )


def _output_padding(value: Any, strides: tuple[int, int]) -> tuple[int | None, int | None]:
    if value is None:
        return None, None
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    both = both if all(isinstance(p, int) for p in both) else ()
    if len(both) != 2 or not all(0 <= p < s for p, s in zip(both, strides, strict=False)):
        raise ArgumentError(
            f"output_padding is {value!r}, expected at least 0 and less than the strides "
            f"{strides}; try output_padding=None"
        )
    return both


def transposed_axis(
    size: int | None, taps: int, stride: int, padding: AxisPadding, extra: int | None
) -> tuple[int | None, AxisPadding]:
    """Output size of a transposed convolution along one axis, and the pads of its convolution.

    Args:
        size: input pixels; None (not known) gives None.
        taps: pixels that the dilated filter covers.
        stride: output pixels from one input pixel to the next.
        padding: "same", "same_lower" or (before, after).
        extra: output_padding, or None.

    Source: Keras 3, `compute_conv_transpose_output_shape`.
    """
    if isinstance(padding, str):
        if extra is None:
            return (None if size is None else size * stride), padding
        total = max(taps - taps % 2 - extra, 0)
        cut = (total // 2, total - total // 2)
        length = taps % 2 + extra
        pads = cut if padding == "same" else (cut[1], cut[0])
    else:
        pads = padding
        # Keras' default for "valid": a filter shorter than the stride still fills whole strides.
        default = max(stride - taps, 0) if pads == (0, 0) else 0
        length = taps - sum(pads) + (default if extra is None else extra)
    if size is None:
        return None, pads
    length += (size - 1) * stride
    if length < 1:
        raise ShapeError(
            f"{size} pixels with stride {stride}, a filter of {taps} and "
            f"padding {pads} leave an output of {length}; try less padding"
        )
    return length, pads
