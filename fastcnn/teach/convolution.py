# SPDX-License-Identifier: Apache-2.0
"""Convolution with stride, padding and dilation, forward and backward, window by window.

Source of the pictures' arithmetic: V. Dumoulin and F. Visin, "A guide to convolution arithmetic
for deep learning", arXiv:1603.07285.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import ops
from fastcnn.autodiff import gradient
from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.ops.conv import Conv2D
from fastcnn.ops.geometry import normalize_padding, pair
from fastcnn.teach import windows
from fastcnn.teach.grids import GridFrame, Plane, longest, number, only, signed
from fastcnn.teach.lesson import Lesson

WHERE = "teach.conv"
# Beyond this the products of a window fill no readable sentence.
MOST_TERMS = 12
Pair = tuple[int, int]


def conv(
    x: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    dy: Any = None,
) -> Lesson:
    """Step through a convolution, window by window, and then through its two gradients.

    Forward, every window is multiplied with the kernel and summed. Backward, every window's
    gradient times the kernel is added to dx under the window, and times the window to dkernel.

    Args:
        x: (H, W), or (H, W, C).
        kernel: (R, S) for an x of (H, W); (R, S, C, K) for one of (H, W, C).
        strides: step of the window, an integer or (vertical, horizontal).
        padding: as in `ops.conv2d`.
        dilation_rate: distance of the cells that a window reads, one or two integers.
        dy: gradient arriving at the output, in its shape; ones when None.

    Returns:
        A lesson with the arrays y, dy, dx and dkernel.

    Raises:
        ArgumentError: a stride, padding or dilation of the wrong form, or more than 1,000 windows.
        ShapeError: arrays that do not fit each other, or a kernel larger than the padded input.
        DtypeError: arrays that are not numbers.
    """
    given = windows.numbers(WHERE, "x", x, (2, 3), "(H, W) or (H, W, C)")
    flat = given.ndim == 2
    layout = "(R, S)" if flat else "(R, S, C, K)"
    taps = windows.numbers(WHERE, "kernel", kernel, (2,) if flat else (4,), layout)
    dtype = np.result_type(given, taps)
    given, taps = given.astype(dtype), taps.astype(dtype)
    image = given.reshape(1, *given.shape[:2], -1)
    weights = taps.reshape(*taps.shape[:2], 1, 1) if flat else taps
    if weights.shape[2] != image.shape[3]:
        raise ShapeError(
            f"{WHERE}: x has {image.shape[3]} channels but the kernel {weights.shape} takes "
            f"{weights.shape[2]}; give a kernel of shape (R, S, {image.shape[3]}, K)"
        )
    steps, dilation = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    op = Conv2D(strides=steps, dilations=dilation, padding=normalize_padding(padding))
    y = ops.conv2d(image, weights, None, steps, padding, dilation)
    windows.require_few(WHERE, y.size)
    pads = op.pads(image.shape[1:3], weights.shape[:2])
    arrived = windows.arriving(WHERE, dy, y, given.ndim)
    convolution = _Convolution(image, weights, steps, pads, dilation, y, arrived)
    gradients = list(convolution.gradients())
    dx, dkernel = gradients[-1]
    arrays = {"y": y, "dy": arrived, "dx": dx}
    return Lesson(
        f"convolution {windows.words(weights.shape[:2], steps, pads, dilation)}",
        (convolution.opening(), *convolution.forward(), *convolution.backward(gradients)),
        {
            **{name: windows.shown(array, given.ndim) for name, array in arrays.items()},
            "dkernel": dkernel[:, :, 0, 0] if flat else dkernel,
        },
    )


@final
@dataclass(frozen=True, eq=False)
class _Convolution:
    """One convolution with all the engine said about it."""

    x: Array  # (1, H, W, C)
    kernel: Array  # (R, S, C, K)
    strides: Pair
    pads: windows.Pads
    dilation: Pair
    y: Array  # (1, P, Q, K)
    dy: Array

    def order(self) -> Iterator[tuple[int, int, int]]:
        """(k, p, q) of every window, filter by filter in row order."""
        _, P, Q, K = self.y.shape
        return np.ndindex(K, P, Q)

    def gradients(self) -> Iterator[tuple[Array, Array]]:
        """(dx, dkernel) when one window, two, … all of them have passed their gradients back."""
        top, bottom, left, right = self.pads
        padding = ((top, bottom), (left, right))
        part = np.zeros_like(self.dy)
        for k, p, q in self.order():
            part[0, p, q, k] = self.dy[0, p, q, k]
            arriving = part.copy()
            dx, dkernel = gradient(
                lambda x, kernel, dy=arriving: ops.multiply(
                    ops.conv2d(x, kernel, None, self.strides, padding, self.dilation), dy
                ),
                self.x,
                self.kernel,
            )
            yield dx, dkernel

    def cells(self) -> Array:
        """Cells that every window reads of the padded plane: bool (P, Q, H, W)."""
        top, bottom, left, right = self.pads
        _, H, W, _ = self.x.shape
        padded = (H + top + bottom, W + left + right)
        R, S, _, _ = self.kernel.shape
        return windows.cells(padded, (R, S), self.strides, self.dilation)

    def opening(self) -> GridFrame:
        """Input and kernel, and an output of which nothing is known."""
        _, H, W, _ = self.x.shape
        _, P, Q, _ = self.y.shape
        R, S, _, _ = self.kernel.shape
        size = windows.geometry((H, W), (P, Q), (R, S), self.strides, self.pads, self.dilation)
        nothing = Plane("y", self.y[0, :, :, 0], known=np.zeros((P, Q), bool))
        return GridFrame("the input", size, (self._inputs(), self._kernels(0), (nothing,)))

    def forward(self) -> Iterator[GridFrame]:
        """The sum of products of every window."""
        cells = self.cells()
        _, P, Q, K = self.y.shape
        for step, (k, p, q) in enumerate(self.order()):
            known = np.arange(P * Q).reshape(P, Q) <= p * Q + q
            here = only((P, Q), p, q)
            yield GridFrame(
                f"forward, window {step + 1} of {P * Q * K}{_filter(k, K)}",
                self._sum(k, p, q, cells[p, q]),
                (
                    self._inputs(cells[p, q]),
                    self._kernels(k),
                    (Plane(_named("y", k, K), self.y[0, :, :, k], known=known, chosen=here),),
                ),
            )

    def backward(self, gradients: list[tuple[Array, Array]]) -> Iterator[GridFrame]:
        """What every window adds to dx and to dkernel."""
        cells = self.cells()
        _, P, Q, K = self.y.shape
        scales = [max(float(np.abs(g[i]).max()) for g in gradients) for i in (0, 1)]
        letters = [longest(*(g[i] for g in gradients)) for i in (0, 1)]
        for step, ((k, p, q), (dx, dkernel)) in enumerate(
            zip(self.order(), gradients, strict=True)
        ):
            given = number(self.dy[0, p, q, k])
            here = only((P, Q), p, q)
            small = self.y[0, :, :, k]
            yield GridFrame(
                f"backward, window {step + 1} of {P * Q * K}{_filter(k, K)}",
                f"dy = {given} times the kernel is added to dx in the cells of the window, dy "
                "times what x has in these cells to dkernel.",
                (
                    (Plane("dy, small: y", self.dy[0, :, :, k], small=small, chosen=here),),
                    self._gradients(dx, cells[p, q], scales[0], letters[0]),
                    self._kernel_gradients(dkernel, k, scales[1], letters[1]),
                ),
            )

    def _border(self) -> Array:
        return windows.surround(np.zeros(self.x.shape[1:3], bool), self.pads, True)

    def _inputs(self, window: Array | None = None) -> tuple[Plane, ...]:
        C = self.x.shape[3]
        return tuple(
            Plane(
                _named("x", c, C),
                windows.surround(self.x[0, :, :, c], self.pads),
                window=window,
                padding=self._border(),
            )
            for c in range(C)
        )

    def _kernels(self, k: int) -> tuple[Plane, ...]:
        C = self.kernel.shape[2]
        return tuple(Plane(_named("kernel", c, C), self.kernel[:, :, c, k]) for c in range(C))

    def _gradients(self, dx: Array, window: Array, scale: float, letters: int) -> tuple[Plane, ...]:
        """dx, with nothing to be known in the padding."""
        C, border = dx.shape[3], self._border()
        return tuple(
            Plane(
                f"{_named('dx', c, C)} so far, small: x",
                windows.surround(dx[0, :, :, c], self.pads),
                small=windows.surround(self.x[0, :, :, c], self.pads),
                known=~border,
                window=window,
                padding=border,
                scale=scale,
                letters=letters,
            )
            for c in range(C)
        )

    def _kernel_gradients(
        self, dkernel: Array, k: int, scale: float, letters: int
    ) -> tuple[Plane, ...]:
        C = dkernel.shape[2]
        return tuple(
            Plane(
                f"{_named('dkernel', c, C)}, small: kernel",
                dkernel[:, :, c, k],
                small=self.kernel[:, :, c, k],
                scale=scale,
                letters=letters,
            )
            for c in range(C)
        )

    def _sum(self, k: int, p: int, q: int, window: Array) -> str:
        result = number(self.y[0, p, q, k])
        terms = self.kernel[..., k].size
        if terms > MOST_TERMS:
            return f"The sum of {terms} products, window times kernel: {result}."
        planes = [windows.surround(plane, self.pads) for plane in np.moveaxis(self.x[0], -1, 0)]
        # A window's cells in row order are the kernel's taps in row order.
        products = [
            f"{signed(number(value))}·{signed(number(tap))}"
            for c, plane in enumerate(planes)
            for value, tap in zip(plane[window], self.kernel[:, :, c, k].ravel(), strict=True)
        ]
        return f"{' + '.join(products)} = {result}."


def _named(name: str, channel: int, channels: int) -> str:
    return f"{name}, channel {channel}" if channels > 1 else name


def _filter(k: int, filters: int) -> str:
    return f", filter {k}" if filters > 1 else ""
