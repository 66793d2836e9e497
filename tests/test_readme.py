# SPDX-License-Identifier: Apache-2.0
"""The README's Python runs as printed, and its shell commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "digits.fastcnn").is_file()
    assert names["dx"].sum() == names["y"].size
    assert re.search("f32_(packed|gray)_conv2d", capsys.readouterr().out)  # by instruction set
    layer = names["Residual"]()
    assert layer(np.ones((1, 4, 4, 2), np.float32)).shape == (1, 4, 4, 2)


def test_the_python_of_the_analysis_page_runs(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
    page = (README.parent / "docs" / "analysis.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/analysis.md", "exec"), names)
    assert (tmp_path / "effective.png").is_file()
    printed = capsys.readouterr().out
    for comment in re.findall(r"^print.*?  # ([\d(].*)$", page, re.MULTILINE):
        assert comment in printed
    assert names["field"].box((0, 0)) == (slice(0, 10), slice(0, 10))


def test_the_python_of_the_deploy_page_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    page = (README.parent / "docs" / "deploy.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/deploy.md", "exec"), names)
    np.testing.assert_array_equal(names["scores"], names["model"].predict_on_batch(names["image"]))
    np.testing.assert_array_equal(np.asarray(names["memory"]), names["scores"])


def test_the_shell_commands_of_the_readme_exist() -> None:
    from fastcnn import applications
    from fastcnn.cli import parser

    for line in re.findall(r"`fastcnn ([^`]*)`", README.read_text()):
        arguments = parser().parse_args(line.split())
        network = getattr(arguments, "network", None) or getattr(arguments, "name", None)
        assert network is None or applications.get(network)
