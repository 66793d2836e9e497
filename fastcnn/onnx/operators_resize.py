# SPDX-License-Identifier: Apache-2.0
"""Resize and Upsample.

Every axis on its own: nearest takes elements at fixed positions, linear and cubic multiply by a
fixed matrix. What the engine's own resize does exactly so is left to it.

Source: the ONNX specification of Resize; R. Keys, "Cubic convolution interpolation for digital
image processing", 1981.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.layers import Resizing, UpSampling2D
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator, only
from fastcnn.onnx.value import Unknown, Value

HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")


@final
@dataclass(frozen=True)
class Axis:
    """One axis to be resized: its sizes, the scale, and the part (start, end) that is looked at."""

    size: int
    target: int
    scale: float
    part: tuple[float, float] = (0.0, 1.0)


def positions(axis: Axis, mode: str) -> Array:
    """Where every output element stands in the input, by the coordinate_transformation_mode."""
    i = np.arange(axis.target, dtype=np.float64)
    last = axis.size - 1
    if mode == "asymmetric":
        return i / axis.scale
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / axis.scale
    if mode == "align_corners":
        return i * last / max(axis.target - 1, 1)
    if mode == "tf_crop_and_resize":
        start, end = axis.part
        if axis.target == 1:
            return np.array([(start + end) * last / 2])
        return start * last + i * (end - start) * last / (axis.target - 1)
    if mode == "pytorch_half_pixel" and axis.target == 1:
        return np.zeros(1)
    centre = 0.0
    if mode == "half_pixel_symmetric":
        centre = axis.size / 2 * (1 - axis.target / (axis.scale * axis.size))
    return centre + (i + 0.5) / axis.scale - 0.5


def nearest(places: Array, size: int, mode: str) -> Array:
    """The element that each position takes."""
    rounded = {
        "round_prefer_floor": np.ceil(places - 0.5),
        "round_prefer_ceil": np.floor(places + 0.5),
        "floor": np.floor(places),
        "ceil": np.ceil(places),
    }[mode]
    return np.clip(rounded, 0, size - 1).astype(np.int64)


def linear_filter(distance: Array) -> Array:
    """1 - |d|, 0 beyond 1."""
    values: Array = np.maximum(1 - np.abs(distance), 0)
    return values


def cubic_filter(distance: Array, a: float) -> Array:
    """Keys' cubic with the parameter `a`, 0 beyond 2."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    values: Array = np.where(d <= 1, near, np.where(d < 2, far, 0))
    return values


def matrix(call: Call, axis: Axis, places: Array) -> Array:
    """(target, size): each output's share of each input element; the edge's own repeats beyond."""
    cubic = call.attribute("mode", "nearest") == "cubic"
    narrow = min(axis.scale, 1.0) if call.attribute("antialias", 0) else 1.0
    reach = math.ceil((2 if cubic else 1) / narrow) + 1
    weights = np.zeros((axis.target, axis.size))
    rows = np.arange(axis.target)
    for offset in range(-reach, reach + 1):
        element = np.floor(places).astype(np.int64) + offset
        distance = (element - places) * narrow
        share = (
            cubic_filter(distance, call.attribute("cubic_coeff_a", -0.75))
            if cubic
            else linear_filter(distance)
        )
        if call.attribute("exclude_outside", 0):
            share = np.where((element >= 0) & (element < axis.size), share, 0)
        np.add.at(weights, (rows, np.clip(element, 0, axis.size - 1)), share)
    total: Array = weights / weights.sum(1, keepdims=True)
    return total


def resize(call: Call) -> Value:
    """Resize."""
    x = call.floats(0).settled()
    axes = _axes(call, x)
    mode = call.attribute("mode", "nearest")
    coordinates = call.attribute("coordinate_transformation_mode", _old_coordinates(call))
    whole = _by_the_engine(call, x, axes, mode, coordinates)
    if whole is not None:
        return whole
    tensor = x.tensor
    for number, axis in axes.items():
        places = positions(axis, coordinates)
        place = x.order.index(number)
        if mode == "nearest":
            rounding = call.attribute("nearest_mode", _old_rounding(call))
            tensor = ops.take(tensor, nearest(places, axis.size, rounding), place)
        else:
            shares = matrix(call, axis, places).astype(call.drawing.dtype)
            tensor = _multiplied(tensor, shares, place)
        outside = (places < 0) | (places > axis.size - 1)
        if coordinates == "tf_crop_and_resize" and outside.any():
            mask = outside.astype(call.drawing.dtype).reshape(
                [-1 if i == place else 1 for i in range(x.rank)]
            )
            tensor = ops.where(mask, call.attribute("extrapolation_value", 0.0), tensor)
    return x.with_tensor(tensor)


def _old_coordinates(call: Call) -> str:
    return "half_pixel" if call.node.op_type == "Resize" and call.opset >= 11 else "asymmetric"


def _old_rounding(call: Call) -> str:
    return "round_prefer_floor" if call.node.op_type == "Resize" and call.opset >= 11 else "floor"


def _multiplied(x: Any, shares: Array, axis: int) -> Any:
    """x times a matrix (target, size) along one axis."""
    order = list(range(x.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    y = ops.matmul(ops.transpose(x, order), np.ascontiguousarray(shares.T))
    return ops.transpose(y, order)


def _axes(call: Call, x: Value) -> dict[int, Axis]:
    """The axes whose size or part changes."""
    numbers = [a % x.rank for a in call.attribute("axes") or range(x.rank)]
    scales, sizes = _wanted(call)
    roi = [0.0, 1.0]
    if call.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        roi = [float(v) for v in call.array(1).tolist()]
    found = {}
    # An axis of unknown size (the batch) may be there as long as it keeps its size: 0 here.
    wanted = zip(numbers, sizes if scales is None else scales, strict=True)
    kept = (1, call.drawing.file_batch)
    shape = [
        0 if x.shape[a] is None and (isinstance(w, Unknown) or w in kept) else x.shape[a]
        for a, w in wanted
    ]
    have = list(call.known(shape))
    if sizes is not None:
        sizes, scales = _proportional(call, have, sizes)
    for i, number in enumerate(numbers):
        if not have[i]:
            continue
        target = sizes[i] if sizes is not None else math.floor(have[i] * scales[i])
        part = (roi[i], roi[i + len(numbers)]) if len(roi) > 2 else (0.0, 1.0)
        if target != have[i] or part != (0.0, 1.0):
            found[number] = Axis(have[i], target, scales[i], part)
    return found


def _wanted(call: Call) -> tuple[Any, Any]:
    """Scales or sizes, whichever the node gives."""
    if "scales" in call.node.attributes:
        return [float(s) for s in call.attribute("scales")], None
    place = 2 if call.node.op_type == "Resize" and call.opset >= 11 else 1
    if call.has(place) and call.array(place).size:
        return [float(s) for s in call.array(place).tolist()], None
    if call.has(3) and call.array(3).size:
        return None, call.integers(3)
    raise ShapeError(f"{call.where}: found neither scales nor sizes; export the model again")


def _proportional(call: Call, have: list[int], sizes: list[Any]) -> tuple[list[int], list[float]]:
    """Sizes and scales, the scales made equal where the node asks for it."""
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    scales = [s / h if h else 1.0 for s, h in zip(sizes, have, strict=True)]
    if policy == "stretch":
        return list(sizes), scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(scale * h + 0.5) for h in have], [scale] * len(have)


def _by_the_engine(
    call: Call, x: Value, axes: dict[int, Axis], mode: str, coordinates: str
) -> Value | None:
    """The engine's own resize, where it means the same; None where not."""
    if x.rank != 4 or not axes or not set(axes) <= {2, 3} or call.attribute("antialias", 0):
        return None
    tensor, rank = call.image(0)
    if None in tensor.shape[1:3]:
        return None
    image = call.known(tensor.shape[1:3])
    size = tuple(axes[a].target if a in axes else image[a - 2] for a in (2, 3))
    exact = all(math.isclose(a.scale * a.size, a.target, rel_tol=1e-6) for a in axes.values())
    whole = all(a.target % a.size == 0 for a in axes.values())
    if not exact:
        return None
    factors = tuple(axes[a].target // axes[a].size if a in axes else 1 for a in (2, 3))
    if mode == "nearest" and whole and _repeats(call, axes, coordinates):
        return call.from_image(call.layer(UpSampling2D, tensor, size=factors), rank)
    if mode == "linear" and coordinates in HALF_PIXEL and min(size) > 1:
        if whole:
            y = call.layer(UpSampling2D, tensor, size=factors, interpolation="bilinear")
        else:
            y = call.layer(Resizing, tensor, height=size[0], width=size[1])
        return call.from_image(y, rank)
    if mode == "linear" and coordinates == "align_corners":
        return call.from_image(ops.resize(tensor, size, align_corners=True), rank)
    return None


def _repeats(call: Call, axes: dict[int, Axis], coordinates: str) -> bool:
    rounding = call.attribute("nearest_mode", _old_rounding(call))
    return all(
        np.array_equal(
            nearest(positions(a, coordinates), a.size, rounding),
            np.arange(a.target) // (a.target // a.size),
        )
        for a in axes.values()
    )


ATTRIBUTES = (
    "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside "
    "extrapolation_value keep_aspect_ratio_policy mode nearest_mode"
)

OPERATORS = {
    "Resize": Operator(resize, ATTRIBUTES, only("mode", "nearest", "linear", "cubic"), since=10),
    "Upsample": Operator(resize, "mode scales", only("mode", "nearest", "linear"), since=7),
}
