# SPDX-License-Identifier: Apache-2.0
"""LeNet-5, in the form courses teach.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), section II.B. The layers are those of the paper's figure 2. As
taught, C3 sees all six maps of S2, pooling has no weights, tanh is not scaled and the output is a
softmax: 61,706 parameters where the paper has 60,000.
"""

from __future__ import annotations

from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.graph import Tensor
from fastcnn.layers import AveragePooling2D, Conv2D, Dense, Flatten
from fastcnn.models import Model


def LeNet5(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (32, 32, 1),
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "lenet5",
) -> Model:
    """LeNet-5 as taught: 61,706 parameters and 416,520 multiply-accumulates at 32x32x1.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with C5, F6 and the classifier.
        input_shape: (H, W, C), at least 16x16.
        pooling: without the top, None (maps of S4), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: images too small, or weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    image = frame.image()
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
