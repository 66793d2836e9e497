# SPDX-License-Identifier: Apache-2.0
"""ONNX's node tests on our backend, as the table at the end of docs/onnx.md.

    python tests/onnx_scores.py            prints the table
    python tests/onnx_scores.py --write    puts it into docs/onnx.md

In scope are the tests of every operator that fastcnn has, also in the form in which ONNX spells an
operator out as a graph of others ("_expanded"). A test passes when outputs, shapes and dtypes agree
within the tolerance of ONNX's own runner.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DOCUMENT = Path(__file__).parent.parent / "docs" / "onnx.md"
BEGIN = "<!-- node tests: written by tests/onnx_scores.py -->"

# Words of an error or of a test's name, and why such tests do not pass. The first that fits counts.
REASONS = (
    (r"dtype (?!bfloat16)\w*(?:int[24]|float[48]\w*)|=\w*(?:int[24]|float[48]\w+)",
     "4-bit and 8-bit types: quantised networks are another engine's work"),
    (r"bfloat16", "bfloat16 is not a type of the engine"),
    (r"up to 6 axes", "kernels know tensors of up to six axes"),
    (r"string", "strings are no numbers"),
    (r"sequence|optional", "sequences and optional values are no tensors"),
    (r"windows of 3 axes|\(N, C, H, W\) or", "three-dimensional images: windows have two axes"),
    (r"dropped at random", "expects the very random numbers of NumPy's generator"),
    (r"align_corners", "expects 2.4 for the length of 2 pixels; ours is whole, as in the "
                       "specification and in ONNX Runtime"),
    (r"empty_set_bool", "extrema of no booleans"),
    (r"computes this operator with floats only", "the engine's operators compute with floats"),
    (r"operator \w+", "is spelled out with operators that fastcnn does not have"),
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """How one test went.

    Attributes:
        operator: the operator it is about.
        reason: why it fails; "" where it passes.
        kernels: kernels that ran; none where NumPy folded everything.
    """

    test: str
    operator: str
    reason: str
    kernels: tuple[str, ...]


def operator_of(cases: dict[str, Any], name: str) -> str:
    """The operator that a test is about: the only one of its graph, or of its unexpanded form."""
    case = cases.get(re.sub(r"_expanded(_ver\d+)?$", "", name))
    nodes = [] if case is None or case.model is None else case.model.graph.node
    return nodes[0].op_type if len(nodes) == 1 else ""


def scores() -> Iterator[Score]:
    """Every node test of an operator in scope, run."""
    from onnx.backend.test.loader import load_model_tests

    from fastcnn.onnx.operators import OPERATORS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = {case.name: case for case in load_model_tests(kind="node")}
    for name, case in sorted(cases.items()):
        operator = operator_of(cases, name)
        if operator in OPERATORS:
            yield run(case, operator)


def run(case: Any, operator: str) -> Score:
    """One test."""
    from onnx.backend.test.runner import Runner

    from fastcnn.errors import FastcnnError
    from fastcnn.onnx import backend

    kernels: tuple[str, ...] = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rep = backend.prepare(case.model)
            for inputs, outputs in case.data_sets:
                found = rep.run([array_of(i) for i in inputs])
                kernels += rep.kernels
                wanted = [array_of(o) for o in outputs]
                Runner.assert_similar_outputs(wanted, found, case.rtol, case.atol)
        except (FastcnnError, AssertionError) as error:
            return Score(case.name, operator, reason_of(case.name, str(error)), kernels)
    return Score(case.name, operator, "", kernels)


def array_of(item: Any) -> Any:
    """Data of a test as an array."""
    import onnx

    return onnx.numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def reason_of(test: str, error: str) -> str:
    """Why a test does not pass."""
    words = f"{test} {error}"
    return next((why for pattern, why in REASONS if re.search(pattern, words)), f"FAILS: {error}")


def document(found: list[Score], version: str) -> str:
    """The table in Markdown."""
    passed = [s for s in found if not s.reason]
    folded = [s for s in passed if not s.kernels]
    lines = [
        BEGIN,
        "",
        f"onnx {version}: {len(passed)} of {len(found)} tests pass, {len(passed) - len(folded)} of "
        f"them on the engine's kernels, {len(folded)} (integers, shapes) folded by NumPy.",
        "",
        "### Passing",
        "",
        "| operator | tests | of them passing (folded in italics, `test_` left out) |",
        "|---|---|---|",
    ]
    for operator in sorted({s.operator for s in found}):
        own = [s for s in found if s.operator == operator]
        names = [name_of(s) for s in own if not s.reason]
        lines.append(f"| {operator} | {len(own)} | {len(names)}: {', '.join(names)} |")
    lines += ["", "### Not passing", "", "| reason | tests |", "|---|---|"]
    for reason in sorted({s.reason for s in found} - {""}):
        names = [s.test.removeprefix("test_") for s in found if s.reason == reason]
        lines.append(f"| {reason} | {len(names)}: {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def name_of(score: Score) -> str:
    """A test's name, in italics where nothing ran on the engine."""
    name = score.test.removeprefix("test_")
    return name if score.kernels else f"*{name}*"


def published(text: str) -> tuple[str, set[str]]:
    """The onnx version and the names of the passing tests that a document lists."""
    version = re.search(r"^onnx (\S+):", text, re.MULTILINE)
    passing = text.split("### Passing", 1)[1].split("### Not passing", 1)[0]
    names = re.findall(r"[\w.]+", " ".join(re.findall(r"\| \d+: (.*) \|", passing)))
    return (version[1] if version else ""), {f"test_{name.strip('_')}" for name in names}


def main() -> None:
    """Print the table, or write it."""
    import onnx

    text = document(list(scores()), onnx.__version__)
    if "--write" in sys.argv:
        before = DOCUMENT.read_text().split(BEGIN)[0]
        DOCUMENT.write_text(before + text)
    else:
        print(text, end="")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
