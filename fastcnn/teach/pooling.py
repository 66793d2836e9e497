# SPDX-License-Identifier: Apache-2.0
"""Max pooling, forward with the positions of the winners and backward through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.autodiff import gradient
from fastcnn.graph import Array, spec_of
from fastcnn.ops.geometry import normalize_padding, pair
from fastcnn.ops.pool_max import MaxPool2D
from fastcnn.teach import windows
from fastcnn.teach.grids import GridFrame, Plane, longest, number, only, signed
from fastcnn.teach.lesson import Lesson

WHERE = "teach.maxpool"
# Beyond this the values of a window fill no readable sentence.
MOST_TERMS = 16


def maxpool(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Any = "valid",
    dy: Any = None,
) -> Lesson:
    """Step through a max pooling, window by window, and then through its gradient.

    Forward, every window keeps the position of its winner, the first of equal values in row order.
    Backward, every window passes its whole gradient to that position; a value that won several
    windows adds them up.

    Args:
        x: (H, W), or (H, W, C), whose channels come one after the other.
        pool_size: size of the window, an integer or (height, width).
        strides: its step; pool_size when None.
        padding: as in `ops.max_pool2d`.
        dy: gradient arriving at the output, in its shape; ones when None.

    Returns:
        A lesson with the arrays y, indices (h·W + w), dy and dx.

    Raises:
        ArgumentError: a size, stride or padding of the wrong form, or more than 1,000 windows.
        ShapeError: arrays of other shapes, or a window larger than the padded input.
        DtypeError: arrays that are not numbers.
    """
    given = windows.numbers(WHERE, "x", x, (2, 3), "(H, W) or (H, W, C)")
    image = given.reshape(1, *given.shape[:2], -1)
    size = pair(pool_size, "pool_size")
    steps = size if strides is None else pair(strides, "strides")
    y, indices = ops.max_pool2d(image, size, steps, padding, return_indices=True)
    windows.require_few(WHERE, y.size)
    pads = MaxPool2D(size, steps, normalize_padding(padding)).pads(spec_of(image))
    pooling = _Pooling(
        image, size, steps, pads, y, indices, windows.arriving(WHERE, dy, y, given.ndim)
    )
    gradients = list(pooling.gradients())
    arrays = {"y": y, "indices": indices, "dy": pooling.dy, "dx": gradients[-1]}
    return Lesson(
        f"max pooling {windows.words(size, steps, pads)}",
        (pooling.opening(), *pooling.forward(), *pooling.backward(gradients)),
        {name: windows.shown(array, given.ndim) for name, array in arrays.items()},
    )


@final
@dataclass(frozen=True, eq=False)
class _Pooling:
    """One pooling with all the engine said about it; arrays are (1, H, W, C) or (1, P, Q, C)."""

    x: Array
    size: tuple[int, int]
    strides: tuple[int, int]
    pads: windows.Pads
    y: Array
    indices: Array
    dy: Array

    def order(self) -> Iterator[tuple[int, int, int]]:
        """(c, p, q) of every window, channel by channel in row order."""
        _, P, Q, C = self.y.shape
        return np.ndindex(C, P, Q)

    def gradients(self) -> Iterator[Array]:
        """dx when one window, two, … all of them have passed their gradients back."""
        part = np.zeros_like(self.dy)
        for c, p, q in self.order():
            part[0, p, q, c] = self.dy[0, p, q, c]
            arriving = part.copy()
            (dx,) = gradient(
                lambda x, dy=arriving: ops.multiply(
                    ops.max_pool2d(x, self.size, self.strides, self._padding()), dy
                ),
                self.x,
            )
            yield dx

    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        top, bottom, left, right = self.pads
        return (top, bottom), (left, right)

    def windows(self) -> Array:
        """Cells of every window over the padded plane: bool (P, Q, H, W)."""
        top, bottom, left, right = self.pads
        _, H, W, _ = self.x.shape
        return windows.cells((H + top + bottom, W + left + right), self.size, self.strides)

    def opening(self) -> GridFrame:
        """The input and an output of which nothing is known."""
        _, H, W, _ = self.x.shape
        _, P, Q, _ = self.y.shape
        nothing = np.zeros((P, Q), bool)
        outputs = (
            Plane("y", self.y[0, :, :, 0], known=nothing),
            Plane("position of the winner", self.indices[0, :, :, 0], known=nothing),
        )
        size = windows.geometry((H, W), (P, Q), self.size, self.strides, self.pads)
        return GridFrame("the input", size, ((self._input(0),), outputs))

    def forward(self) -> Iterator[GridFrame]:
        """The largest value of every window, and where it was found."""
        cells = self.windows()
        _, P, Q, C = self.y.shape
        for step, (c, p, q) in enumerate(self.order()):
            known = np.arange(P * Q).reshape(P, Q) <= p * Q + q
            here = only((P, Q), p, q)
            y, index = self.y[0, :, :, c], self.indices[0, :, :, c]
            yield GridFrame(
                f"forward, window {step + 1} of {P * Q * C}{_channel(c, C)}",
                self._find(c, p, q, cells[p, q]),
                (
                    (self._input(c, cells[p, q], self._winner(c, p, q)),),
                    (
                        Plane("y", y, known=known, chosen=here),
                        Plane("position of the winner", index, known=known, chosen=here),
                    ),
                ),
            )

    def backward(self, gradients: list[Array]) -> Iterator[GridFrame]:
        """The gradient of every window, added where it was found."""
        cells = self.windows()
        _, P, Q, C = self.y.shape
        scale = max(float(np.abs(dx).max()) for dx in gradients)
        letters = longest(*gradients)
        before = np.zeros_like(self.x)
        for step, ((c, p, q), dx) in enumerate(zip(self.order(), gradients, strict=True)):
            yield GridFrame(
                f"backward, window {step + 1} of {P * Q * C}{_channel(c, C)}",
                self._pass(c, p, q, before, dx),
                (
                    (
                        Plane(
                            "dy, small: y",
                            self.dy[0, :, :, c],
                            small=self.y[0, :, :, c],
                            chosen=only((P, Q), p, q),
                        ),
                    ),
                    (self._gradient(c, dx, scale, letters, cells[p, q], self._winner(c, p, q)),),
                ),
            )
            before = dx

    def _winner(self, c: int, p: int, q: int) -> Array:
        """The winner's cell in the padded plane."""
        _, H, W, _ = self.x.shape
        row, column = divmod(int(self.indices[0, p, q, c]), W)
        return windows.surround(only((H, W), row, column), self.pads, False)

    def _border(self) -> Array:
        return windows.surround(np.zeros(self.x.shape[1:3], bool), self.pads, True)

    def _input(self, c: int, window: Array | None = None, chosen: Array | None = None) -> Plane:
        border = self._border()
        return Plane(
            "x",
            windows.surround(self.x[0, :, :, c], self.pads),
            known=~border,
            window=window,
            chosen=chosen,
            padding=border,
        )

    def _gradient(
        self, c: int, dx: Array, scale: float, letters: int, window: Array, chosen: Array
    ) -> Plane:
        border = self._border()
        return Plane(
            "dx so far, small: x",
            windows.surround(dx[0, :, :, c], self.pads),
            small=windows.surround(self.x[0, :, :, c], self.pads),
            known=~border,
            window=window,
            chosen=chosen,
            padding=border,
            scale=scale,
            letters=letters,
        )

    def _find(self, c: int, p: int, q: int, window: Array) -> str:
        plane = self.x[0, :, :, c]
        inside = window & ~self._border()
        values = windows.surround(plane, self.pads)[inside]
        winner, index = self.y[0, p, q, c], int(self.indices[0, p, q, c])
        row, column = divmod(index, plane.shape[1])
        terms = f"the largest of {len(values)} values"
        if len(values) <= MOST_TERMS:
            terms = f"max({', '.join(map(number, values))})"
        equal = int((values == winner).sum())
        first = f", the first of {equal} equal ones" if equal > 1 else ""
        return (
            f"{terms} = {number(winner)}, found in row {row}, column {column}{first}: "
            f"position {row} · {plane.shape[1]} + {column} = {index}."
        )

    def _pass(self, c: int, p: int, q: int, before: Array, dx: Array) -> str:
        row, column = divmod(int(self.indices[0, p, q, c]), self.x.shape[2])
        was, now = before[0, row, column, c], dx[0, row, column, c]
        given = number(self.dy[0, p, q, c])
        sum_ = f"{number(was)} + {signed(given)} = {number(now)}"
        winner = number(self.y[0, p, q, c])
        return f"dy = {given} goes to the winner {winner} in row {row}, column {column}: {sum_}."


def _channel(c: int, channels: int) -> str:
    return f", channel {c}" if channels > 1 else ""
