# SPDX-License-Identifier: Apache-2.0
"""Inputs and networks shared by the benchmarks. Append; never change what stands here."""

from __future__ import annotations

import os

import numpy as np

import fastcnn

THREADS = [1, 2]


def use_threads(threads: int) -> None:
    """Make fastcnn use `threads` threads; asv leaves the benchmark out where cores are fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if threads > (cores or 1):
        raise NotImplementedError(f"{threads} threads on {cores} cores")
    fastcnn.set_num_threads(threads)


def uniform(*shape: int) -> np.ndarray:
    """Float32 numbers in [-1, 1), the same in every run; every page has been written to."""
    return np.random.default_rng(20240131).uniform(-1, 1, shape).astype(np.float32)


def labels(count: int, classes: int) -> np.ndarray:
    """`count` class indices."""
    return np.random.default_rng(20240131).integers(0, classes, count).astype(np.int32)


def lenet5() -> fastcnn.Model:
    """LeNet-5 on 32x32x1 with full connections: 61,706 parameters."""
    layers = fastcnn.layers
    return fastcnn.Sequential(
        [
            fastcnn.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )


def resnet20() -> fastcnn.Model:
    """ResNet-20 for CIFAR-10 (He et al., 2015, section 4.2): 269,722 parameters."""
    return fastcnn.applications.ResNet20(classifier_activation=None)


def mobilenet() -> fastcnn.Model:
    """Blocks of MobileNet (Howard et al., 2017) for 32x32x3: 136,778 parameters."""
    layers = fastcnn.layers

    def norm_relu(x: object) -> object:
        return layers.ReLU(max_value=6.0)(layers.BatchNormalization()(x))

    inputs = fastcnn.Input((32, 32, 3))
    x = norm_relu(layers.Conv2D(32, 3, padding="same", use_bias=False)(inputs))
    for filters, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = norm_relu(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = norm_relu(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return fastcnn.Model(inputs, layers.Dense(10)(x))


# name: (builder, input shape without the batch)
NETWORKS = {
    "lenet5": (lenet5, (32, 32, 1)),
    "resnet20": (resnet20, (32, 32, 3)),
    "mobilenet": (mobilenet, (32, 32, 3)),
}


def compiled(name: str) -> fastcnn.Model:
    """The network `name`, ready to train with SGD and momentum."""
    fastcnn.set_random_seed(0)
    builder, _ = NETWORKS[name]
    model = builder()
    model.compile(
        optimizer=fastcnn.optimizers.SGD(learning_rate=0.01, momentum=0.9),
        loss=fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def batch(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images and labels for the network `name`."""
    _, shape = NETWORKS[name]
    return uniform(count, *shape), labels(count, 10)
