# SPDX-License-Identifier: Apache-2.0
"""The neocognitron, which learns without a teacher, and its rule of learning.

K. Fukushima (1980), "Neocognitron: A Self-organizing Neural Network Model for a Mechanism of
Pattern Recognition Unaffected by Shift in Position", Biol. Cybernetics 36, 193-202, section 5:

    layer   cells         window   r     q      S-column
    U0      16x16
    US1     16x16 x 24    5x5      4.0    1.0   5x5
    UC1     10x10 x 24    5x5
    US2       8x8 x 24    5x5      1.5   16.0   5x5
    UC2       6x6 x 24    5x5
    US3       2x2 x 24    5x5      1.5   16.0   2x2
    UC3       1x1 x 24    2x2

The paper gives the sizes and not how planes lie over each other: C-cells at every second S-cell and
some beyond the edges are what fits. It has no numbers for the first weights and for how the fixed
ones fall either; those of `SCells` and `CCells` are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.data.arrays import as_array
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array, Tensor
from fastcnn.layers import Activation, CCells, Flatten, SCells
from fastcnn.models import Functional, Model
from fastcnn.ops.geometry import normalize_padding, resolve_pads

PLANES = 24


@final
@dataclass(frozen=True)
class Module:
    """One S-layer and the C-layer behind it.

    Attributes:
        padding: of the S-layer.
        selectivity: r.
        speed: q, of reinforcement.
        column: R, S of an S-column.
        window, strides, spread: window, strides and padding of the C-layer.
    """

    padding: int
    selectivity: float
    speed: float
    column: int
    window: int
    strides: int
    spread: Any


MODULES = (
    Module(2, 4.0, 1.0, 5, window=5, strides=2, spread=((4, 3), (4, 3))),
    Module(1, 1.5, 16.0, 5, window=5, strides=2, spread=((4, 3), (4, 3))),
    Module(0, 1.5, 16.0, 2, window=2, strides=1, spread=0),
)


def Neocognitron(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (16, 16, 1),
    pooling: str | None = None,
    classes: int = PLANES,
    classifier_activation: str | None = None,
    name: str = "neocognitron",
) -> Model:
    """The neocognitron: 29,472 weights that `self_organize` sets, for images of 0 to 1.

    The outputs are the cells of UC3. Which of them comes to stand for which pattern is the
    network's choice; the one that fires most tells patterns apart, wherever they are.

    Args:
        weights: file to read weights from; None begins anew.
        include_top: flatten UC3.
        input_shape: (H, W, C).
        pooling: without the top, None (maps of UC3), "avg" or "max" over them.
        classes: cell planes of US3 and UC3, the patterns that can be told apart at most.
        classifier_activation: of the outputs; None leaves them as they are.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: images too small, or weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    last = arguments.integer(name, "classes", classes, 1)
    image = frame.image((16, 16, 1))
    x = image
    for number, (module, planes) in enumerate(zip(MODULES, (PLANES, PLANES, last), strict=True), 1):
        s_cells = SCells(
            planes, padding=module.padding, selectivity=module.selectivity, name=f"us{number}"
        )
        x = CCells(module.window, module.strides, module.spread, name=f"uc{number}")(s_cells(x))

    def top(x: Tensor) -> Tensor:
        y: Tensor = Activation(classifier_activation, name="output")(Flatten(name="flatten")(x))
        return y

    return frame.model(image, x, top)


def self_organize(model: Model, images: Any, epochs: int = 20) -> None:
    """Show `model` each of the images `epochs` times, in their order; it learns from each.

    In every S-layer representatives are chosen among the cells that fire, and their windows' inputs
    are added to the weights of their whole planes (equations 7 and 8 of the paper).

    Args:
        model: what `Neocognitron` returned.
        images: (n, H, W, C) from 0, the background, to 1.
        epochs: how often each image is shown.

    Raises:
        ArgumentError: the model is no neocognitron, or `epochs` is no number above 0.
        ShapeError, DtypeError: images that the model does not take.
    """
    layers = _s_layers(model)
    epochs = arguments.integer("self_organize", "epochs", epochs, 1)
    shown = as_array(images, "images")
    model.check_inputs([shown])
    looked_at = [t for layer in layers for t in (layer.input, layer.output)]
    inside = Functional(model.inputs[0], looked_at, name=f"{model.name}_inside")
    for _ in range(epochs):
        for image in shown:
            cells = iter(inside.predict_on_batch(image[None]))
            for layer, module in zip(layers, MODULES, strict=True):
                presynaptic, fired = next(cells)[0], next(cells)[0]
                _reinforce(layer, module.speed, presynaptic, representatives(fired, module.column))


def _s_layers(model: Model) -> list[SCells]:
    found = [layer for layer in model.layers if isinstance(layer, SCells)]
    if len(found) != len(MODULES):
        raise ArgumentError(
            f"self_organize: model '{model.name}' has {len(found)} layers of S-cells, expected "
            f"{len(MODULES)}; make it with fastcnn.applications.Neocognitron"
        )
    return found


def representatives(fired: Array, column: int) -> list[tuple[int, int, int]]:
    """The cells of an S-layer that learn from what it sees, one per plane at most.

    Of every S-column, all planes' cells in a window of `column` x `column`, the cell that fires
    most is a candidate; of a plane's candidates, the one that fires most is chosen.

    Args:
        fired: (H, W, K), none negative.
        column: size of an S-column.

    Returns:
        (h, w, k) of each; cells that do not fire are none.
    """
    _, W, K = fired.shape
    windows = np.lib.stride_tricks.sliding_window_view(fired, (column, column), (0, 1))
    rows, columns = windows.shape[:2]
    # (plane, h, w) within the column, the first of equals.
    plane, h, w = np.unravel_index(
        windows.reshape(rows, columns, -1).argmax(axis=-1), windows.shape[2:]
    )
    h, w = h + np.arange(rows)[:, None], w + np.arange(columns)[None, :]
    candidates = np.zeros_like(fired)
    candidates[h, w, plane] = fired[h, w, plane]
    best = candidates.reshape(-1, K).argmax(axis=0)
    chosen = [(int(place) // W, int(place) % W, k) for k, place in enumerate(best)]
    return [cell for cell in chosen if candidates[cell] > 0]


def _reinforce(
    layer: SCells, speed: float, presynaptic: Array, chosen: list[tuple[int, int, int]]
) -> None:
    """Add q c u to a and q/2 v to b for each chosen cell's plane."""
    excitatory, inhibitory = layer.excitatory.numpy(), layer.inhibitory.numpy()
    R, S = layer.window
    sides = zip(normalize_padding(layer.padding), presynaptic.shape, layer.window, strict=False)
    pads = [resolve_pads(padding, size, window, 1) for padding, size, window in sides]
    seen = np.pad(presynaptic, (*pads, (0, 0)))
    c = layer.fixed[..., 0]
    for h, w, k in chosen:
        u = seen[h : h + R, w : w + S]
        excitatory[..., k] += speed * c * u
        inhibitory[k] += speed / 2 * np.sqrt(np.sum(c * u * u))
    layer.excitatory.assign(excitatory)
    layer.inhibitory.assign(inhibitory)
