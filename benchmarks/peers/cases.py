# SPDX-License-Identifier: Apache-2.0
"""What is measured: a network, a batch, a task; and the files that all engines start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

PREDICT, TRAIN = "predict", "train"
TASKS = (PREDICT, TRAIN)


@final
@dataclass(frozen=True)
class Network:
    """One network by its name here and by its public definition.

    Attributes:
        name: in fastcnn.applications.
        source: "torchvision:name" or "timm:name", the definition all engines are given.
        arguments: of that definition.
    """

    name: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    network.name: network
    for network in (
        Network("AlexNet", "torchvision:alexnet"),
        Network("VGG16", "torchvision:vgg16"),
        Network("GoogLeNet", "torchvision:googlenet", {"aux_logits": False, "init_weights": False}),
        Network("ResNet18", "torchvision:resnet18"),
        Network("ResNet50", "torchvision:resnet50"),
        Network("ResNeXt50", "torchvision:resnext50_32x4d"),
        Network("DenseNet121", "torchvision:densenet121"),
        Network("MobileNet", "timm:mobilenetv1_100"),
        Network("MobileNetV2", "torchvision:mobilenet_v2"),
        Network("ShuffleNetV2", "torchvision:shufflenet_v2_x1_0"),
    )
}
BATCHES = (1, 8)
# What a training step takes at once: as much as its memory of some GB allows.
TRAIN_BATCHES = {
    "AlexNet": 16,
    "VGG16": 4,
    "GoogLeNet": 16,
    "ResNet18": 16,
    "ResNet50": 8,
    "ResNeXt50": 8,
    "DenseNet121": 8,
    "MobileNetV2": 16,
    "ShuffleNetV2": 16,
}
CLASSES = 1000


@final
@dataclass(frozen=True)
class Case:
    """One cell of the table.

    Attributes:
        network: name in fastcnn.applications.
        batch: images at once.
        task: what is done with them; engines list the tasks they know.
        image: (H, W, C) of one image.
    """

    network: str
    batch: int
    task: str = PREDICT
    image: tuple[int, ...] = (224, 224, 3)

    def __str__(self) -> str:
        words = f"{self.network}, batch {self.batch}"
        return words if self.task == PREDICT else f"{words}, {self.task}"


class Files(NamedTuple):
    """Where the files of one case lie."""

    folder: Path

    @property
    def weights(self) -> Path:
        """PyTorch's state_dict, as safetensors."""
        return self.folder / "weights.safetensors"

    @property
    def images(self) -> Path:
        """The batch (N, H, W, C), float32."""
        return self.folder / "images.npy"

    @property
    def labels(self) -> Path:
        """Classes of the images (N,), int64."""
        return self.folder / "labels.npy"

    @property
    def logits(self) -> Path:
        """What PyTorch makes of it: logits (N, classes), or the loss (1,) of a training step."""
        return self.folder / "logits.npy"

    def of(self, ending: str) -> Path:
        """The network in the format of one engine."""
        return self.folder / f"network.{ending}"
