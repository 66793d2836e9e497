# SPDX-License-Identifier: Apache-2.0
"""Measured choices: who decides, what is kept, and what no choice may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, config, layers
from fastcnn.backends import isas, threads
from fastcnn.errors import ArgumentError
from fastcnn.models import choices, tuning
from fastcnn.passes.algorithms import Algorithms

SIZE, CHANNELS = 12, 32
PLAIN = "3x3: 1x12x12x32 -> 1x12x12x32"
BLOCK = "1x1, depthwise 3x3 of 96 / 1, 1x1: 1x12x12x32 -> 1x12x12x32"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A folder for choices, and a process that knows none."""
    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    monkeypatch.setattr(choices, "folder", lambda: tmp_path / "autotune")
    monkeypatch.setattr(choices, "_known", {})
    before = threads.get_num_threads()
    yield tmp_path
    threads.set_num_threads(before)


def network() -> Model:
    """A 3x3 convolution twice, and a block with a depthwise one."""
    image = Input((SIZE, SIZE, CHANNELS))
    y = layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(image)
    y = layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(y)
    y = layers.Conv2D(96, 1, activation="relu")(y)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(y)
    return Model(image, layers.Conv2D(CHANNELS, 1)(y))


def images() -> Any:
    shape = (1, SIZE, SIZE, CHANNELS)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def kernels(model: Model) -> tuple[str, ...]:
    return tuple(k.removeprefix("f32_") for k in model.plan(images().shape).kernels)


def pretend(monkeypatch: Any, *fastest: str) -> list[str]:
    """Measurements in which these algorithms win; returns a list that grows with every one."""
    turns = []

    def measure(variants: Any, served: Any, specs: Any) -> Any:
        turns.append("measured")
        seconds: dict[str, dict[str, float]] = {}
        for found in served:
            for shape, name, _ in found:
                seconds.setdefault(shape, {})[name] = 1.0 if name in fastest else 2.0
        return seconds

    monkeypatch.setattr(tuning, "_measure", measure)
    return turns


def test_the_preferred_come_before_the_measured_and_those_before_the_estimate() -> None:
    costs = {"direct": 1.0, "winograd_4": 2.0, "winograd_2": 3.0}
    measured = frozenset({("shape", "winograd_4")})
    assert Algorithms(False).pick("shape", costs) == "direct"
    assert Algorithms(False, measured).pick("shape", costs) == "winograd_4"
    assert Algorithms(False, measured).pick("another", costs) == "direct"
    preferring = Algorithms(False, measured, frozenset({"winograd_2", "fused"}))
    assert preferring.pick("shape", costs) == "winograd_2"


@pytest.mark.parametrize("name", ["winograd_4", "unknown", "", "fused"])
def test_what_is_not_allowed_is_not_taken(name: str) -> None:
    costs = {"direct": 1.0, "winograd_2": 2.0}
    assert Algorithms(False, frozenset({("shape", name)})).pick("shape", costs) == "direct"


def test_predict_takes_what_was_measured(monkeypatch: Any) -> None:
    for names, expected in [
        (("direct", "apart"), ("packed_conv2d",) * 3 + ("fused_depthwise_conv2d", "packed_conv2d")),
        (("winograd_2", "fused"), ("winograd_conv2d",) * 2 + ("fused_separable_conv2d",)),
    ]:
        pretend(monkeypatch, *names)
        model = network()
        before = model.predict_on_batch(images())
        found = fastcnn.autotune(model, refresh=True)
        assert found == dict(zip((PLAIN, BLOCK), names, strict=True))
        assert kernels(model) == expected
        after = model.predict_on_batch(images())
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_five_taps_are_measured_too(monkeypatch: Any) -> None:
    image = Input((12, 12, 32))
    model = Model(image, layers.Conv2D(32, 5, padding="same")(image))
    for name, kernel in (("direct", "packed_conv2d"), ("winograd_2", "winograd_conv2d")):
        pretend(monkeypatch, name)
        found = fastcnn.autotune(model, refresh=True)
        assert found == {"5x5: 1x12x12x32 -> 1x12x12x32": name}
        assert kernels(model) == (kernel,)


def test_measurements_are_kept_until_they_are_to_be_refreshed(monkeypatch: Any) -> None:
    turns = pretend(monkeypatch, "direct", "fused")
    first = fastcnn.autotune(network())
    choices._known.clear()  # as in another process
    assert fastcnn.autotune(network()) == first
    assert len(turns) == 1
    pretend(monkeypatch, "winograd_4", "apart")
    assert fastcnn.autotune(network(), refresh=True) != first
    assert fastcnn.autotune(network()) == {PLAIN: "winograd_4", BLOCK: "apart"}


def test_real_measurements_choose_among_what_is_possible() -> None:
    found = fastcnn.autotune(network())
    assert found[PLAIN] in ("direct", "winograd_4", "winograd_2")
    assert found[BLOCK] in ("fused", "apart")
    assert len(found) == 2


def test_a_difference_that_may_be_noise_changes_nothing() -> None:
    seconds = {"direct": 1.0, "winograd_4": 0.98}
    assert tuning._fastest(seconds, "direct") == "direct"
    assert tuning._fastest({**seconds, "winograd_2": 0.9}, "direct") == "winograd_2"


def test_no_choice_makes_an_exact_model_inexact(monkeypatch: Any) -> None:
    pretend(monkeypatch, "winograd_4", "apart")
    fastcnn.autotune(network())
    model = network()
    assert "winograd_conv2d" in kernels(model)
    model.exact = True
    assert "winograd_conv2d" not in kernels(model)
    assert fastcnn.autotune(model, refresh=True) == {BLOCK: "apart"}
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    assert fastcnn.autotune(network(), refresh=True) == {BLOCK: "apart"}


def test_bits_do_not_depend_on_threads_whatever_was_chosen(monkeypatch: Any) -> None:
    pretend(monkeypatch, "winograd_2", "apart")
    model = network()
    fastcnn.autotune(model)
    found = []
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        found.append(model.predict_on_batch(images()).tobytes())
    assert len(set(found)) == 1


def test_training_is_left_as_it_is(monkeypatch: Any) -> None:
    def step() -> list[str]:
        model = network()
        model.compile("sgd", "mse")
        model.train_on_batch(images(), images())
        (plan,) = model.trainer._plans._plans.values()
        return [call.op for call in plan.plan.calls]

    before = step()
    pretend(monkeypatch, "direct", "apart")
    fastcnn.autotune(network())
    assert step() == before


def _content(**changed: Any) -> str:
    origin = choices._origin(isas.default_isa())
    whole = {"origin": {**origin, **changed}, "choices": {PLAIN: "direct", BLOCK: "apart"}}
    return json.dumps(whole)


DAMAGED = ["", "[]", "{}", "[" * 100_000, _content()[:-9], '{"origin": 1, "choices": {}}']
FOREIGN = [_content(host="elsewhere"), _content(fastcnn="0.0.1"), _content(isa="scalar1")]


@pytest.mark.parametrize("content", [*DAMAGED, *FOREIGN])
def test_damaged_and_foreign_files_are_measured_anew(
    content: str, home: Path, monkeypatch: Any
) -> None:
    turns = pretend(monkeypatch, "winograd_2", "fused")
    fastcnn.autotune(network())
    (file,) = (home / "autotune").iterdir()
    file.write_text(content)
    choices._known.clear()
    assert choices.measured_choices(isas.default_isa()) == frozenset()
    fastcnn.autotune(network())
    assert len(turns) == 2
    assert json.loads(file.read_text())["choices"] == {PLAIN: "winograd_2", BLOCK: "fused"}


def test_a_file_that_fits_is_believed(home: Path) -> None:
    (home / "autotune").mkdir()
    choices._file(isas.default_isa()).write_text(_content())
    assert kernels(network()).count("packed_conv2d") == 4


def test_a_folder_that_cannot_be_written_costs_later_processes_only(monkeypatch: Any) -> None:
    monkeypatch.setattr(choices, "folder", lambda: Path(os.devnull))
    turns = pretend(monkeypatch, "winograd_2", "fused")
    for _ in range(2):
        assert fastcnn.autotune(network()) == {PLAIN: "winograd_2", BLOCK: "fused"}
    assert len(turns) == 1


def test_another_process_goes_by_the_file(tmp_path: Path) -> None:
    """The folder is FASTCNN_HOME's, and nothing is left there but the file."""
    program = (
        "import fastcnn, test_tuning\n"
        "from fastcnn.models import tuning\n"
        "tuning._measure = None\n"  # it must not be needed
        f"assert fastcnn.autotune(test_tuning.network())['{PLAIN}'] == 'direct'"
    )
    file = tmp_path / "autotune" / choices._file(isas.default_isa()).name
    file.parent.mkdir()
    file.write_text(_content())
    environment = {**os.environ, "FASTCNN_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list(file.parent.iterdir()) == [file]


def test_models_of_float64_have_nothing_to_choose() -> None:
    config.set_floatx("float64")
    try:
        model = network()
    finally:
        config.set_floatx("float32")
    with pytest.raises(ArgumentError, match="float64, expected float32"):
        fastcnn.autotune(model)
