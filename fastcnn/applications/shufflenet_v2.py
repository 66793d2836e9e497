# SPDX-License-Identifier: Apache-2.0
"""ShuffleNetV2: half of the maps pass a unit untouched, and the halves are shuffled behind it.

N. Ma, X. Zhang, H.-T. Zheng, J. Sun (2018), "ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design", arXiv:1807.11164, table 5. Behind a 3x3 convolution to 24 maps and a max
pooling, both with stride 2, come three stages of 4, 8 and 4 units, the first of which halves the
image, and a 1x1 convolution; `MAPS` has the maps of these four.
"""

from __future__ import annotations

from fastcnn import arguments, ops
from fastcnn.applications.blocks import conv_bn_relu, depthwise_bn
from fastcnn.applications.frame import Frame, PathLike, Shape
from fastcnn.applications.preprocessing import PreprocessInput
from fastcnn.applications.preprocessing import decode_predictions as decode_predictions
from fastcnn.graph import Tensor
from fastcnn.layers import ChannelShuffle, Concatenate, GlobalAveragePooling2D, MaxPooling2D
from fastcnn.models import Model

preprocess_input = PreprocessInput({"torchvision": "torch"})

MAPS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
UNITS = (4, 8, 4)


def _unit(x: Tensor, maps: int, strides: int, name: str) -> Tensor:
    """Figure 3(c), or with a stride of 2, 3(d): both branches read all of x and shrink it."""
    if strides == 1:
        kept, y = ops.split(x, 2, axis=-1)
    else:
        branch = f"{name}.branch1"
        kept = depthwise_bn(x, 3, strides, 1, names=(f"{branch}.0", f"{branch}.1"))
        kept = _pointwise(kept, maps // 2, branch, 2)
        y = x
    branch = f"{name}.branch2"
    y = _pointwise(y, maps // 2, branch, 0)
    y = depthwise_bn(y, 3, strides, 1, names=(f"{branch}.3", f"{branch}.4"))
    y = _pointwise(y, maps // 2, branch, 5)
    y = Concatenate(name=f"{name}.concat")([kept, y])
    shuffled: Tensor = ChannelShuffle(2, name=f"{name}.shuffle")(y)
    return shuffled


def _pointwise(x: Tensor, filters: int, branch: str, place: int) -> Tensor:
    """1x1 convolution, normalization and relu: the layers `branch`.`place` and the next two."""
    names = (f"{branch}.{place}", f"{branch}.{place + 1}")
    return conv_bn_relu(x, filters, 1, names=names, activation_name=f"{branch}.{place + 2}")


def ShuffleNetV2(
    weights: PathLike | None = None,
    include_top: bool = True,
    input_shape: Shape | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    scale: float = 1.0,
    name: str = "shufflenet_v2",
) -> Model:
    """2,278,604 parameters and 144.9 M multiply-accumulates at 224x224x3.

    Args:
        weights: file to read weights from; None draws them anew.
        include_top: with global pooling and the classifier.
        input_shape: (H, W, C).
        pooling: without the top, None (maps of the last convolution), "avg" or "max" over them.
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        scale: the paper's 0.5, 1, 1.5 or 2.
        name: name of the model.

    Raises:
        ArgumentError: an impossible argument.
        ShapeError: weights of another network.
        FileError: `weights` cannot be read.
    """
    frame = Frame(name, weights, include_top, input_shape, pooling, classes, classifier_activation)
    arguments.one_of(name, "scale", scale, tuple(MAPS))
    image = frame.image()
    x = conv_bn_relu(image, 24, 3, 2, 1, names=("conv1.0", "conv1.1"), activation_name="conv1.2")
    x = MaxPooling2D(3, 2, padding=1, name="maxpool")(x)
    *stages, last = MAPS[scale]
    for stage, (maps, units) in enumerate(zip(stages, UNITS, strict=True), 2):
        for unit in range(units):
            x = _unit(x, maps, 2 if unit == 0 else 1, f"stage{stage}.{unit}")
    x = _pointwise(x, last, "conv5", 0)

    def top(x: Tensor) -> Tensor:
        x = GlobalAveragePooling2D(name="mean")(x)
        return frame.classify(x, "fc")

    return frame.model(image, x, top)
