# SPDX-License-Identifier: Apache-2.0
"""Predicted times: the probe and its file, what a call is counted as, and the fit of constants.

That predictions are near is measured by `benchmarks/fit_roofline.py`: tests run on busy machines.
"""

import json

import numpy as np
import pytest

import fit_roofline
from fastcnn import Input, Model, Sequential, analysis, layers
from fastcnn.analysis import roofline
from fastcnn.analysis.roofline import Machine
from fastcnn.backends import threads

MACHINE = Machine("avx2", 1, 5e10, (1 << 17, 1 << 20, 1 << 25), (6e10, 6e10, 1e10), 1e-6)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """How often the machine was measured, which takes no time here."""
    turns = []

    def measure(isa, count):
        turns.append((isa, count))
        return MACHINE

    monkeypatch.setattr(roofline, "_measure", measure)
    return turns


def network():
    return Sequential(
        [
            Input((16, 16, 16)),
            layers.Conv2D(40, 3, padding="same", activation="relu", name="winograd"),
            layers.Conv2D(40, 3, strides=2, name="packed"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(),
            layers.Dense(10, name="dense"),
        ]
    )


def test_the_probe_is_plausible(home):
    machine = analysis.probe()
    assert machine.threads == threads.get_num_threads()
    assert 1e7 < machine.products < 1e14
    assert all(1e7 < rate < 1e13 for rate in machine.bandwidths)
    assert 1e-8 < machine.call < 1


def test_the_probe_is_kept_by_host(home, measured):
    first = analysis.probe()
    assert analysis.probe() == first == MACHINE
    assert len(measured) == 1
    (file,) = (home / "roofline").iterdir()
    assert json.loads(file.read_text())["products"] == 5e10
    analysis.probe(refresh=True)
    assert len(measured) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"isa": "avx2"}', '{"sizes": 1, "x": 2}'])
def test_a_damaged_file_is_measured_anew(home, measured, content):
    analysis.probe()
    (file,) = (home / "roofline").iterdir()
    file.write_text(content)
    assert analysis.probe() == MACHINE
    assert len(measured) == 2
    assert json.loads(file.read_text())["threads"] == 1


def test_without_a_folder_to_write_to(tmp_path, monkeypatch, measured):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path / "file"))
    assert analysis.probe() == analysis.probe() == MACHINE
    assert len(measured) == 2


def test_bandwidth_between_sizes():
    assert MACHINE.bandwidth(1) == MACHINE.bandwidth(1 << 17) == pytest.approx(6e10)
    assert MACHINE.bandwidth(1 << 30) == pytest.approx(1e10)
    assert 1e10 < MACHINE.bandwidth(1 << 23) < 6e10


def test_products_are_what_kernels_multiply():
    model = network()
    plan = model.plan((1, 16, 16, 16))
    by_layer = {node.layer: roofline.products(node) for node in plan.nodes}
    assert by_layer["winograd"] == 16 * 36 * 16 * 48  # 16 patches, 40 channels in panels of 16
    assert by_layer["packed"] == 7 * 7 * 9 * 40 * 48
    assert by_layer["pool"] == 0
    assert by_layer["dense"] == 3 * 3 * 40 * 16


def test_bytes_are_all_tensors_once_and_weights_pass_by_together():
    model = network()
    plan = model.plan((1, 16, 16, 16))
    found = dict(zip((n.layer for n in plan.nodes), roofline.features(plan, MACHINE), strict=True))
    read = 7 * 7 * 40 * 4
    written = 3 * 3 * 40 * 4  # without the winners
    assert found["pool"] == pytest.approx((0, (read + written) / 6e10, 1e-6))
    slow = Machine("avx2", 1, 5e10, (1, 1 << 16), (6e10, 1e10), 1e-6)
    (dense,) = (n for n in plan.nodes if n.layer == "dense")
    (_, copying, _) = roofline.features(plan, slow)[plan.nodes.index(dense)]
    weights = dense.inputs[1].spec.nbytes
    assert copying > weights / 1.5e10  # alone they would fit into what is fast


def test_predictions_add_up_and_grow_with_the_batch(home, measured):
    model = network()
    one, many = analysis.predict_time(model), analysis.predict_time(model, batch=64)
    beside = roofline.stored_constants()["run"][0]
    assert one.seconds == pytest.approx(sum(one.layers.values()) + beside)
    assert set(one.layers) == {"winograd", "packed", "pool", "dense"}
    assert one.seconds < many.seconds < 64 * one.seconds
    wide = Input((64, 64, 16))
    larger = Model(wide, layers.Conv2D(40, 3, padding="same", name="winograd")(wide))
    assert analysis.predict_time(larger).layers["winograd"] > 8 * one.layers["winograd"]


def test_constants_are_there_for_any_kernel():
    known = roofline.stored_constants()
    assert {"other", "run", "packed_conv2d", "winograd_conv2d"} <= set(known)
    assert all(value >= 0 for factors in known.values() for value in factors)
    plan = network().plan((1, 16, 16, 16))
    assert all(s > 0 for s in roofline.predict_calls(plan, MACHINE, {"other": [2.0, 1.0, 0.5]}))


def test_the_fit_finds_constants_again():
    rng = np.random.default_rng(0)
    factors = {"packed_conv2d": [1.2, 0.8, 3.0], "max_pool2d": [0.0, 4.0, 0.0]}
    measured = []
    for name, calls in (("small", 2), ("large", 40)):
        rows = []
        for kind in list(factors) * calls:
            terms = [*rng.random(2) * 1e-4, 1e-6]
            rows.append([kind, terms, float(np.dot(terms, factors[kind]))])
        seconds = sum(s for *_, s in rows) + 2e-4
        measured.append({"network": name, "seconds": seconds, "calls": rows})
    found = fit_roofline.fit(measured)
    for kind, expected in factors.items():
        np.testing.assert_allclose(found[kind], expected, rtol=0.02, atol=0.02)
    assert found["run"] == [pytest.approx(2e-4)]
    table = fit_roofline.check(measured, found)
    assert "| small |" in table
    assert "Off by at most 0%." in table
    halved = {kind: [value / 2 for value in values] for kind, values in found.items()}
    assert "Off by at most 50%." in fit_roofline.check(measured, halved)


def test_a_network_is_measured_whole_and_by_call(home, measured):
    case = fit_roofline.Case("LeNet5")
    case.run()
    record = case.record(MACHINE)
    assert record["seconds"] > 0
    assert len(record["calls"]) == len(case.plan.calls)
    assert json.loads(json.dumps(record))["network"] == "LeNet5"
