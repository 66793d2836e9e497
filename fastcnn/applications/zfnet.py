# SPDX-License-Identifier: Apache-2.0
"""ZFNet: AlexNet in one tower, with finer filters and steps in its first two layers.

M. Zeiler, R. Fergus (2013), "Visualizing and Understanding Convolutional Networks",
arXiv:1311.2901, figure 3. The figure's sizes 224, 110, 55, 26, 13, 6 ask for one pixel of padding
around the image and for poolings that keep an incomplete last window. The text says that maps are
"contrast normalized" behind the first two poolings and gives no numbers; here they are AlexNet's.
"""

from __future__ import annotations

from functools import partial

from fastcnn.applications.alexnet import LRN, caffe_head
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.applications.table import RELU, Conv, Step, biased, follow, last
from fastcnn.graph import Tensor
from fastcnn.layers import MaxPooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"paper": "caffe"})

POOL = partial(MaxPooling2D, 3, 2, ceil_mode=True)

FIGURE_3: dict[str, Step] = {
    "conv1": Conv(96, 7, 2, 1),
    "relu1": RELU,
    "pool1": POOL,
    "norm1": LRN,
    "conv2": Conv(256, 5, 2),
    "relu2": RELU,
    "pool2": POOL,
    "norm2": LRN,
    "conv3": Conv(384, 3),
    "relu3": RELU,
    "conv4": Conv(384, 3),
    "relu4": RELU,
    "conv5": Conv(256, 3),
    "relu5": RELU,
    "pool5": POOL,
}


def ZFNet(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout: float = 0.5,
    name: str = "zfnet",
) -> Model:
    """62,357,608 parameters and 1,168.0 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with the Dense layers.
        input_shape: (H, W, C); 224x224x3.
        pooling: without the top, None (maps of the last pooling), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        dropout: rate behind the hidden Dense layers.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: images too small, or weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    image = frame.image()

    def top(x: Tensor) -> Tensor:
        return frame.classify(last(follow(x, caffe_head(dropout), biased)), "fc8")

    return frame.model(image, last(follow(image, FIGURE_3, biased)), top)
