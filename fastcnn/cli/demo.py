# SPDX-License-Identifier: Apache-2.0
"""Train LeNet-5 on handwritten digits that come with fastcnn, in under a minute.

1,438 real 8x8 digits, enlarged to 32x32, train the network; 359 others test it. The run ends with
the saved model, its predictions and pictures of how it went.
"""

from __future__ import annotations

import argparse

from fastcnn import applications
from fastcnn.cli import experiment
from fastcnn.cli.experiment import Recipe
from fastcnn.cli.images import load_images
from fastcnn.cli.options import add_epochs_option, add_run_options

# Chosen by five-fold cross-validation inside the training images, never by the test images.
EPOCHS = 50
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1
SHIFT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Epochs and where to write."""
    add_epochs_option(parser, EPOCHS)
    add_run_options(parser, out="demo")


def run(arguments: argparse.Namespace) -> None:
    """Train, test, save, load, predict, draw."""
    recipe = Recipe(
        epochs=arguments.epochs,
        batch_size=BATCH_SIZE,
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        schedule="cosine",
        label_smoothing=LABEL_SMOOTHING,
        shift=SHIFT,
        validation_split=0.0,
        seed=arguments.seed,
    )
    pictures = not arguments.no_plots
    experiment.prepare(arguments.seed, arguments.threads, arguments.out, pictures)
    images = load_images("digits", size=32)
    experiment.run(applications.LeNet5(), images, recipe, arguments.out, pictures)
