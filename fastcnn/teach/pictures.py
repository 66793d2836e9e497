# SPDX-License-Identifier: Apache-2.0
"""Frames as images of one size, sheets of them as PNG, and animations as GIF.

Matplotlib draws, on figures of its own and never through pyplot; Pillow, which comes with it,
writes the files.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn.graph import Array
from fastcnn.teach.lesson import Frame
from fastcnn.utils.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

DPI = 80
# Inches around what a frame draws, and of lines of text in its title and caption.
MARGIN, LINE = 0.25, 0.21
TITLE, CAPTION = 10.5, 9.5
# Of the font size, the width of an average letter in DejaVu Sans.
LETTER = 0.56
# Anti-aliased text and the shades of some planes need no more.
COLOURS = 64
INK, GREY = "#1A1A1A", "#555555"


def render(title: str, frames: Sequence[Frame]) -> list[Array]:
    """Every frame as an image (height, width, 3) of bytes, all of one size.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    sizes = [frame.size() for frame in frames]
    width = max(max(w for w, _ in sizes), 4.2) + 2 * MARGIN
    heading = _wrapped(title, width, TITLE)
    captions = [_wrapped(frame.caption, width, CAPTION) for frame in frames]
    top = MARGIN + LINE * (len(heading) + 1.6)
    middle = max(h for _, h in sizes)
    height = top + middle + LINE * (max(map(len, captions)) + 0.8) + MARGIN
    images = []
    for frame, caption, (w, h) in zip(frames, captions, sizes, strict=True):
        figure = _figure(width, height)
        for number, line in enumerate(heading):
            _write(figure, MARGIN, MARGIN + LINE * number, line, TITLE, weight="bold")
        _write(figure, MARGIN, MARGIN + LINE * len(heading), frame.title, TITLE, GREY)
        axes = figure.add_axes((0, 0, 1, 1))
        left, above = (width - w) / 2, top + (middle - h) / 2
        axes.set_xlim(-left, width - left)
        axes.set_ylim(height - above, -above)
        axes.axis("off")
        frame.draw(axes)
        for number, line in enumerate(caption):
            _write(figure, MARGIN, top + middle + LINE * (number + 0.8), line, CAPTION)
        images.append(_pixels(figure))
    return images


def _wrapped(text: str, inches: float, points: float) -> list[str]:
    return textwrap.wrap(text, int((inches - 2 * MARGIN) * 72 / (LETTER * points))) or [""]


def _figure(width: float, height: float) -> Figure:
    figure = new_figure(width, height)
    figure.set_dpi(DPI)
    figure.set_layout_engine("none")  # every inch is placed here
    return figure


def _write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    points: float,
    colour: str = INK,
    weight: str = "normal",
) -> None:
    """Text with its top left corner (x, y) inches from that of the figure."""
    width, height = figure.get_size_inches()
    at = (x / width, 1 - y / height)
    # A dollar sign would begin a formula.
    figure.text(*at, text, fontsize=points, color=colour, weight=weight, va="top", parse_math=False)


def _pixels(figure: Figure) -> Array:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def sheet(images: Sequence[Array], columns: int | None = None) -> Array:
    """Images of one size in rows, as one image; about square unless `columns` is given."""
    height, width, _ = images[0].shape
    if columns is None:
        columns = max(1, round(math.sqrt(len(images) * height / width)))
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        whole[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return whole


def png(image: Array) -> bytes:
    """An image as PNG, in few colours, which keeps it small."""
    file = io.BytesIO()
    _reduced([image])[0].save(file, "png", optimize=True)
    return file.getvalue()


def gif(images: Sequence[Array], milliseconds: int) -> bytes:
    """Images of one size as an endless animation; the last one stays three times as long."""
    frames = _reduced(images)
    file = io.BytesIO()
    frames[0].save(
        file,
        "gif",
        save_all=True,
        append_images=frames[1:],
        duration=[milliseconds] * (len(frames) - 1) + [3 * milliseconds],
        loop=0,
        optimize=True,
    )
    return file.getvalue()


def _reduced(images: Sequence[Array]) -> list[Image.Image]:
    """All images in one palette of the most frequent colours, so that nothing flickers.

    White stays white, which Pillow's own reductions do not promise.
    """
    from PIL import Image

    packed = np.stack(images).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    codes, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    palette = colours[np.argsort(-counts, kind="stable")][:COLOURS]
    distances = ((colours[:, None] - palette) ** 2).sum(axis=2)
    indices = distances.argmin(axis=1).astype(np.uint8)[places].reshape(packed.shape)
    reduced = [Image.fromarray(plane) for plane in indices]
    for image in reduced:
        image.putpalette(palette.astype(np.uint8).tobytes())
    return reduced
