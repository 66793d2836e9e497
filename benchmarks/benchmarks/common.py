# SPDX-License-Identifier: Apache-2.0
"""Inputs and networks shared by the benchmarks. Append; never change what stands here."""

from __future__ import annotations

import os

import numpy as np

import fastcnn

ALL_THREADS = "all"
THREADS = [1, ALL_THREADS]


def use_threads(threads: int | str) -> None:
    """Make fastcnn use `threads` threads, or one for each core this process may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fastcnn.set_num_threads(cores if threads == ALL_THREADS else threads)


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


def small_resnet() -> fastcnn.Model:
    """ResNet-20 for 32x32x3 (He et al., 2015, section 4.2) with projections on the shortcuts."""
    layers = fastcnn.layers

    def conv_norm(x: object, filters: int, size: int, strides: int) -> object:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = fastcnn.Input((32, 32, 3))
    x = layers.ReLU()(conv_norm(inputs, 16, 3, 1))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            y = layers.ReLU()(conv_norm(x, filters, 3, strides))
            y = conv_norm(y, filters, 3, 1)
            shortcut = conv_norm(x, filters, 1, strides) if strides == 2 else x
            x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return fastcnn.Model(inputs, layers.Dense(10)(x))


# name: (builder, input shape without the batch)
NETWORKS = {
    "lenet5": (lenet5, (32, 32, 1)),
    "small_resnet": (small_resnet, (32, 32, 3)),
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
