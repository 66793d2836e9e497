# SPDX-License-Identifier: Apache-2.0
"""The examples run; those written for Keras have nothing but their import changed."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
KERAS_SCRIPTS = ("keras_sequential_cnn.py", "keras_functional_resnet.py")


@pytest.mark.parametrize("name", KERAS_SCRIPTS)
def test_keras_script_runs(name, monkeypatch, capsys):
    monkeypatch.setenv("EPOCHS", "3")
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    accuracy = float(re.findall(r"test accuracy (\S+)", printed)[-1])
    assert accuracy > 0.5
    assert "Trainable params" in printed


@pytest.mark.parametrize("name", KERAS_SCRIPTS)
def test_only_the_import_is_ours(name):
    lines = (EXAMPLES / name).read_text().splitlines()
    ours = [line for line in lines if "fastcnn" in line]
    assert ours == ["import fastcnn as keras", "from fastcnn import layers"]


def test_digits_are_explained(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("EPOCHS", "4")
    monkeypatch.setattr(sys, "argv", ["explain_digits.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "explain_digits.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "saliency: Nothing speaks against this map." in printed
    assert "guided_backprop: The map shows little" in printed
    for name in ("methods.png", "features.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_residual_network_learns_digits(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("EPOCHS", "3")
    monkeypatch.setattr(sys, "argv", ["train_digits.py", "ResNet20", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "train_digits.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert len(re.findall(r"held out \S+%", printed)) == 3
    assert float(re.findall(r"test accuracy (\S+),", printed)[0]) > 0.8
    assert (tmp_path / "ResNet20.png").read_bytes().startswith(b"\x89PNG")
