# SPDX-License-Identifier: Apache-2.0
"""docs/zoo.md from the rows that the tests check: python tests/zoo/page.py > docs/zoo.md"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[1:3]]

import zoo  # noqa: E402
from zoo.row import Row  # noqa: E402

FRAME = Path(__file__).with_name("page.md")
TABLES = "<!-- tables -->\n"
# Arguments of public models that change nothing which is said here.
PLAIN = {"drop_rate", "init_weights"}


def page() -> str:
    """The whole page."""
    before, after = FRAME.read_text(encoding="utf-8").split(TABLES)
    return before + "\n".join(section(family) for family in zoo.FAMILIES) + after


def section(family: ModuleType) -> str:
    """A family: its title, a table of its rows, what is to be known of them, and its papers."""
    title = (family.__doc__ or "").partition("\n")[0].rstrip(".")
    notes = list(dict.fromkeys(row.note for row in family.ROWS if row.note))
    columns = {
        "network": [network(row, notes) for row in family.ROWS],
        "parameters": [f"{row.parameters:,}" for row in family.ROWS],
        "total": [f"{row.total:,}" if row.total else "" for row in family.ROWS],
        "MACs": [f"{row.macs:,}" for row in family.ROWS],
        "input": [sizes(row.build().inputs[0].shape) for row in family.ROWS],
        "output": [sizes(row.output) for row in family.ROWS],
        "equals": [peer(row) for row in family.ROWS],
    }
    lines = [f"## {title}", "", *table({n: c for n, c in columns.items() if any(c)}), ""]
    if notes:
        lines += [*(f"{i}. {sentence(note)}" for i, note in enumerate(notes, 1)), ""]
    return "\n".join([*lines, sources(family.ROWS), ""])


def table(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Lines of a table; numbers stand to the right."""
    yield "| " + " | ".join(columns) + " |"
    numbers = {"parameters", "total", "MACs"}
    yield "|" + "|".join("---:" if name in numbers else "---" for name in columns) + "|"
    for cells in zip(*columns.values(), strict=True):
        yield "| " + " | ".join(cells) + " |"


def network(row: Row, notes: Sequence[str]) -> str:
    """The call that makes it, with the number of its note."""
    mark = f" <sup>{notes.index(row.note) + 1}</sup>" if row.note else ""
    return call(row.network, row.arguments) + mark


def peer(row: Row) -> str:
    """The public model that it equals, if there is one."""
    if row.arguments.get("variant") == "keras":
        widths = {name: value for name, value in row.arguments.items() if name != "variant"}
        return f"Keras {call(row.network, widths)}"
    library, _, name = row.peer.partition(":")
    telling = {k: v for k, v in row.peer_arguments.items() if k not in PLAIN}
    return f"{library} {call(name, telling)}" if name else ""


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as code."""
    given = ", ".join(f"{keyword}={value!r}" for keyword, value in arguments.items())
    return f"`{name}({given})`".replace("'", '"')


def sentence(words: str) -> str:
    """Words of a note as a sentence."""
    return words[0].upper() + words[1:] + "."


def sizes(shape: Sequence[int | None]) -> str:
    """A shape without its batch."""
    return "×".join(str(d) for d in shape[1:])


def sources(rows: Sequence[Row]) -> str:
    """The papers, each once, linked where they are on arXiv."""
    found = dict.fromkeys(row.source for row in rows if row.source)
    link = r"[arXiv:\1](https://arxiv.org/abs/\1)"
    linked = [re.sub(r"arXiv:(\d{4}\.\d{4,5})", link, source) for source in found]
    return f"Source{'s' * (len(found) > 1)}: {'; '.join(linked)}."


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(page())
