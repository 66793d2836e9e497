# SPDX-License-Identifier: Apache-2.0
"""The network "C" whose parameters are counted by hand in a lecture on CNNs.

P. Protopapas, M. Glickman, C. Tanner, "CS109B Data Science 2", lecture 11, review. The slides give
its sizes and no activation; relu between the layers is our choice and adds no parameter.
"""

from __future__ import annotations

from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.graph import Tensor
from fastcnn.layers import Conv2D, Dense, Flatten
from fastcnn.models import Model


def LectureC(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (32, 32, 3),
    pooling: str | None = None,
    classes: int = 4,
    classifier_activation: str | None = "softmax",
    name: str = "lecture_c",
) -> Model:
    """The lecture's network: 224 + 3,216 + 2,099,716 = 2,103,156 parameters.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with both Dense layers.
        input_shape: (H, W, C).
        pooling: without the top, None (feature maps), "avg" or "max" over them.
        classes: number of classes: cars, people, animals and objects.
        classifier_activation: of the last layer; None gives logits.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    image = frame.image()
    x = Conv2D(8, 3, padding="same", activation="relu", name="conv1")(image)
    x = Conv2D(16, 5, strides=2, padding="same", activation="relu", name="conv2")(x)

    def top(x: Tensor) -> Tensor:
        x = Flatten(name="flatten")(x)
        x = Dense(512, activation="relu", name="dense1")(x)
        return frame.classify(x, "dense2")

    return frame.model(image, x, top)
