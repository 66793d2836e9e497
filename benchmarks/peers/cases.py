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
        name: in this table, and in fastcnn.applications unless `ours` says another.
        source: "torchvision:name", "timm:name", or "source:name" for a function of source.py; the
            definition all engines are given.
        arguments: of that definition.
        ours: name in fastcnn.applications, and arguments there.
        image: (H, W, C) of one image.
        classes: number of logits.
    """

    name: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    ours: tuple[str, Mapping[str, Any]] | None = None
    image: tuple[int, ...] = (224, 224, 3)
    classes: int = 1000


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
        Network("LeNet5", "source:lenet5", image=(32, 32, 1), classes=10),
        Network(
            "CifarResNet18",
            "source:cifar_resnet18",
            ours=("ResNet18", {"stem": "cifar", "classes": 10, "input_shape": (32, 32, 3)}),
            image=(32, 32, 3),
            classes=10,
        ),
    )
}
# What small images take to predict is overhead, which has a benchmark of its own.
PREDICTED = [name for name, network in NETWORKS.items() if network.image[0] > 32]
BATCHES = (1, 8)
# What a training step takes at once: as much as its memory of some GB allows.
TRAIN_BATCHES = {
    "LeNet5": 64,
    "CifarResNet18": 32,
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
