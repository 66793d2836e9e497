# SPDX-License-Identifier: Apache-2.0
"""One step of training: forward, backward and update of a batch."""

from __future__ import annotations

from typing import Any

import fastcnn

from .common import NETWORKS, THREADS, batch, compiled, labels, uniform, use_threads

BATCH = 32


class TrainStep:
    params = [list(NETWORKS), THREADS]
    param_names = ["network", "threads"]

    def setup(self, network: str, threads: int) -> None:
        use_threads(threads)
        self.model = compiled(network)
        self.x, self.y = batch(network, BATCH)
        self.model.train_on_batch(self.x, self.y)  # plans

    def time_train_on_batch(self, network: str, threads: int) -> None:
        self.model.train_on_batch(self.x, self.y)


def ready(name: str, **arguments: Any) -> Any:
    """A network of fastcnn.applications with the optimizer and the loss of the table."""
    fastcnn.set_random_seed(0)
    model = getattr(fastcnn.applications, name)(classifier_activation=None, **arguments)
    model.compile(
        optimizer=fastcnn.optimizers.SGD(learning_rate=1e-4, momentum=0.9),
        loss=fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


# Networks for 224x224 images, in batches that one step's memory of about 1 GB allows.
LARGE = {
    "ShuffleNetV2": 4,
    "AlexNet": 8,
    "VGG16": 1,
    "GoogLeNet": 4,
    "ResNet18": 4,
    "ResNet50": 2,
    "ResNeXt50": 2,
    "DenseNet121": 2,
    "MobileNetV2": 4,
}


class TrainLargeStep:
    """The networks that `peers --task train` times beside other engines, in smaller batches."""

    params = [list(LARGE), THREADS]
    param_names = ["network", "threads"]
    number, repeat, warmup_time = 1, 3, 0.0
    timeout = 300

    def setup(self, network: str, threads: int) -> None:
        use_threads(threads)
        self.model = ready(network)
        self.x, self.y = uniform(LARGE[network], 224, 224, 3), labels(LARGE[network], 1000)
        self.model.train_on_batch(self.x, self.y)  # plans

    def time_train_on_batch(self, network: str, threads: int) -> None:
        self.model.train_on_batch(self.x, self.y)


# name: (in fastcnn.applications, arguments, image, classes, batch), as `peers --task train` has.
TABLE = {
    "LeNet5": ("LeNet5", {}, (32, 32, 1), 10, 64),
    "CifarResNet18": ("ResNet18", {"stem": "cifar", "classes": 10}, (32, 32, 3), 10, 32),
    **{
        name: (name, {}, (224, 224, 3), 1000, count)
        for name, count in (
            *(("AlexNet", 16), ("VGG16", 4), ("GoogLeNet", 16), ("ResNet18", 16), ("ResNet50", 8)),
            *(("ResNeXt50", 8), ("DenseNet121", 8), ("MobileNetV2", 16), ("ShuffleNetV2", 16)),
        )
    },
}


class TrainTableStep:
    """At the batches of the table of training, which take some GB."""

    params = [list(TABLE), THREADS]
    param_names = ["network", "threads"]
    number, repeat, warmup_time = 1, 3, 0.0
    timeout = 600

    def setup(self, network: str, threads: int) -> None:
        use_threads(threads)
        name, arguments, image, classes, count = TABLE[network]
        self.model = ready(name, **arguments)
        self.x, self.y = uniform(count, *image), labels(count, classes)
        self.model.train_on_batch(self.x, self.y)  # plans

    def time_train_on_batch(self, network: str, threads: int) -> None:
        self.model.train_on_batch(self.x, self.y)


class TrainMemory:
    params = list(NETWORKS)
    param_names = ["network"]

    def setup(self, network: str) -> None:
        use_threads(1)
        self.x, self.y = batch(network, BATCH)

    def peakmem_train_on_batch(self, network: str) -> None:
        compiled(network).train_on_batch(self.x, self.y)


class Compile:
    """From nothing to the first update: graph, gradients, passes and plan."""

    params = list(NETWORKS)
    param_names = ["network"]
    number = 1

    def setup(self, network: str) -> None:
        use_threads(1)
        self.x, self.y = batch(network, 1)

    def time_first_step(self, network: str) -> None:
        compiled(network).train_on_batch(self.x, self.y)
