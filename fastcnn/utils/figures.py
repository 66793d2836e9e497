# SPDX-License-Identifier: Apache-2.0
"""Figures of matplotlib without pyplot: no window opens and no global state changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastcnn.errors import FileError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PathLike = str | os.PathLike[str]
_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, laid out so that nothing overlaps.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            'Plots need matplotlib, which is not installed; run: pip install "fastcnn[plot]"'
        ) from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    return figure


def write_figure(figure: Figure, path: PathLike) -> Path:
    """Write a figure in the format of the path's ending (.png without one) and return the path.

    Raises:
        FileError: the picture cannot be written.
    """
    target = Path(path).expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Naming the format keeps matplotlib from adding an ending to a name without one.
        form = target.suffix[1:] or "png"
        figure.savefig(target, format=form, bbox_inches="tight", pad_inches=0.15)
    except (OSError, ValueError) as error:
        raise FileError(
            f"plots: cannot write {target} ({error}); choose a folder you may write to and an "
            "ending matplotlib knows, such as .png."
        ) from error
    return target


def displayable(picture: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """One image in 0 … 1; a range that is neither 0 … 1 nor 0 … 255 is stretched."""
    image = picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture
    image = np.nan_to_num(image.astype(np.float64))
    low, high = float(image.min()), float(image.max())
    if picture.dtype == np.uint8 or (low >= 0 and 1 < high <= 255):
        return image / 255
    if low < 0 or high > 1:
        return (image - low) / (high - low)
    return image
