# SPDX-License-Identifier: Apache-2.0
"""Receptive fields drawn over an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn.analysis.effective import THRESHOLD, EffectiveField
from fastcnn.analysis.field import Box, ReceptiveField
from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.utils.figures import PathLike, displayable, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe and Ito (2008): told apart with every kind of colour vision.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SIDE = 4.6  # inches


def draw_receptive_field(
    field: ReceptiveField,
    path: PathLike,
    image: Any = None,
    units: Sequence[Sequence[int] | int | None] = (None,),
) -> Path:
    """Draw the boxes of some units, and the centres of all, over an image.

    Args:
        field: what `receptive_field` returned.
        path: picture to write; the ending chooses the format.
        image: (H, W, C), (H, W) or (W, C) of the field's input size; a blank one when None.
        units: positions in the layer's output; the middle one when None.

    Returns:
        The path.

    Raises:
        ShapeError: the image has another size.
        ArgumentError: there is no such unit.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    boxes = [field.box(unit) for unit in units]
    picture = _picture(field, image)
    figure = new_figure(_SIDE + 0.4, _height(picture) + 1.0)
    axes = figure.add_subplot()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=_aspect(picture))
    _draw_middles(axes, *field.boxes())
    for number, (unit, box) in enumerate(zip(units, boxes, strict=True)):
        inset = 0.07 * number if len(box) == 1 else 0.0
        _draw_box(axes, box, _COLORS[number % len(_COLORS)], _unit_name(field, unit), inset)
    _finish(axes, picture, str(field).replace(", stride", "\nstride", 1))
    _explain_marks(axes)
    return write_figure(figure, path)


def draw_effective_receptive_field(
    effective: EffectiveField, path: PathLike, image: Any = None
) -> Path:
    """Draw how strongly a unit depends on each pixel, with its theoretical box.

    Args:
        effective: what `effective_receptive_field` returned.
        path: picture to write; the ending chooses the format.
        image: the image to lie under; none when None.

    Returns:
        The path.

    Raises:
        ShapeError: the image has another size.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    field = effective.field
    figure = new_figure(_SIDE + 1.2, _height(_picture(field, None)) + 1.4)
    axes = figure.add_subplot()
    unit = effective.unit[0] if len(effective.unit) == 1 else effective.unit
    title = (
        f"layer '{field.layer}', unit {unit}\n"
        f"effective side {effective.size:.0f}, {effective.share:.0%} of the theoretical"
    )
    if len(field.input_size) == 1:
        _draw_bars(axes, effective, title)
    else:
        _draw_heat(axes, effective, image, title)
    _explain_marks(axes)
    return write_figure(figure, path)


def _draw_heat(axes: Axes, effective: EffectiveField, image: Any, title: str) -> None:
    influence = effective.influence
    picture = _picture(effective.field, image)
    alpha = np.ones_like(influence)
    if image is not None:  # in grey, so that the colours are those of the influence
        grey = picture.mean(axis=-1) if picture.ndim == 3 else picture
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
        alpha = 0.15 + 0.7 * influence**0.5
    shown = axes.imshow(influence, cmap="viridis", vmin=0, vmax=1, alpha=alpha)
    figure: Any = axes.get_figure()
    # Inside the axes' frame of reference: as tall as the image, whatever its shape.
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.04, 0, 0.05, 1)))
    bar.solids.set_alpha(1)  # the colours as they are, not as they lie over the image
    bar.set_label("influence, of the largest")
    above = influence > THRESHOLD
    if above.any() and not above.all():
        axes.contour(influence, levels=[THRESHOLD], colors=_COLORS[4], linewidths=0.8)
        axes.plot([], [], color=_COLORS[4], label=f"{THRESHOLD:.2%} of the largest")
    _draw_box(axes, effective.box, _COLORS[0], "theoretical box")
    _finish(axes, picture, title)
    rows, columns = (_around(s, d) for s, d in zip(effective.box, influence.shape, strict=True))
    axes.set_xlim(*columns)
    axes.set_ylim(*rows[::-1])


def _around(side: slice, size: int) -> tuple[float, float]:
    """Bounds of a view of the box and as much on each side, but not beyond the image by much."""
    room, edge = max(side.stop - side.start, 8), 0.5 + 0.02 * size
    return max(side.start - room, -edge), min(side.stop + room, size - 1 + edge)


def _draw_bars(axes: Axes, effective: EffectiveField, title: str) -> None:
    influence, (box,) = effective.influence, effective.box
    axes.axvspan(box.start - 0.5, box.stop - 0.5, color=_COLORS[0], alpha=0.2, lw=0)
    axes.axvspan(0, 0, color=_COLORS[0], alpha=0.2, lw=0, label="theoretical box")
    axes.bar(np.arange(len(influence)), influence, width=0.9, color=_COLORS[1])
    axes.axhline(THRESHOLD, color="#555555", lw=0.8, ls="--", label=f"{THRESHOLD:.2%}")
    axes.set_xlim(-1, len(influence))
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("input position")
    axes.set_ylabel("influence")


def _picture(field: ReceptiveField, image: Any) -> Array:
    """The image in 0 to 1, (H, W) or (H, W, 3); rows of one pixel in 1-D."""
    if image is None:
        return np.full(np.atleast_2d(np.empty(field.input_size)).shape, 0.92)
    array = np.asarray(image)
    rank = len(field.input_size)
    if array.shape[:rank] != field.input_size or array.ndim not in (rank, rank + 1):
        raise ShapeError(
            f"found an image of shape {array.shape}, expected {field.input_size} with or without "
            "channels; give the field the image's size as input_shape"
        )
    shown = displayable(array)
    if shown.ndim > rank and shown.shape[-1] not in (3, 4):
        shown = shown.mean(axis=-1)
    return shown[None] if rank == 1 else shown


def _height(picture: Array) -> float:
    rows, columns = picture.shape[:2]
    return 1.0 if rows == 1 else float(np.clip(_SIDE * rows / columns, 1.0, 2 * _SIDE))


def _aspect(picture: Array) -> Any:
    """Square pixels, but for a row of them."""
    return "auto" if picture.shape[0] == 1 else "equal"


def _draw_middles(axes: Axes, low: Array, high: Array) -> None:
    middles = ((low + high) / 2)[(low <= high).all(axis=-1)]
    if middles.shape[-1] == 1:
        middles = np.stack([np.zeros(len(middles)), middles[:, 0]], axis=1)
    middles = np.unique(middles.reshape(-1, 2), axis=0)
    size = float(np.clip(90 / max(len(middles), 1) ** 0.5, 1.5, 9))
    axes.scatter(
        middles[:, 1],
        middles[:, 0],
        s=size,
        c="white",  # with a dark edge: seen on any image
        edgecolors="#333333",
        linewidths=0.6,
        zorder=3,
        label="middles of all boxes",
    )


def _draw_box(axes: Axes, box: Box, color: str, name: str, inset: float = 0.0) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = (slice(0, 1), box[0]) if len(box) == 1 else box
    corner = (columns.start - 0.5, rows.start - 0.5 + inset)
    width, height = columns.stop - columns.start, rows.stop - rows.start - 2 * inset
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, color=color, linewidth=2, label=name)
    )


def _unit_name(field: ReceptiveField, unit: Any) -> str:
    if unit is None:
        unit = tuple(d // 2 for d in field.output_size)
    return f"unit {unit}" if unit != () else "every unit"


def _explain_marks(axes: Axes) -> None:
    """The legend, so many points below the axes that ticks and label fit between."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=5.5,
        ncols=2,
        fontsize=8,
        frameon=False,
    )


def _finish(axes: Axes, picture: Array, title: str) -> None:
    rows, columns = picture.shape[:2]
    axes.set_xlim(-0.5 - 0.02 * columns, columns - 0.5 + 0.02 * columns)
    axes.set_ylim(rows - 0.5 + 0.02 * rows, -0.5 - 0.02 * rows)
    axes.set_title(title, fontsize=9)
    if rows == 1:
        axes.set_xlabel("input position")
        axes.set_yticks([])
    else:
        axes.set_xlabel("input column")
        axes.set_ylabel("input row")
