# SPDX-License-Identifier: Apache-2.0
"""Print the layers of a built-in network: shapes, parameters, MACs, receptive fields, time."""

from __future__ import annotations

import argparse
from typing import Any

from fastcnn import applications
from fastcnn.cli.options import image_shape, network_names
from fastcnn.models.summary import CHOICES, COLUMNS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NETWORK and the sizes it is made for."""
    parser.add_argument("network", metavar="NETWORK", help=network_names())
    parser.add_argument(
        "--input-shape", metavar="H,W,C", type=image_shape, help="the network's own by default"
    )
    parser.add_argument(
        "--columns",
        metavar="NAME,...",
        type=_columns,
        default=COLUMNS,
        help=f"any of {', '.join(CHOICES)}, or all ({','.join(COLUMNS)})",
    )
    parser.add_argument(
        "--expand-nested", action="store_true", help="also the layers inside nested models"
    )
    parser.add_argument("--classes", metavar="K", type=int, help="the network's own by default")


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    given: dict[str, Any] = {
        "input_shape": arguments.input_shape,
        "classes": arguments.classes,
    }
    network = applications.get(arguments.network)
    model = network(**{name: value for name, value in given.items() if value is not None})
    model.summary(columns=arguments.columns, expand_nested=arguments.expand_nested)


def _columns(text: str) -> tuple[str, ...]:
    names = CHOICES if text == "all" else tuple(text.split(","))
    unknown = [name for name in names if name not in CHOICES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"found {', '.join(unknown)}, expected all or some of {', '.join(CHOICES)}"
        )
    return names
