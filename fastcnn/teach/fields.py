# SPDX-License-Identifier: Apache-2.0
"""How a receptive field grows through layers of convolution in one dimension.

Which units a unit reads is asked of the engine: the gradient of that unit through convolutions
whose kernels are ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fastcnn import arguments, ops
from fastcnn.autodiff import gradient
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array
from fastcnn.ops.geometry import extent
from fastcnn.teach.lesson import Frame, Lesson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHERE = "teach.receptive_field"
# More units or layers cannot be told apart.
MOST_UNITS, MOST_LAYERS = 128, 12
# Inches from unit to unit, between layers, for the names of layers on the left.
STEP, RISE, NAMES = 0.34, 0.72, 0.75
# Lines of connections: those of other units, and those that a dilated layer skips.
UNUSED: dict[str, Any] = {"color": "#D9D9D9", "linewidth": 0.7}
SKIPPED: dict[str, Any] = {"color": "#777777", "linewidth": 0.9, "linestyle": (0, (1, 2))}
DOTTED = " Dotted: what dilation skips."
# Letters from unit to unit in text.
LETTERS = 3


def receptive_field(
    kernel_size: Any = (3, 3, 3),
    strides: Any = 1,
    dilation_rate: Any = 1,
    padding: Any = 0,
    inputs: int | None = None,
    unit: int | None = None,
) -> Lesson:
    """Follow one unit of every layer down to the inputs it depends on.

    With a dilation rate above 1 a layer skips connections: its units read every second, every
    fourth input, and the field grows faster with the same number of weights.

    Args:
        kernel_size: inputs that a unit reads, one integer per layer.
        strides: steps of the kernels, one integer for all layers or one for each.
        dilation_rate: distances of the inputs that a unit reads; as strides.
        padding: zeros at each end of a layer's input; as strides.
        inputs: number of inputs; what leaves three units in the last layer when None.
        unit: the unit that is followed in every layer, counted from 0; the middle one when None.

    Returns:
        A lesson with the arrays sizes (for each layer, inputs from the first to the last that one
        of its units depends on, padding included) and counts (how many of these it depends on).

    Raises:
        ArgumentError: numbers that cannot be, or more than 128 inputs or 12 layers.
        ShapeError: a kernel larger than its padded input.
    """
    sizes = arguments.integers(WHERE, "kernel_size", kernel_size, 1)
    stack = _Stack(
        sizes,
        _each("strides", strides, len(sizes), 1),
        _each("dilation_rate", dilation_rate, len(sizes), 1),
        _each("padding", padding, len(sizes), 0),
    )
    count = stack.inputs_for(3) if inputs is None else arguments.integer(WHERE, "inputs", inputs, 1)
    if len(sizes) > MOST_LAYERS or count > MOST_UNITS:
        raise ArgumentError(
            f"{WHERE}: found {len(sizes)} layers over {count} inputs, expected at most "
            f"{MOST_LAYERS} over {MOST_UNITS} to be drawn; give fewer layers, smaller kernels or "
            "inputs="
        )
    units = stack.units(count)
    followed = [_followed(layer, n, unit) for layer, n in enumerate(units) if layer]
    network = _Network(stack, units, [stack.reads(units, layer) for layer in range(len(sizes))])
    frames = list(network.frames(followed))
    fields = [stack.field(layer) for layer in range(1, len(sizes) + 1)]
    return Lesson(
        f"receptive field: {stack.words()}",
        tuple(frames),
        {
            "sizes": np.array([field.size for field in fields]),
            "counts": np.array([int(field.sum()) for field in fields]),
        },
    )


def _each(name: str, value: Any, layers: int, at_least: int) -> tuple[int, ...]:
    numbers = arguments.integers(WHERE, name, value, at_least)
    if len(numbers) not in (1, layers):
        raise ArgumentError(
            f"{WHERE}: found {len(numbers)} numbers in {name}, expected one, or one for each of "
            f"the {layers} layers of kernel_size"
        )
    return numbers * layers if len(numbers) == 1 else numbers


def _followed(layer: int, units: int, unit: int | None) -> int:
    if unit is None:
        return (units - 1) // 2
    number = arguments.integer(WHERE, "unit", unit)
    if number >= units:
        raise ArgumentError(
            f"{WHERE}: found unit={number}, expected at most {units - 1} in layer {layer}"
        )
    return number


@final
@dataclass(frozen=True)
class _Stack:
    """The geometry of the layers, from the first to the last."""

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    padding: tuple[int, ...]

    def layers(self) -> list[tuple[int, int, int, int]]:
        """(kernel size, stride, dilation rate, padding) of each layer."""
        return list(
            zip(self.kernel_size, self.strides, self.dilation_rate, self.padding, strict=True)
        )

    def inputs_for(self, units: int) -> int:
        """The fewest inputs that give so many units in the last layer."""
        for k, s, d, p in reversed(self.layers()):
            units = max(1, (units - 1) * s + extent(k, d) - 2 * p)
        return units

    def units(self, inputs: int) -> list[int]:
        """Units of every layer, of the inputs first."""
        found = [inputs]
        for number, (k, s, d, p) in enumerate(self.layers(), 1):
            try:
                size = ops.conv_output_size(found[-1], k, s, d, p)
            except ShapeError as error:
                raise ShapeError(f"{WHERE}, layer {number}: {error}") from error
            found.append(int(size or 0))
        return found

    def reads(self, units: Sequence[int], layer: int) -> Array:
        """Which units below each unit above reads: bool (above, below), by the engine."""
        k, s, d, p = self.layers()[layer]
        below, above = units[layer], units[layer + 1]
        kernel = np.ones((1, k, 1, 1), np.float32)
        window: dict[str, Any] = {"strides": (1, s), "padding": ((0, 0), (p, p))}
        window["dilation_rate"] = (1, d)
        one_each = np.eye(above, dtype=np.float32).reshape(above, 1, above, 1)
        (dx,) = gradient(
            lambda x: ops.multiply(ops.conv2d(x, kernel, **window), one_each),
            np.zeros((above, 1, below, 1), np.float32),
        )
        return dx[:, 0, :, 0] > 0

    def field(self, layer: int) -> Array:
        """The receptive field of a unit of a layer: bool, from its first to its last input.

        Without padding, over just the inputs that give one unit.
        """
        stack = _Stack(
            self.kernel_size[:layer], self.strides[:layer], self.dilation_rate[:layer], (0,) * layer
        )
        units = stack.units(stack.inputs_for(1))
        reached: Array = np.ones(1, bool)
        for below in reversed(range(layer)):
            reached = np.any(stack.reads(units, below)[reached], axis=0)
        inputs = np.flatnonzero(reached)
        return reached[inputs[0] : inputs[-1] + 1]

    def centres(self, units: Sequence[int]) -> list[Array]:
        """Where the units of each layer stand, in inputs: over the middle of what they read."""
        places = [np.arange(units[0], dtype=float)]
        start, jump = 0.0, 1
        for (k, s, d, p), count in zip(self.layers(), units[1:], strict=True):
            start += (extent(k, d) - 1 - 2 * p) / 2 * jump
            jump *= s
            places.append(start + jump * np.arange(count))
        return places

    def words(self) -> str:
        """The geometry in words, numbers that are the same in all layers once."""
        parts = [f"kernel size {_once(self.kernel_size)}", f"stride {_once(self.strides)}"]
        if any(d != 1 for d in self.dilation_rate):
            parts.append(f"dilation {_once(self.dilation_rate)}")
        parts.append(f"padding {_once(self.padding)}" if any(self.padding) else "no padding")
        return ", ".join(parts)


def _once(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "-".join(map(str, numbers))


@final
@dataclass(frozen=True, eq=False)
class _Network:
    """The layers' units and what reads what."""

    stack: _Stack
    units: list[int]
    reads: list[Array]  # per layer, bool (above, below)

    def cone(self, layer: int, unit: int) -> list[Array]:
        """Units of each level, inputs first, that a unit depends on; the unit itself is last."""
        found = [np.arange(self.units[layer]) == unit]
        for below in reversed(self.reads[:layer]):
            found.insert(0, below[found[0]].any(axis=0))
        return found

    def frames(self, followed: Sequence[int]) -> Iterator[FieldFrame]:
        """For every layer, level by level down to the inputs."""
        centres = self.stack.centres(self.units)
        for layer, unit in enumerate(followed, 1):
            cone = self.cone(layer, unit)
            for lowest in reversed(range(layer)):
                shown = [
                    level if number >= lowest else level & False
                    for number, level in enumerate(cone)
                ]
                shown += [np.zeros(count, bool) for count in self.units[layer + 1 :]]
                yield FieldFrame(
                    f"layer {layer}, unit {unit}: down to {_level(lowest)}",
                    _sentence(layer, lowest, cone[lowest], self.stack.field(layer).size)
                    + (DOTTED if max(self.stack.dilation_rate[lowest:layer]) > 1 else ""),
                    tuple(self.reads),
                    tuple(centres),
                    tuple(shown),
                )


def _level(number: int) -> str:
    return f"layer {number}" if number else "the inputs"


def _sentence(layer: int, level: int, reached: Array, field: int) -> str:
    at = np.flatnonzero(reached)
    count, span = len(at), int(np.ptp(at)) + 1 if len(at) else 0
    noun = f"unit{'s' * (count != 1)} of layer {level}" if level else f"input{'s' * (count != 1)}"
    text = f"One unit of layer {layer} depends on {count} {noun}"
    if count > 1:
        text += f", {at[0]} to {at[-1]}"
    if span != count:
        text += f" with gaps, which span {span}"
    if level:
        return f"{text}."
    beyond = f", of which {field - span} lie in the padding" if field > span else ""
    return f"{text}: its receptive field is {field}{beyond}."


@final
@dataclass(frozen=True, eq=False)
class FieldFrame(Frame):
    """Units in rows, inputs below, with the connections of the followed unit.

    Attributes:
        reads: per layer, bool (above, below): which unit reads which.
        centres: per level, inputs first, where its units stand.
        reached: per level, bool: units that the followed one depends on, as far as shown.
    """

    reads: tuple[Array, ...]
    centres: tuple[Array, ...]
    reached: tuple[Array, ...]

    def text(self) -> str:
        """A row per level, the last layer first: ● depended on, ○ not."""
        lines = [self.title]
        first = min(float(places.min()) for places in self.centres)
        for level in reversed(range(len(self.centres))):
            row = [" "] * (round((max(map(np.max, self.centres)) - first) * LETTERS) + 1)
            for place, reached in zip(self.centres[level], self.reached[level], strict=True):
                row[round((place - first) * LETTERS)] = "●" if reached else "○"
            lines.append(f"{_name(level):8} {''.join(row)}".rstrip())
        return "\n".join([*lines, self.caption])

    def size(self) -> tuple[float, float]:
        """Inches of units and the names of layers."""
        low, high = self._ends()
        return NAMES + (high - low + 1) * STEP, (len(self.centres) - 1) * RISE + STEP

    def _ends(self) -> tuple[float, float]:
        return (
            min(float(places.min()) for places in self.centres),
            max(float(places.max()) for places in self.centres),
        )

    def draw(self, axes: Axes) -> None:
        """Connections below, units above them."""
        from matplotlib import colormaps
        from matplotlib.patches import Circle

        low, _ = self._ends()
        levels = len(self.centres)
        x = [NAMES + (places - low + 0.5) * STEP for places in self.centres]
        y = [STEP / 2 + (levels - 1 - level) * RISE for level in range(levels)]
        colours = [
            colormaps["viridis"](0.05 + 0.75 * n / max(1, levels - 1)) for n in range(levels)
        ]
        for level, reads in enumerate(self.reads):
            for above, below in np.argwhere(reads):
                used = self.reached[level + 1][above] and self.reached[level][below]
                look = _used(colours[level + 1]) if used else UNUSED
                ends = [x[level + 1][above], x[level][below]], [y[level + 1], y[level]]
                axes.plot(*ends, zorder=2 if used else 1, **look)
            for above, below in self._skipped(level):
                ends = [x[level + 1][above], x[level][below]], [y[level + 1], y[level]]
                axes.plot(*ends, zorder=1, **SKIPPED)
        for level, colour in enumerate(colours):
            axes.text(0, y[level], _name(level), fontsize=9.5, va="center")
            for place, reached in zip(x[level], self.reached[level], strict=True):
                fill, edge = (colour, colour) if reached else ("white", "#9A9A9A")
                circle = Circle((place, y[level]), STEP * 0.34, facecolor=fill, edgecolor=edge)
                circle.set(linewidth=1.2, zorder=3)
                axes.add_patch(circle)

    def _skipped(self, level: int) -> Iterator[tuple[int, int]]:
        """Pairs of a followed unit and one below, between those it reads, that it does not read."""
        if not self.reached[level].any():
            return
        for above in np.flatnonzero(self.reached[level + 1]):
            read = np.flatnonzero(self.reads[level][above])
            if len(read):
                between = range(read[0], read[-1])
                yield from ((int(above), below) for below in between if below not in read)


def _used(colour: Any) -> dict[str, Any]:
    return {"color": colour, "linewidth": 1.8}


def _name(level: int) -> str:
    return f"layer {level}" if level else "inputs"
