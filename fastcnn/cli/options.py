# SPDX-License-Identifier: Apache-2.0
"""Options that several commands take, and how their words are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcnn import applications


def network_names() -> str:
    """The built-in networks, for help texts."""
    return ", ".join(applications.BY_NAME)


def image_shape(text: str) -> tuple[int, ...]:
    """(32, 32, 3) from "32,32,3" or "32x32x3"."""
    try:
        sizes = tuple(int(word) for word in text.replace("x", ",").split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"found '{text}', expected H,W,C such as 32,32,3")
    return sizes


def add_epochs_option(parser: argparse._ActionsContainer, default: int) -> None:
    """How long to train."""
    parser.add_argument(
        "--epochs",
        type=int,
        default=default,
        metavar="N",
        help="passes over the training images (%(default)s)",
    )


def add_run_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Where a training run writes, and what makes it repeatable."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path(out),
        help="where to write (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="equal seeds give equal bits (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processors to use; all by default"
    )
    parser.add_argument("--no-plots", action="store_true", help="write no pictures")
