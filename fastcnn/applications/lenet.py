# SPDX-License-Identifier: Apache-2.0
"""LeNet-5, in the form courses teach and as it was published.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), section II.B, figure 2:

    layer    maps        as taught                 1998
    C1       6 x 28x28   5x5              156      5x5                                  156
    S2       6 x 14x14   means              0      coefficient * sum + bias              12
    C3      16 x 10x10   5x5            2,416      5x5, wired by a table              1,516
    S4      16 x 5x5     means              0      coefficient * sum + bias              32
    C5     120 x 1x1     full          48,120      5x5                               48,120
    F6      84           full          10,164      full                              10,164
    output  10           full, softmax    850      distances to fixed bitmaps             0
                                       61,706                                        60,000

As taught the squashing function is tanh; in 1998 it is 1.7159 tanh(2x/3), after C1 to F6 alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import arguments
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.initializers import Constant, RandomUniform
from fastcnn.layers import (
    RBF,
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    Rescaling,
    Subsampling2D,
)
from fastcnn.models import Model

VARIANTS = ("taught", "1998")

# The paper's table I: which maps of S2 (rows) feed which maps of C3 (columns).
C3_CONNECTIONS = tuple(
    tuple(int(mark == "X") for mark in row)
    for row in (
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    )
)

# What F6 is to show for each digit: ten of twelve rows of 7 pixels, the first and the last being
# empty. The paper draws 7x12 bitmaps of the ASCII set and prints no numbers; these are our own.
BITMAPS = (
    "..###.. .#...#. ##...## ##...## ##...## ##...## ##...## ##...## .#...#. ..###..",
    "...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .######",
    "..####. .##..## .....## .....## ....##. ...##.. ..##... .##.... .##.... .######",
    "..####. .##..## .....## .....## ...###. ...###. .....## .....## .##..## ..####.",
    "....##. ...###. ..####. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##.",
    ".###### .##.... .##.... .##.... .#####. .....## .....## .....## .##..## ..####.",
    "...###. ..##... .##.... .##.... .#####. .##..## .##..## .##..## .##..## ..####.",
    "####### ##...## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... ..##...",
    ".#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## .#####.",
    ".#####. ##...## ##...## ##...## .###### .....## .....## ....##. ...##.. .###...",
)


def LeNet5(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (32, 32, 1),
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    variant: str = "taught",
    name: str = "lenet5",
) -> Model:
    """LeNet-5: as taught 61,706 parameters and 416,520 multiply-accumulates at 32x32x1.

    With `variant="1998"` it has the paper's 60,000 parameters and 340,908 connections. The paper's
    output is the squared distance of F6 from each digit's bitmap, and the smallest wins; here the
    logits are these distances with a minus, so that the largest wins as everywhere else. With
    "softmax" the cross-entropy is then the paper's criterion (its equation 9) without the constant
    that stands for images of no digit.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with C5, F6 and the classifier.
        input_shape: (H, W, C), at least 16x16; 32x32 with the top of 1998.
        pooling: without the top, None (maps of S4), "avg" or "max" over them.
        classes: number of classes; 10 in 1998, whose bitmaps show the digits.
        classifier_activation: of the last layer; None gives logits.
        variant: "taught" or "1998".
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: images too small, or weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    arguments.one_of(name, "variant", variant, VARIANTS)
    return _as_taught(frame) if variant == "taught" else _of_1998(frame)


def _as_taught(frame: Frame) -> Model:
    image = frame.image((32, 32, 1))
    x = Conv2D(6, 5, activation="tanh", name="c1")(image)
    x = AveragePooling2D(2, name="s2")(x)
    x = Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = AveragePooling2D(2, name="s4")(x)

    def top(x: Tensor) -> Tensor:
        x = Flatten(name="flatten")(x)
        x = Dense(120, activation="tanh", name="c5")(x)
        x = Dense(84, activation="tanh", name="f6")(x)
        return frame.classify(x, "output")

    return frame.model(image, x, top)


def _of_1998(frame: Frame) -> Model:
    image = frame.image((32, 32, 1), smallest=32 if frame.include_top else 16)
    squashed: dict[str, Any] = {"activation": "scaled_tanh"}
    x = Conv2D(6, 5, name="c1", **squashed, **drawn(fan_in=25))(image)
    x = Subsampling2D(2, name="s2", **squashed)(x)
    wired: dict[str, Any] = {"connections": C3_CONNECTIONS, **drawn(fan_in=4 * 25)}
    x = Conv2D(16, 5, name="c3", **squashed, **wired)(x)
    x = Subsampling2D(2, name="s4", **squashed)(x)

    def top(x: Tensor) -> Tensor:
        x = Conv2D(120, 5, name="c5", **squashed, **drawn(fan_in=16 * 25))(x)
        x = Flatten(name="flatten")(x)
        x = Dense(84, name="f6", **squashed, **drawn(fan_in=120))(x)
        x = RBF(_ten(frame), Constant(bitmaps()), fixed=True, name="output")(x)
        x = Rescaling(-1.0, name="logits")(x)
        y: Tensor = Activation(frame.classifier_activation, name="classifier")(x)
        return y

    return frame.model(image, x, top)


def drawn(fan_in: int) -> dict[str, Any]:
    """First weights as LeCun et al. drew them: uniform between -2.4/fan_in and 2.4/fan_in.

    Args:
        fan_in: inputs of a unit; of a unit on average where they differ.
    """
    return {"kernel_initializer": RandomUniform(-2.4 / fan_in, 2.4 / fan_in)}


def bitmaps() -> np.ndarray[Any, Any]:
    """Ink 1 and paper -1 of the ten digits, 12 rows of 7 pixels each: (10, 84)."""
    ink = np.array([[list(row) for row in rows.split()] for rows in BITMAPS]) == "#"
    framed = np.pad(ink, ((0, 0), (1, 1), (0, 0)))
    return np.where(framed, 1, -1).reshape(len(BITMAPS), -1)


def _ten(frame: Frame) -> int:
    if frame.classes != len(BITMAPS):
        raise ArgumentError(
            f"{frame.name}: found classes={frame.classes!r}, expected 10, since the output of "
            "variant='1998' compares with bitmaps of ten digits; use variant='taught'"
        )
    return len(BITMAPS)
