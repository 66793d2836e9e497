# SPDX-License-Identifier: Apache-2.0
"""Print the layers of a built-in network with shapes, parameters and multiply-accumulates."""

from __future__ import annotations

import argparse
from typing import Any

from fastcnn import applications
from fastcnn.cli.options import image_shape, network_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NETWORK and the sizes it is made for."""
    parser.add_argument("network", metavar="NETWORK", help=network_names())
    parser.add_argument(
        "--input-shape", metavar="H,W,C", type=image_shape, help="the network's own by default"
    )
    parser.add_argument("--classes", metavar="K", type=int, help="the network's own by default")


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    given: dict[str, Any] = {
        "input_shape": arguments.input_shape,
        "classes": arguments.classes,
    }
    network = applications.get(arguments.network)
    network(**{name: value for name, value in given.items() if value is not None}).summary()
