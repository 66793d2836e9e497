# SPDX-License-Identifier: Apache-2.0
"""The ten networks of the benchmarks on small images, on every instruction set that runs here.

They give the same bits on any number of threads, and what float64 gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Model, applications, config
from fastcnn.backends import isas, threads

Array = np.ndarray[Any, Any]

SIZE, CLASSES = 64, 10
NETWORKS = [
    *("AlexNet", "VGG16", "GoogLeNet", "ResNet18", "ResNet50", "ResNeXt50", "DenseNet121"),
    *("MobileNet", "MobileNetV2", "ShuffleNetV2"),
]
# A hundred million weights of dense layers would take longer than all the rest.
WITHOUT_TOP = {"AlexNet", "VGG16"}

# Three times the largest error that was measured, of GoogLeNet, by the largest output.
ALLOWED = 3 * 1.1e-6


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)
    config.set_floatx("float32")


def network(name: str) -> Model:
    fastcnn.set_random_seed(0)
    top: dict[str, Any] = {"classes": CLASSES, "classifier_activation": None}
    if name in WITHOUT_TOP:
        top = {"include_top": False, "pooling": "avg"}
    return getattr(applications, name)(input_shape=(SIZE, SIZE, 3), **top)


def images(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, SIZE, SIZE, 3), dtype=np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_bits_do_not_depend_on_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(name)
    for isa in isas.available_isas():
        monkeypatch.setenv("FASTCNN_ISA", isa)
        for count in (1, 3) if isa != "scalar" else (1,):  # plain C takes ten times as long
            x = images(count)
            found = {}
            for team in (1, 2, 3):
                threads.set_num_threads(team)
                found[team] = model.predict_on_batch(x)
            assert np.isfinite(found[1]).all()
            assert np.ptp(found[1]) > 0
            for team in (2, 3):
                same = found[1].tobytes() == found[team].tobytes()
                assert same, f"{isa}, batch {count}: {team} threads give other bits than 1"


@pytest.mark.parametrize("isa", isas.available_isas())
@pytest.mark.parametrize("name", ["ResNet18", "MobileNetV2", "ShuffleNetV2", "GoogLeNet"])
def test_outputs_are_those_of_float64(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCNN_ISA", isa)
    model, x = network(name), images(2)
    found = model.predict_on_batch(x)
    config.set_floatx("float64")
    exact = network(name)
    exact.load_state_dict(model.state_dict())
    wanted = exact.predict_on_batch(x.astype(np.float64))
    assert wanted.dtype == np.float64
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error <= ALLOWED, f"{error:.2g} of the largest output"
