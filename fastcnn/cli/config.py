# SPDX-License-Identifier: Apache-2.0
"""Show what this installation runs on: instruction set, threads, versions."""

from __future__ import annotations

import argparse

from fastcnn.environment import show_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> None:
    """Print it."""
    show_config()
