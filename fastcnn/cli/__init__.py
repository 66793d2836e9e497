# SPDX-License-Identifier: Apache-2.0
"""The command `fastcnn`: one module per subcommand, with `add_arguments` and `run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastcnn.cli import config, demo, explain, summary, train
from fastcnn.errors import ArgumentError, FastcnnError

COMMANDS = (demo, train, summary, explain, config)

DESCRIPTION = "Convolutional networks, trained and run on ordinary CPUs."

EXIT_ERROR = 2
# 128 + SIGINT, what a shell reports for a program ended by Ctrl-C.
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Mistakes on the command line are errors like all others: one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """What the command line may look like."""
    import fastcnn

    root = _Parser(prog="fastcnn", description=DESCRIPTION, allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"fastcnn {fastcnn.__version__}")
    root.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        text = (module.__doc__ or "").strip()
        child = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(child)
        child.set_defaults(run=module.run)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: its words after "fastcnn"; those of the process when None.

    Returns:
        0; 2 after an error, which is printed to stderr in one sentence; 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        found = parser()
        arguments = found.parse_args(words)
        if arguments.command is None:
            found.print_help()
        else:
            arguments.run(arguments)
    except FastcnnError as error:
        if "--debug" in words:
            raise
        print(f"fastcnn: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("\nfastcnn: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
