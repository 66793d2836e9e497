# SPDX-License-Identifier: Apache-2.0
"""The time-delay neural network that told /b/, /d/ and /g/ apart.

A. Waibel, T. Hanazawa, G. Hinton, K. Shikano, K. J. Lang (1989), "Phoneme Recognition Using
Time-Delay Neural Networks", IEEE Trans. ASSP 37(3), section II:

    layer      frames x units   sees                                      parameters
    input      15 x 16          mel-scaled spectra, one every 10 ms
    hidden 1   13 x 8           3 frames of the input                            392
    hidden 2    9 x 3           5 frames of hidden 1                             123
    output          3           all frames of its unit in hidden 2                 0
                                                                                 515

All units are sigmoids, and a spectrogram is an image here: time runs down, frequency across. The
output integrates over time: it adds up what a unit of hidden 2 fires in all frames, so that it does
not matter when a sound came. Accounts of that step differ: the sums may be squashed again, with
weights that are fixed and equal, or squares may be added up. The parameters are counted here, not
printed in the paper.
"""

from __future__ import annotations

from fastcnn import arguments, ops
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers import Activation, Conv2D
from fastcnn.models import Model


def TDNN(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (15, 16, 1),
    pooling: str | None = None,
    classes: int = 3,
    classifier_activation: str | None = "softmax",
    name: str = "tdnn",
) -> Model:
    """The time-delay network: 515 parameters, 6,072 multiply-accumulates on 15 frames.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with hidden 2, which has one unit per class, and the output.
        input_shape: (frames, coefficients, C); 7 frames at least, or None for any number.
        pooling: without the top, None (hidden 1), "avg" or "max" over its frames.
        classes: number of classes.
        classifier_activation: of the sums over time; None gives the sums. The paper's own is
            "sigmoid".
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument, or an unknown number of coefficients.
        ShapeError: too few frames, or weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    spectrogram = frame.image((15, 16, 1))
    coefficients = spectrogram.shape[2]
    if coefficients is None:
        raise ArgumentError(
            f"{name}: found input_shape={input_shape!r}, expected a known number of coefficients, "
            "e.g. (None, 16, 1)"
        )
    x = Conv2D(8, (3, coefficients), activation="sigmoid", name="hidden1")(spectrogram)

    def top(x: Tensor) -> Tensor:
        units = arguments.integer(name, "classes", classes, 1)
        x = Conv2D(units, (5, 1), activation="sigmoid", name="hidden2")(x)
        y: Tensor = Activation(classifier_activation, name="output")(ops.sum(x, axis=(1, 2)))
        return y

    return frame.model(spectrogram, x, top)
