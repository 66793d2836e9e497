# SPDX-License-Identifier: Apache-2.0
"""Maps drawn over the images that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastcnn import arguments
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.utils.figures import PathLike, displayable, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

# Perceptually even; of signed maps white is zero. From black to light, so a map reads in grey too.
HEAT, SIGNED = "inferno", "RdBu_r"
STYLES = ("auto", "heat", "signed", "colour")
# Of the values of a map: what is above is drawn as the brightest, or one pixel would dim the rest.
BRIGHTEST = 99.5
# How much of a map's brightest place hides the image.
OPAQUE = 0.85
_CELL = 2.1


def show(
    x: npt.ArrayLike,
    maps: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    path: PathLike | None = None,
    *,
    captions: Sequence[str] | None = None,
    style: str = "auto",
    overlay: bool | None = None,
    title: str | None = None,
    limit: int = 8,
) -> Figure:
    """Draw maps beside and over the images that they explain.

    Args:
        x: images (N, H, W, C), or one (H, W, C); each is brought to a displayable range.
        maps: one map per image: (N, H, W), (N, H, W, C) or smaller ones, which are enlarged; or
            several by name, which become columns.
        path: picture to write, such as "map.png"; none when None.
        captions: one per image, such as its class.
        style: "heat" draws sizes, "signed" draws sums over the channels around 0 (white), "colour"
            draws maps of three channels as colours around grey; "auto" chooses "signed" where
            there are negative values, else "heat".
        overlay: draw maps over the images; by default for one map, next to the map itself.
        title: above all.
        limit: largest number of images shown.

    Returns:
        The matplotlib figure.

    Raises:
        ShapeError: maps and images that do not fit together.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    arguments.one_of("explain.show", "style", style, STYLES)
    images = _batch(np.asarray(x), "images")
    named = dict(maps) if isinstance(maps, Mapping) else {"map": maps}
    columns = {name: _maps(np.asarray(m), images, name) for name, m in named.items()}
    if captions is not None and len(captions) != len(images):
        raise ArgumentError(
            f"explain.show: found {len(captions)} captions for {len(images)} images, expected one "
            "for each"
        )
    over = len(columns) == 1 if overlay is None else overlay
    titles = ["image", *columns, *(_over(name, columns) for name in columns if over)]
    rows = min(len(images), max(1, limit))
    figure = new_figure(
        max(3.0, _CELL * len(titles)), 0.93 * _CELL * rows + (0.7 if title else 0.4)
    )
    if title:
        figure.suptitle(title, fontsize=12)
    for row in range(rows):
        picture = displayable(images[row])
        axes = [
            figure.add_subplot(rows, len(titles), row * len(titles) + column + 1)
            for column in range(len(titles))
        ]
        _draw_image(axes[0], picture)
        if captions is not None:
            axes[0].set_ylabel(captions[row], fontsize=9)
        for column, found in enumerate(columns.values()):
            chosen = _style(style, found[row])
            _draw_map(axes[1 + column], found[row], chosen, picture.shape)
            if over:
                place = axes[1 + len(columns) + column]
                _draw_image(place, _grey(picture))
                _draw_over(place, found[row], chosen, picture.shape)
        if row == 0:
            for place, text in zip(axes, titles, strict=True):
                place.set_title(text.replace("_", " "), fontsize=9.5)
    if path is not None:
        write_figure(figure, path)
    return figure


def _over(name: str, columns: Mapping[str, Any]) -> str:
    return "over the image" if len(columns) == 1 else f"{name}\nover the image"


def _batch(images: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ShapeError(
            f"explain.show: found {what} of shape {images.shape}, expected (N, H, W, C) or "
            "(H, W, C) with one or three channels"
        )
    return images


def _maps(maps: npt.NDArray[Any], images: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if len(images) == 1 and (maps.ndim == 2 or (maps.ndim == 3 and len(maps) != 1)):
        maps = maps[None]
    if maps.ndim not in (3, 4) or len(maps) != len(images):
        raise ShapeError(
            f"explain.show: found '{name}' of shape {maps.shape} for {len(images)} images, "
            "expected a map (H, W) or (H, W, C) for each"
        )
    return np.nan_to_num(maps.astype(np.float64))


def _style(style: str, found: Floats) -> str:
    if style != "auto":
        return style
    return "signed" if found.min() < 0 else "heat"


def scaled(found: Floats, style: str) -> Floats:
    """A map in 0 … 1, or -1 … 1 where signed, without channels; colours (h, w, 3) around 0.5."""
    if style == "colour" and found.ndim == 3 and found.shape[-1] == 3:
        bound = _bound(found)
        colours: Floats = np.clip(0.5 + found / (2 * bound), 0, 1)
        return colours
    if found.ndim == 3:
        found = found.sum(axis=-1) if style == "signed" else np.abs(found).max(axis=-1)
    found = found if style == "signed" else np.abs(found)
    values: Floats = np.clip(found / _bound(found), -1, 1)
    return values


def _bound(found: Floats) -> float:
    sizes = np.abs(found)
    bound = float(np.percentile(sizes, BRIGHTEST)) or float(sizes.max())
    return bound or 1.0


def _grey(picture: Floats) -> Floats:
    return picture if picture.ndim == 2 else picture.mean(axis=-1)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#BBBBBB")


def _draw_image(axes: Axes, picture: Floats) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axes)


def _frame(found: Floats, size: tuple[int, ...]) -> dict[str, Any]:
    """Where a map lies on an image: all over it, smoothly where it has fewer pixels."""
    smaller = found.shape[0] < size[0] or found.shape[1] < size[1]
    extent = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
    return {"extent": extent, "interpolation": "bilinear" if smaller else "nearest"}


def _colours(style: str) -> dict[str, Any]:
    if style == "signed":
        return {"cmap": SIGNED, "vmin": -1, "vmax": 1}
    return {"cmap": HEAT, "vmin": 0, "vmax": 1}


def _draw_map(axes: Axes, found: Floats, style: str, size: tuple[int, ...]) -> None:
    values = scaled(found, style)
    axes.imshow(values, **_colours(style), **_frame(values, size))
    _bare(axes)


def _draw_over(axes: Axes, found: Floats, style: str, size: tuple[int, ...]) -> None:
    """The stronger the map, the less is seen of the image."""
    style = "heat" if style == "colour" else style
    values = scaled(found, style)
    # What is weak is dark on a heat map, but white on a signed one.
    opaque = OPAQUE * np.abs(values) ** (1.0 if style == "signed" else 0.5)
    axes.imshow(values, alpha=opaque, **_colours(style), **_frame(values, size))
