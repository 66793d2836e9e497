# SPDX-License-Identifier: Apache-2.0
"""Pictures of a training run: curves, confusion matrix, wrong predictions.

Uses matplotlib's figure objects only, never pyplot, so no window opens and no global state changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastcnn.errors import DataError
from fastcnn.utils.figures import PathLike, displayable, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito (2008): told apart with every kind of colour vision.
_TRAINING, _VALIDATION = "#0072B2", "#D55E00"
_GREY = "#555555"
# Beyond this spread the end of a curve cannot be read on a linear axis.
_LOG_SPREAD = 30.0
_LINEAR = ("learning_rate", "lr")
# Sizes in points: below the first, counts cannot be read and are left out.
_SMALLEST_COUNT, _NAME = 5.0, 9.0
_LONGEST_NAME = 18


def training_curves(
    history: Mapping[str, Sequence[float]], path: PathLike, held_out: str = "validation"
) -> Path:
    """Draw one panel per metric over the epochs, training and validation together.

    Args:
        history: metric name to one value per epoch, as `History.history`; `val_` marks validation
            values. A panel whose positive values spread widely gets a logarithmic axis.
        path: picture to write; the ending chooses the format (.png, .svg, .pdf).
        held_out: what the images behind the `val_` values are called in the legend.

    Returns:
        The path.

    Raises:
        DataError: there is nothing to draw.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    names = [name for name in history if not name.startswith("val_")]
    names += [name[4:] for name in history if name.startswith("val_") and name[4:] not in names]
    names = [name for name in names if any(map(len, _pair(history, name)))]
    if not names:
        raise DataError("training_curves: history holds no epoch, expected values of at least one.")
    columns = 2 if len(names) == 4 else min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(5.0 * columns, 3.8 * rows)
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_curve(axes, name, *_pair(history, name), held_out)
    return write_figure(figure, path)


def confusion_matrix(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    labels: Sequence[str] | None,
    path: PathLike,
) -> Path:
    """Draw how often each true class was predicted as each class.

    The numbers are counts; the colour is the share of the true class, so rare classes show as
    clearly as frequent ones.

    Args:
        y_true: class numbers (n,).
        y_pred: predicted class numbers (n,).
        labels: class names in order; the numbers themselves when None.
        path: picture to write.

    Returns:
        The path.

    Raises:
        DataError: empty or unequal arrays, or a class number without a name.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    true, predicted = _class_numbers(y_true, "y_true"), _class_numbers(y_pred, "y_pred")
    if len(true) != len(predicted) or not len(true):
        raise DataError(
            f"confusion_matrix: y_true has {len(true)} and y_pred {len(predicted)} values, "
            "expected equally many and at least one."
        )
    names = _class_names(labels, max(int(true.max()), int(predicted.max())))
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (true, predicted), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(0.55, 14.0 / len(names))
    side = max(3.6, cell * len(names)) + 1.4
    figure = new_figure(side + 0.9, side)
    axes = figure.add_subplot()
    right = int(np.trace(counts))
    axes.set_title(f"{right:,} of {len(true):,} right ({right / len(true):.1%})", pad=12)
    _draw_matrix(axes, counts, share, names, 72 * cell)
    return write_figure(figure, path)


def wrong_predictions(
    images: npt.ArrayLike,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    probabilities: npt.ArrayLike | None,
    path: PathLike,
    limit: int = 25,
    labels: Sequence[str] | None = None,
) -> Path:
    """Draw the images with a wrong prediction, the surest mistakes first.

    Args:
        images: (n, H, W), (n, H, W, 1) or (n, H, W, 3), 0 … 255 or any float range.
        y_true: class numbers (n,).
        y_pred: predicted class numbers (n,).
        probabilities: (n, classes), (n,) for the predicted class, or None.
        path: picture to write. When nothing is wrong it says so.
        limit: largest number of images shown.
        labels: class names in order; the numbers themselves when None.

    Returns:
        The path.

    Raises:
        DataError: arrays that do not fit together.
        FileError: the picture cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    pictures = np.asarray(images)
    true, predicted = _class_numbers(y_true, "y_true"), _class_numbers(y_pred, "y_pred")
    if not len(pictures) or not len(pictures) == len(true) == len(predicted):
        raise DataError(
            f"wrong_predictions: found {len(pictures)} images, {len(true)} true and "
            f"{len(predicted)} predicted classes, expected equally many and at least one."
        )
    if pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] not in (1, 3)):
        raise DataError(
            f"wrong_predictions: images have shape {pictures.shape}, expected (n, H, W), "
            "(n, H, W, 1) or (n, H, W, 3)."
        )
    names = _class_names(labels, max(int(true.max()), int(predicted.max())))
    sure = _confidence(probabilities, predicted)
    wrong = np.flatnonzero(true != predicted)
    if sure is not None:
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    shown = wrong[: max(1, limit)]
    captions = [
        f"predicted {_short(names[predicted[i]])}"
        + ("" if sure is None else f" ({sure[i]:.0%})")
        + f"\ntrue {_short(names[true[i]])}"
        for i in shown
    ]
    figure = _draw_grid(
        [displayable(pictures[i]) for i in shown], captions, _headline(len(wrong), true, shown)
    )
    return write_figure(figure, path)


def _pair(
    history: Mapping[str, Sequence[float]], name: str
) -> tuple[Sequence[float], Sequence[float]]:
    return history.get(name, ()), history.get(f"val_{name}", ())


def _draw_curve(
    axes: Axes,
    name: str,
    training: Sequence[float],
    validation: Sequence[float],
    held_out: str,
) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = max(len(training), len(validation))
    for values, label, colour in (
        (training, "training", _TRAINING),
        (validation, held_out, _VALIDATION),
    ):
        if not len(values):
            continue
        # Fewer values than epochs: measured every few epochs (`validation_freq`).
        at = np.arange(1, len(values) + 1) * (epochs // len(values))
        marker = "o" if len(values) <= 20 else None
        axes.plot(at, values, color=colour, label=label, lw=1.8, marker=marker, ms=3.5)
    drawn = np.concatenate([np.asarray(training, float), np.asarray(validation, float)])
    drawn = drawn[np.isfinite(drawn)]
    title = name.replace("_", " ")
    wide = drawn.size and drawn.min() > 0 and drawn.max() > _LOG_SPREAD * drawn.min()
    if wide and name not in _LINEAR:
        axes.set_yscale("log")
        title += " (logarithmic)"
    axes.set_title(title, fontsize=12)
    axes.set_xlabel("epoch")
    if epochs > 1:
        axes.set_xlim(1 - 0.03 * (epochs - 1), epochs + 0.03 * (epochs - 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(True, color="#E4E4E4", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(validation):
        axes.legend(frameon=False)


def _draw_matrix(
    axes: Axes,
    counts: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    names: Sequence[str],
    cell: float,
) -> None:
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    size = len(names)
    # The square root lets a few per cent of errors stand out from none.
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    # Digits are about 0.64 of the font size wide.
    font = min(11.0, 0.9 * cell / (0.64 * max(2, len(str(counts.max())))))
    if font >= _SMALLEST_COUNT:
        for row, column in zip(*np.nonzero(counts), strict=True):
            light = share[row, column] > 0.3
            axes.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                fontsize=font,
                color="white" if light else "black",
            )
    step = math.ceil(1.3 * _NAME / cell)
    ticks = range(0, size, step)
    shown = [_short(names[tick]) for tick in ticks]
    upright = max(map(len, shown)) * _NAME * 0.7 < cell * step
    axes.set_xticks(ticks, shown, rotation=0 if upright else 90)
    axes.set_yticks(ticks, shown)
    axes.tick_params(length=0, labelsize=_NAME)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if cell > _SMALLEST_COUNT:
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#D8D8D8", lw=min(0.8, 8 / size))
        axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color("#D8D8D8")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label("share of the true class")
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1.0])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    bar.outline.set_edgecolor("#D8D8D8")


def _draw_grid(
    pictures: Sequence[npt.NDArray[Any]], captions: Sequence[str], headline: str
) -> Figure:
    if not pictures:
        figure = new_figure(5.0, 2.0)
        figure.text(0.5, 0.5, headline, ha="center", va="center", fontsize=13, color=_GREY)
        return figure
    columns = min(5, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = new_figure(max(4.6, 1.9 * columns), 2.15 * rows + 0.5)
    figure.suptitle(headline, fontsize=12)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True), 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(caption, fontsize=8.5)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _headline(wrong: int, true: npt.NDArray[np.int64], shown: npt.NDArray[np.intp]) -> str:
    if not wrong:
        return f"No wrong prediction: all {len(true):,} are right."
    text = f"{wrong:,} of {len(true):,} predictions are wrong ({wrong / len(true):.1%})"
    return text if len(shown) == wrong else f"{text}; {len(shown)} shown"


def _class_numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and np.array_equal(array, np.rint(array))
    )
    if array.ndim != 1 or (array.size and (not whole or array.min() < 0)):
        raise DataError(
            f"plots: {name} has dtype {array.dtype} and shape {array.shape}, expected class "
            "numbers ≥ 0 of shape (n,); use argmax(axis=-1) on probabilities."
        )
    return array.astype(np.int64)


def _class_names(labels: Sequence[str] | None, largest: int) -> list[str]:
    if labels is None:
        return [str(number) for number in range(largest + 1)]
    if largest >= len(labels):
        raise DataError(
            f"plots: found class {largest} but {len(labels)} labels, expected a name for each "
            "class."
        )
    return [str(label) for label in labels]


def _confidence(
    probabilities: npt.ArrayLike | None, predicted: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    if probabilities is None:
        return None
    array = np.asarray(probabilities, np.float64)
    if array.ndim == 2 and len(array) == len(predicted) and array.shape[1] > predicted.max():
        array = array[np.arange(len(predicted)), predicted]
    if array.shape != predicted.shape:
        raise DataError(
            f"wrong_predictions: probabilities have shape {np.shape(probabilities)}, expected "
            f"({len(predicted)}, classes) or ({len(predicted)},)."
        )
    return array
