# SPDX-License-Identifier: Apache-2.0
"""Train a built-in network on a data set; leaves the model, its predictions and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fastcnn import applications
from fastcnn.cli import experiment
from fastcnn.cli.experiment import Recipe
from fastcnn.cli.images import DATASETS, load_images
from fastcnn.cli.options import add_epochs_option, add_run_options, network_names
from fastcnn.cli.schedules import SCHEDULES
from fastcnn.models import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the data, and how to train."""
    parser.add_argument("network", metavar="NETWORK", help=network_names())
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", default="digits", metavar="NAME", help=f"{', '.join(DATASETS)} (%(default)s)"
    )
    data.add_argument(
        "--data-path",
        type=Path,
        metavar="DIR",
        help="folder with the files; else downloaded",
    )
    data.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="the network's own by default"
    )
    data.add_argument(
        "--validation-split",
        type=float,
        default=0.1,
        metavar="FRACTION",
        help="of the training images; 0 watches the test images instead (%(default)s)",
    )
    data.add_argument(
        "--shift",
        type=int,
        default=2,
        metavar="PIXELS",
        help="move training images at random by at most so many (%(default)s)",
    )
    how = parser.add_argument_group("training")
    add_epochs_option(how, default=20)
    how.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="images per update (%(default)s)"
    )
    how.add_argument(
        "--optimizer", default="adam", metavar="NAME", help="as in Keras: sgd, ... (%(default)s)"
    )
    how.add_argument(
        "--learning-rate",
        type=float,
        default=1e-3,
        metavar="RATE",
        help="the highest one (%(default)s)",
    )
    how.add_argument(
        "--schedule",
        default="cosine",
        metavar="NAME",
        help=f"how the rate changes: {', '.join(SCHEDULES)} (%(default)s)",
    )
    how.add_argument(
        "--label-smoothing",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of each target, spread over all classes (%(default)s)",
    )
    how.add_argument("--weights", type=Path, metavar="FILE", help="begin with saved weights")
    add_run_options(parser, out="run")


def run(arguments: argparse.Namespace) -> None:
    """Train, test, save, load, predict, draw."""
    network = applications.get(arguments.network)
    recipe = Recipe(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        optimizer=arguments.optimizer,
        learning_rate=arguments.learning_rate,
        schedule=arguments.schedule,
        label_smoothing=arguments.label_smoothing,
        shift=arguments.shift,
        validation_split=arguments.validation_split,
        seed=arguments.seed,
    )
    size = _own_size(network) if arguments.image_size is None else arguments.image_size
    images = load_images(arguments.dataset, size, arguments.data_path)
    pictures = not arguments.no_plots
    experiment.prepare(arguments.seed, arguments.threads, arguments.out, pictures)
    model = network(
        weights=arguments.weights,
        input_shape=images.x_train.shape[1:],
        classes=len(images.class_names),
    )
    experiment.run(model, images, recipe, arguments.out, pictures)


def _own_size(network: Callable[..., Model]) -> int:
    """The image size a network was drawn for."""
    return int(network().inputs[0].shape[1] or 0)
