# SPDX-License-Identifier: Apache-2.0
"""Frames that are planes of numbers side by side, with the window of the moment marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fastcnn.graph import Array
from fastcnn.teach.lesson import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches: a cell at least, between columns of planes, between planes, and the line above a plane.
CELL, GAP, BELOW, ABOVE = 0.55, 0.5, 0.16, 0.3
TITLE = 9.5
# Inches of an average letter of a title.
LETTER = 0.56 * TITLE / 72
# Points of numbers: short ones, longer ones, small print; a digit's width as a part of them.
SHORT, LONG, SMALL, DIGIT = 12.5, 10.0, 8.5, 0.64
# Blue and vermilion of Okabe and Ito (2008), told apart with every kind of colour vision, and
# tints of them.
WINDOW, CHOSEN = "#0072B2", "#D55E00"
WINDOW_TINT, CHOSEN_TINT = "#CFE6F5", "#F9D5B8"
PADDING, EDGE = "#EFEFEF", "#9A9A9A"


@final
@dataclass(frozen=True, eq=False)
class Plane:
    """A grid of numbers.

    Attributes:
        title: what the numbers are.
        values: (H, W).
        small: (H, W) numbers in small print below, or None.
        known: (H, W) cells whose number is shown; all when None.
        window: (H, W) cells that are looked at in this step, or None.
        chosen: (H, W) cells that this step is about, or None.
        padding: (H, W) cells that are padding, or None.
        scale: the number that gets the strongest shade, its negative the strongest of the other
            colour; no shades when 0.
        letters: of the longest number of all frames, so that cells keep their width while numbers
            grow; of this plane when less.
    """

    title: str
    values: Array
    small: Array | None = None
    known: Array | None = None
    window: Array | None = None
    chosen: Array | None = None
    padding: Array | None = None
    scale: float = 0.0
    letters: int = 0

    def marked(self, mask: Array | None, row: int, column: int) -> bool:
        """Whether a cell is in a mask."""
        return mask is not None and bool(mask[row, column])

    def size(self) -> tuple[float, float]:
        """(width, height) in inches, with the title, which may be wider than the cells."""
        rows, columns = self.values.shape
        return max(columns * self.cell()[0], len(self.title) * LETTER), ABOVE + rows * CELL

    def cell(self) -> tuple[float, float]:
        """Width of a cell in inches, and size of its number in points."""
        letters = max(self.letters, longest(self.values))
        small = 0 if self.small is None else longest(self.small)
        points = SHORT if letters <= 4 else LONG
        width = max(letters * points, small * SMALL) * DIGIT / 72
        return max(CELL, width + 0.12), points

    def shown(self, row: int, column: int) -> bool:
        """Whether a cell's number is known already."""
        return self.known is None or bool(self.known[row, column])


def number(value: float) -> str:
    """A number of at most four digits, with a proper minus."""
    text = f"{float(value):.4g}"
    return ("0" if text == "-0" else text).replace("-", "−")


def longest(*arrays: Array) -> int:
    """Letters of the longest number in arrays."""
    return max(len(number(value)) for array in arrays for value in array.flat)


def signed(text: str) -> str:
    """A number within a formula: a negative one in parentheses."""
    return f"({text})" if text.startswith("−") else text


def only(shape: tuple[int, int], row: int, column: int) -> Array:
    """A mask of one cell."""
    mask = np.zeros(shape, bool)
    mask[row, column] = True
    return mask


@final
@dataclass(frozen=True, eq=False)
class GridFrame(Frame):
    """Columns of planes.

    Attributes:
        columns: from left to right; in each, planes from top to bottom.
    """

    columns: tuple[tuple[Plane, ...], ...]

    def text(self) -> str:
        """Planes as text: the window in parentheses, the chosen cell in brackets."""
        blocks = []
        for column in self.columns:
            lines: list[str] = []
            for plane in column:
                lines += ([""] if lines else []) + list(_plane_lines(plane))
            blocks.append(lines)
        return "\n".join([f"{self.title}", *_beside(blocks), self.caption])

    def size(self) -> tuple[float, float]:
        """Inches of all columns."""
        sizes = [_column_size(column) for column in self.columns]
        width = sum(width for width, _ in sizes) + GAP * (len(sizes) - 1)
        return width, max(height for _, height in sizes)

    def draw(self, axes: Axes) -> None:
        """All planes; columns are centred vertically."""
        whole = self.size()[1]
        left = 0.0
        for column in self.columns:
            width, height = _column_size(column)
            top = (whole - height) / 2
            for plane in column:
                axes.text(left, top + ABOVE - 0.07, plane.title, fontsize=TITLE, va="bottom")
                _draw_plane(axes, plane, left, top + ABOVE)
                top += plane.size()[1] + BELOW
            left += width + GAP


def _column_size(column: Sequence[Plane]) -> tuple[float, float]:
    sizes = [plane.size() for plane in column]
    return max(w for w, _ in sizes), sum(h for _, h in sizes) + BELOW * (len(sizes) - 1)


def _plane_lines(plane: Plane) -> Iterable[str]:
    """The plane as lines; numbers in small print stand beside the others, after a stroke."""
    rows, columns = plane.values.shape
    cells = [[_cell(plane, r, c) for c in range(columns)] for r in range(rows)]
    width = max((len(cell) for row in cells for cell in row), default=1)
    yield plane.title
    for r, row in enumerate(cells):
        line = ""
        for c, cell in enumerate(row):
            marks = "  "
            if plane.marked(plane.chosen, r, c):
                marks = "[]"
            elif plane.marked(plane.window, r, c):
                marks = "()"
            line += marks[0] + cell.rjust(width) + marks[1]
        yield line


def _cell(plane: Plane, row: int, column: int) -> str:
    padding = plane.marked(plane.padding, row, column)
    if not plane.shown(row, column):
        return "-" if padding else "."
    text = number(plane.values[row, column])
    return text if plane.small is None or padding else f"{text}|{_small(plane, row, column)}"


def _small(plane: Plane, row: int, column: int) -> str:
    return "" if plane.small is None else number(plane.small[row, column])


def _beside(blocks: Sequence[Sequence[str]]) -> Iterable[str]:
    """Blocks of lines side by side."""
    widths = [max(map(len, block)) for block in blocks]
    for lines in zip_longest(*blocks, fillvalue=""):
        padded = (line.ljust(width) for line, width in zip(lines, widths, strict=True))
        yield "    ".join(padded).rstrip()


def _draw_plane(axes: Axes, plane: Plane, left: float, top: float) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    width, points = plane.cell()
    squares = []
    look: dict[str, Any]
    for row, column in np.ndindex(plane.values.shape):
        at = (left + column * width, top + row * CELL)
        fill = _fill(plane, row, column)
        line = ":" if plane.marked(plane.padding, row, column) else "-"
        look = {"facecolor": fill, "edgecolor": EDGE, "linewidth": 0.8, "linestyle": line}
        squares.append(Rectangle(at, width, CELL, **look))
        if plane.shown(row, column):
            _draw_number(axes, plane, (row, column), (*at, width), points, fill)
    # Over all cells, so that no neighbour covers half of a mark.
    for mask, colour, line_width, inset in (
        (plane.window, WINDOW, 1.8, 0.0),
        (plane.chosen, CHOSEN, 2.4, 0.03),
    ):
        for row, column in np.argwhere(mask) if mask is not None else ():
            at = (left + column * width + inset, top + row * CELL + inset)
            look = {"fill": False, "edgecolor": colour, "linewidth": line_width}
            squares.append(Rectangle(at, width - 2 * inset, CELL - 2 * inset, **look))
    # One collection: adding patches one by one takes longer than drawing them.
    axes.add_collection(PatchCollection(squares, match_original=True), autolim=False)


def _fill(plane: Plane, row: int, column: int) -> str:
    """The colour of a cell: its shade, or else what it is marked as."""
    if plane.scale and plane.shown(row, column):
        return _shade(float(plane.values[row, column]) / plane.scale)
    if plane.marked(plane.chosen, row, column):
        return CHOSEN_TINT
    if plane.marked(plane.window, row, column):
        return WINDOW_TINT
    return PADDING if plane.marked(plane.padding, row, column) else "white"


def _shade(share: float) -> str:
    """White at 0; purple to 1, orange to -1: two hues of one map, even in lightness."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    clipped = min(max(share, -1.0), 1.0) if share == share else 0.0
    return to_hex(colormaps["PuOr"](0.5 + 0.4 * clipped)) if clipped else "#FFFFFF"


def _draw_number(
    axes: Axes,
    plane: Plane,
    cell: tuple[int, int],
    place: tuple[float, float, float],
    points: float,
    fill: str,
) -> None:
    """The number of a cell and its small print, in a place (left, top, width)."""
    text, small = number(plane.values[cell]), _small(plane, *cell)
    padding = plane.marked(plane.padding, *cell)
    nothing = padding or (plane.scale and not plane.values[cell])
    two = bool(small) and not padding
    left, top, width = place
    look: dict[str, Any] = {"color": "#777777" if nothing else _ink(fill), "ha": "center"}
    middle, heights = left + width / 2, (0.4, 0.8) if two else (0.52,)
    for words, height, size in zip((text, small), heights, (points, SMALL), strict=False):
        axes.text(middle, top + CELL * height, words, fontsize=size, va="center", **look)


def _ink(fill: str) -> str:
    """Black or white, what can be read on a colour."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(fill)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
