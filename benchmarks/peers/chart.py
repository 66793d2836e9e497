# SPDX-License-Identifier: Apache-2.0
"""The ratios of a run as a picture: how much faster than the best peer, network by network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .engines import ENGINES
from .results import Result, Run, geometric_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two ends of cividis (Nuñez et al., 2018): apart in lightness, so in grey and for every eye.
FASTER, SLOWER = "#00306f", "#c8b866"
MEAN = "#575d6d"
ROW, WIDTH = 0.34, 5.2  # inches of a bar with its gap, and of a panel
BARS = 0.57  # of the width of a panel; labels take the rest
DPI = 160
MEAN_LABEL = "geometric mean"


def draw(run: Run, path: Path) -> None:
    """Draw one panel per batch, side by side.

    Args:
        run: with at least one ratio.
        path: picture to write; the ending chooses the format.

    Raises:
        ValueError: the run has no ratio to draw.
    """
    from matplotlib.figure import Figure

    panels = [
        (f"{task}, batch {batch}", [r for r in run.at(task, batch) if r.ratio() is not None])
        for task, batch in run.batches()
    ]
    panels = [(title, results) for title, results in panels if results]
    if not panels:
        raise ValueError("nothing to draw: no case has a time of fastcnn and of a peer")
    rows = max(len(results) for _, results in panels) + 1
    figure = Figure(figsize=(WIDTH * len(panels), ROW * rows + 1.5), dpi=DPI, layout="constrained")
    widest = max(result.ratio() or 0.0 for _, results in panels for result in results)
    for number, (title, results) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        draw_panel(axes, results, max(widest, 1.0) / BARS)
        axes.set_title(title, loc="left", fontsize=11)
    facts = [run.facts.get(key, "?") for key in ("processor", "threads of every engine", "date")]
    figure.suptitle("Speed of fastcnn ÷ speed of the fastest other engine", fontsize=12)
    figure.supxlabel(
        "{}; {} threads, float32; {}".format(*facts),
        fontsize=8,
        color=MEAN,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.15, facecolor="white")


def draw_panel(axes: Axes, results: list[Result], right: float) -> None:
    """A bar per network, the peer it was measured against at its end, and the mean below."""
    ratios = [result.ratio() or 0.0 for result in results]
    mean = geometric_mean(ratios) or 0.0
    labels = [result.case.network for result in results] + [MEAN_LABEL]
    colours = [FASTER if ratio >= 1 else SLOWER for ratio in ratios] + [MEAN]
    axes.barh(labels, [*ratios, mean], color=colours, height=0.72)
    for place, result in enumerate(results):
        peer = ENGINES[result.best_peer() or ""].title
        write(axes, place, ratios[place], f" {ratios[place]:.2f} × {peer}")
    write(axes, len(results), mean, f" {mean:.2f}")
    axes.axvline(1.0, color="black", linewidth=0.9)
    axes.set_xlim(0, right)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def write(axes: Axes, place: int, ratio: float, text: str) -> None:
    """Text behind the end of a bar, or behind the line at 1 where the bar ends just before it."""
    start = max(ratio, 1.01) if ratio > 0.7 else ratio
    axes.text(start, place, text, va="center", ha="left", fontsize=8.5)
