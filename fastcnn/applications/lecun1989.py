# SPDX-License-Identifier: Apache-2.0
"""The network that read handwritten zip codes.

Y. LeCun, B. Boser, J. S. Denker, D. Henderson, R. E. Howard, W. Hubbard, L. D. Jackel (1989),
"Backpropagation Applied to Handwritten Zip Code Recognition", Neural Computation 1(4), figure 3:

    layer    units         weights                            biases   parameters   connections
    H1       12 x 8x8      12 of 5x5, shared, step 2             768        1,068        19,968
    H2       12 x 4x4      12 of 5x5 on 8 maps, shared, step 2   192        2,592        38,592
    H3       30            30 x 192                               30        5,790         5,790
    output   10            10 x 30                                10          310           310
                                                                            9,760        64,660

Every unit has a bias of its own, and every layer is squashed by 1.7159 tanh(2x/3). Images run from
-1, the background, to 1; what a filter sees beyond an edge is background too. Which eight maps of
H1 feed a map of H2 the paper does not say: here each third of H2 leaves one third of H1 out.
"""

from __future__ import annotations

from fastcnn import ops
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.lenet import drawn
from fastcnn.graph import Tensor
from fastcnn.layers import Bias, Conv2D, Dense, Flatten
from fastcnn.layers.connections import Table
from fastcnn.models import Model

MAPS = 12
BACKGROUND = -1.0

H2_CONNECTIONS: Table = tuple(
    tuple(int((h1 // 4 + h2 // 4) % 3 != 2) for h2 in range(MAPS)) for h1 in range(MAPS)
)


def LeCun1989(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = (16, 16, 1),
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "lecun1989",
) -> Model:
    """The zip code network: 9,760 parameters and 64,660 connections at 16x16x1.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with H3 and the output.
        input_shape: (H, W, C); the biases of units need known sizes.
        pooling: without the top, None (maps of H2), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits. The paper's own is
            "scaled_tanh", trained by the mean squared error to targets of -1 and 1.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network, or an image of unknown size.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    image = frame.image((16, 16, 1))
    x = _shared(image, "h1", fan_in=25 * int(image.shape[-1] or 1))
    x = _shared(x, "h2", fan_in=8 * 25, connections=H2_CONNECTIONS)

    def top(x: Tensor) -> Tensor:
        x = Flatten(name="flatten")(x)
        x = Dense(30, activation="scaled_tanh", name="h3", **drawn(fan_in=192))(x)
        return frame.classify(x, "output", **drawn(fan_in=30))

    return frame.model(image, x, top)


def _shared(x: Tensor, name: str, fan_in: int, connections: Table | None = None) -> Tensor:
    """5x5 weights that all units of a map share, at every second pixel, and biases they do not."""
    edge = ((0, 0), (2, 2), (2, 2), (0, 0))
    x = ops.pad(x, edge, constant_values=BACKGROUND)
    shared = Conv2D(
        MAPS, 5, strides=2, use_bias=False, connections=connections, name=name, **drawn(fan_in)
    )
    y: Tensor = Bias(activation="scaled_tanh", name=f"{name}.units")(shared(x))
    return y
