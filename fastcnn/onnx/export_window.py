# SPDX-License-Identifier: Apache-2.0
"""The geometry of sliding windows in ONNX's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn.onnx.export_graph import CannotExport
from fastcnn.ops.geometry import AxisPadding, Padding, Pads, extent, resolve_pads

AUTO_PAD = {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def axis_pads(
    padding: AxisPadding, size: int | None, taps: int, stride: int, dilation: int = 1
) -> Pads | None:
    """(before, after) of one axis, or None where "same" needs a size that is not known."""
    if size is None and isinstance(padding, str):
        if stride > 1 and taps > 1:
            return None
        # Single steps and single taps are padded alike whatever the size.
        size = extent(taps, dilation)
    return resolve_pads(padding, size or 0, taps, stride, dilation)


def window(
    padding: Padding,
    image: Sequence[int | None],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> dict[str, Any]:
    """`pads`, or `auto_pad` where "same" needs sizes that are not known."""
    axes = zip(padding, image, taps, strides, dilations, strict=True)
    sides = [axis_pads(*axis) for axis in axes]
    if None not in sides:
        return {"pads": [s[0] for s in sides if s] + [s[1] for s in sides if s]}
    vertical, horizontal = padding
    # ONNX Runtime may pad windows that are shorter than their step by a negative number.
    short = any(extent(t, d) < s for t, d, s in zip(taps, dilations, strides, strict=True))
    if isinstance(vertical, str) and vertical == horizontal and not short:
        return {"auto_pad": AUTO_PAD[vertical]}
    raise CannotExport(
        f"its padding {padding} depends on a height and width that are not known; give input_shape "
        "with known sizes"
    )
