# SPDX-License-Identifier: Apache-2.0
"""Run the Python of pages and write what it prints below it.

    python docs/run_pages.py docs/lecture

The ```python blocks of a page run one after the other in a process of their own, in the page's
folder; what a block prints stands in the ```text block behind it. With --check nothing is written:
the pages run in an empty folder, and it is an error if one of them prints something else than it
says, or no longer makes a picture that it shows.

Numbers behind "≈" come out of training. They differ a little between instruction sets, so they stay
as they are on the page and pass the check while they are within TOLERANCE of it.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<output>.*?)^```\n)?", re.M | re.S
)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
MEASURED = re.compile(r"≈ *(-?\d[\d,]*(?:\.\d+)?)")
# Of the larger number.
TOLERANCE = 0.35


@dataclass
class Result:
    """What came of running a page.

    Attributes:
        text: the page with its outputs.
        problems: what is wrong, in sentences.
    """

    text: str
    problems: list[str] = field(default_factory=list)


def run_page(page: Path, folder: Path) -> Result:
    """Run the blocks of a page in `folder`."""
    source = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    pieces, end = [], 0
    with _inside(folder):
        for block in BLOCK.finditer(source):
            line = source.count("\n", 0, block.start("code"))
            printed = io.StringIO()
            try:
                # As many empty lines before it make a traceback name the line of the page.
                code = compile("\n" * line + block["code"], str(page), "exec")
                with contextlib.redirect_stdout(printed):
                    exec(code, namespace)
            except Exception:
                return Result(source, [f"{page}: {traceback.format_exc().strip()}"])
            pieces += [source[end : block.start()], _block(block, printed.getvalue())]
            end = block.end()
        pieces.append(source[end:])
        text = "".join(pieces)
        missing = [name for name in PICTURE.findall(text) if not Path(name).is_file()]
    return Result(text, [f"{page}: shows {name}, which its code does not make" for name in missing])


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """What contextlib.chdir does from Python 3.11 on."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _block(block: re.Match[str], printed: str) -> str:
    """The block with what it printed now, or before, if that differs in measured numbers only."""
    code = f"```python\n{block['code']}```\n"
    if not printed:
        return code
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    if block["output"] is not None and alike(block["output"], lines):
        lines = block["output"]
    return f"{code}\n```text\n{lines}```\n"


def alike(old: str, new: str) -> bool:
    """Whether two outputs differ at most in measured numbers, and in these by little."""
    if [_frame(line) for line in old.splitlines()] != [_frame(line) for line in new.splitlines()]:
        return False
    pairs = zip(MEASURED.findall(old), MEASURED.findall(new), strict=True)
    return all(_near(*(float(number.replace(",", "")) for number in pair)) for pair in pairs)


def _frame(line: str) -> str:
    """A line without its measured numbers, whose width may move what stands behind them."""
    return re.sub(r" +", " ", MEASURED.sub("≈", line)) if "≈" in line else line


def _near(old: float, new: float) -> bool:
    return abs(old - new) <= TOLERANCE * max(abs(old), abs(new))


def check(page: Path) -> Result:
    """Run a page in an empty folder and compare."""
    with tempfile.TemporaryDirectory() as work:
        result = run_page(page, Path(work))
    old = page.read_text(encoding="utf-8")
    difference = "".join(
        difflib.unified_diff(
            old.splitlines(True),
            result.text.splitlines(True),
            f"{page} as it is",
            "as it runs",
            n=1,
        )
    )
    if difference:
        result.problems.append(f"{page} prints something else; run: make docs\n{difference}")
    result.problems += [
        f"{page}: shows {name}, which is not there; run: make docs"
        for name in PICTURE.findall(old)
        if not (page.parent / name).is_file()
    ]
    return result


def write(page: Path) -> Result:
    """Run a page where it is and write it, unless something is wrong."""
    result = run_page(page, page.parent)
    if not result.problems and result.text != page.read_text(encoding="utf-8"):
        page.write_text(result.text, encoding="utf-8")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all pages of the folders; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args(arguments)
    pages = [page.resolve() for folder in options.folders for page in sorted(folder.glob("*.md"))]
    # A process for each, because names of layers count what a process has built.
    with get_context("spawn").Pool(2, maxtasksperchild=1) as workers:
        job = check if options.check else write
        results = workers.map(job, pages, chunksize=1)
    problems = [problem for result in results for problem in result.problems]
    problems += [
        f"{picture} is shown by no page; remove it"
        for folder in options.folders
        for picture in sorted(folder.glob("*/*"))
        if f"({picture.parent.name}/{picture.name})" not in "".join(r.text for r in results)
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(pages)} pages {'are as they run' if options.check else 'run'}.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
