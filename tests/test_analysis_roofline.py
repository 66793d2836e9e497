# SPDX-License-Identifier: Apache-2.0
"""Predicted times: the probe and its file, what a call is counted as, and the fit of constants.

That predictions are near is measured by `benchmarks/fit_roofline.py`: tests run on busy machines.
"""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import fit_roofline
from fastcnn import Input, Model, Sequential, analysis, layers
from fastcnn.analysis import probing, roofline
from fastcnn.analysis.probing import Machine, Team
from fastcnn.backends import cpu, threads

SIZES = (1 << 17, 1 << 20, 1 << 25)
ALONE = Team(1, 5e10, SIZES, (6e10, 6e10, 1e10), 1e-7)
PAIR = Team(2, 1e11, tuple(2 * s for s in SIZES), (12e10, 12e10, 1.5e10), 1e-6)
MACHINE = Machine("avx2", 5e-6, ALONE, ALONE)
TWO = replace(MACHINE, together=PAIR)


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

    monkeypatch.setattr(probing, "_measure", measure)
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
    assert machine.alone.threads == 1
    assert 1e-7 < machine.run < 1
    for team in (machine.alone, machine.together):
        assert 1e7 < team.products < 1e14
        assert all(1e7 < rate < 1e13 for rate in team.bandwidths)
        assert 1e-9 < team.call < 1


def test_the_probe_is_kept_by_host(home, measured):
    first = analysis.probe()
    assert analysis.probe() == first == MACHINE
    assert len(measured) == 1
    (file,) = (home / "roofline").iterdir()
    assert json.loads(file.read_text())["alone"]["products"] == 5e10
    analysis.probe(refresh=True)
    assert len(measured) == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"isa": "avx2", "products": 5e10}', '{"alone": 1}']
)
def test_a_damaged_file_is_measured_anew(home, measured, content):
    analysis.probe()
    (file,) = (home / "roofline").iterdir()
    file.write_text(content)
    assert analysis.probe() == MACHINE
    assert len(measured) == 2
    assert json.loads(file.read_text())["isa"] == "avx2"


def test_without_a_folder_to_write_to(tmp_path, monkeypatch, measured):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path / "file"))
    assert analysis.probe() == analysis.probe() == MACHINE
    assert len(measured) == 2


def test_bandwidth_between_sizes():
    assert ALONE.bandwidth(1) == ALONE.bandwidth(1 << 17) == pytest.approx(6e10)
    assert ALONE.bandwidth(1 << 30) == pytest.approx(1e10)
    assert 1e10 < ALONE.bandwidth(1 << 23) < 6e10


def test_teams_between_one_thread_and_all():
    many = replace(TWO, together=replace(PAIR, threads=16, products=8e11))
    assert many.team(0) == many.team(1) == ALONE
    assert many.team(16) == many.team(1024) == many.together
    four = many.team(4)  # half the way from 1 to 16
    assert four.threads == 4
    assert four.products == pytest.approx(2e11)
    assert four.call == pytest.approx((ALONE.call * PAIR.call) ** 0.5)
    assert four.sizes[0] == pytest.approx((1 << 17) * 2**0.5)


def test_small_calls_are_of_one_thread_on_any_machine(monkeypatch):
    monkeypatch.setattr(cpu, "TEAM_NS", 40_000.0)  # tests have small calls shared out
    monkeypatch.setattr(cpu, "THREAD_NS", 2_000.0)
    (small,) = roofline.works(Sequential([Input((8,)), layers.ReLU()]).plan((1, 8)))
    assert small.threads == 1
    assert roofline.features(small, TWO) == roofline.features(small, MACHINE)
    works = roofline.works(network().plan((64, 16, 16, 16)))
    large = works[0]
    assert large.threads > 1
    assert roofline.features(large, TWO)[0] == pytest.approx(large.products / 1e11)
    assert roofline.features(large, MACHINE)[0] == pytest.approx(large.products / 5e10)


def test_the_best_of_probes_is_taken_number_by_number():
    slow = replace(ALONE, products=4e10, bandwidths=(7e10, 5e10, 1e10), call=2e-7)
    best = probing.best_of([MACHINE, Machine("avx2", 4e-6, slow, slow)])
    assert best.alone == replace(ALONE, bandwidths=(7e10, 6e10, 1e10))
    assert best.run == 4e-6
    assert probing.machine_of(json.loads(json.dumps(asdict(best)))) == best


def test_products_are_what_kernels_multiply():
    model = network()
    plan = model.plan((1, 16, 16, 16))
    by_layer = {node.layer: roofline.products(node) for node in plan.nodes}
    assert by_layer["winograd"] == 16 * 36 * 16 * 48  # 16 patches, 40 channels in panels of 16
    assert by_layer["packed"] == 7 * 7 * 9 * 40 * 48
    assert by_layer["pool"] == 0
    assert by_layer["dense"] == 3 * 3 * 40 * 16


def test_products_of_short_patches_and_of_what_a_pool_takes():
    image = Input((13, 14, 16))
    conv = layers.Conv2D(48, 3, padding="same")(image)
    (node,) = [n for n in Model(image, conv).plan((2, 13, 14, 16)).nodes if n.inputs]
    assert roofline.products(node) == 2 * (13 + 2 * 4) * (14 + 2 * 4) * 16 * 48
    pooled = Model(image, layers.MaxPooling2D(2)(conv))
    (node,) = [n for n in pooled.plan((2, 13, 14, 16)).nodes if n.inputs]
    assert roofline.products(node) == 2 * (12 + 2 * 3) * (14 + 2 * 4) * 16 * 48
    wide = Input((13, 15, 16))  # of its last three columns a window takes two
    pooled = Model(wide, layers.MaxPooling2D(2)(layers.Conv2D(48, 3, padding="same")(wide)))
    (node,) = [n for n in pooled.plan((2, 13, 15, 16)).nodes if n.inputs]
    assert roofline.products(node) == 2 * (12 + 2 * 3) * (15 + 2 * 4) * 16 * 48


def test_bytes_are_all_tensors_once_and_weights_pass_by_together():
    plan = network().plan((1, 16, 16, 16))
    works = dict(zip((n.layer for n in plan.nodes), roofline.works(plan), strict=True))
    read = 7 * 7 * 40 * 4
    written = 3 * 3 * 40 * 4  # without the winners
    found = roofline.features(works["pool"], MACHINE)
    assert found == pytest.approx((0, (read + written) / 6e10, 1e-7))
    slow = replace(ALONE, sizes=(1, 1 << 16), bandwidths=(6e10, 1e10))
    (_, copying, _) = roofline.features(works["dense"], replace(MACHINE, alone=slow, together=slow))
    (dense,) = (n for n in plan.nodes if n.layer == "dense")
    weights = dense.inputs[1].spec.nbytes
    assert copying > weights / 1.5e10  # alone they would fit into what is fast


def test_predictions_add_up_and_grow_with_the_batch(home, measured):
    model = network()
    one, many = analysis.predict_time(model), analysis.predict_time(model, batch=64)
    beside = roofline.stored_constants()["run"][0] * MACHINE.run
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
    assert all(any(factors) for factors in known.values())
    calls = roofline.works(network().plan((1, 16, 16, 16)))
    assert all(s > 0 for s in roofline.predict_calls(calls, MACHINE, {"other": [2.0, 1.0, 0.5]}))


FACTORS = {"packed_conv2d": [1.2, 0.8, 3.0], "max_pool2d": [0.0, 4.0, 0.0]}


def networks_of(factors, count=10):
    """Networks from small to large that take what the factors say."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        kinds = list(factors) * (2 + index)
        terms = np.stack([*(rng.random((2, len(kinds))) * 1e-4), np.full(len(kinds), 1e-6)], axis=1)
        calls = [float(np.dot(t, factors[kind])) for t, kind in zip(terms, kinds, strict=True)]
        network = {"name": f"net{index}", "machine": MACHINE, "kinds": kinds, "features": terms}
        program = sum(calls)
        found.append({**network, "calls": calls, "program": program, "seconds": program + 2e-5})
    return found


def test_the_fit_finds_constants_again():
    measured = networks_of(FACTORS)
    found = fit_roofline.fit(measured)
    for kind, expected in FACTORS.items():
        np.testing.assert_allclose(found[kind], expected, rtol=0.02, atol=0.02)
    assert found["run"] == [pytest.approx(4.0)]  # 2e-5 seconds of a machine whose run takes 5e-6
    assert found["other"] == pytest.approx([0.6, 2.4, 1.5], rel=0.02)
    table = fit_roofline.check(measured, found)
    assert "| net0 | 1 |" in table
    assert "Off by at most 0%, 0% unseen; within 25%: 10 of 10, 10 unseen." in table
    halved = {kind: [value / 2 for value in values] for kind, values in found.items()}
    assert "Off by at most 50%, 0% unseen; within 25%: 0 of 10" in fit_roofline.check(
        measured, halved
    )


def test_a_kernel_that_seems_to_take_no_time_is_like_the_others(monkeypatch):
    fitted = fit_roofline._fitted

    def noisy(measured, known):
        return fitted(measured, known) | ({"hidden": [0.0] * 3} if "hidden" in known else {})

    monkeypatch.setattr(fit_roofline, "_fitted", noisy)
    found = fit_roofline.fit(networks_of({**FACTORS, "hidden": [0.0, 0.0, 1.0]}))
    assert "hidden" not in found
    assert any(found["other"])
    np.testing.assert_allclose(found["packed_conv2d"], FACTORS["packed_conv2d"], rtol=0.05)


def test_calls_that_take_longer_among_others_do_not_make_networks_too_fast():
    measured = networks_of(FACTORS)
    for network in measured:
        network["calls"] = [0.6 * seconds for seconds in network["calls"]]
    found = fit_roofline.fit(measured)
    for network in measured:
        assert fit_roofline.predicted(network, found) == pytest.approx(network["seconds"], rel=0.02)


def test_a_network_that_is_not_like_the_others_is_far_off_unseen():
    measured = networks_of(FACTORS)
    odd = networks_of({kind: [3 * f for f in fs] for kind, fs in FACTORS.items()}, 4)[-1]
    measured.append({**odd, "name": "odd"})
    blind = dict(zip((n["name"] for n in measured), fit_roofline.unseen(measured), strict=True))
    assert blind["odd"] < 0.5 * odd["seconds"]
    assert blind["net5"] > 0.9 * measured[5]["seconds"]


def test_no_factor_is_negative():
    rng = np.random.default_rng(0)
    a = rng.random((30, 3))
    np.testing.assert_allclose(fit_roofline.not_negative(a, a @ [1, 2, 3]), [1, 2, 3], rtol=1e-4)
    found = fit_roofline.not_negative(a, a @ [2, -1, 0])
    assert (found >= 0).all()
    assert found[1] == 0


def test_a_network_is_measured_whole_and_by_call(home, measured):
    case = fit_roofline.Case("LeNet5")
    for _ in range(20):  # the least times count: any one run may be disturbed
        case.run()
    record = case.record()
    assert 0 < record["program"] <= record["seconds"]
    assert len(record["calls"]) == len(case.plan.calls)
    kept = fit_roofline.added({}, MACHINE, "LeNet5", record)
    (network,) = fit_roofline.read(json.loads(json.dumps(kept)))
    assert network["name"] == "LeNet5"
    assert network["features"].shape == (len(record["calls"]), 3)


def test_measuring_again_keeps_the_lesser_times(home, measured, tmp_path):
    file = tmp_path / "measured.json"
    fit_roofline.measure(["TDNN", "LeNet5"], file, seconds=0)
    kept = json.loads(file.read_text())
    assert list(kept["networks"]) == ["TDNN", "LeNet5"]
    kept["networks"]["TDNN"].update(seconds=1e-9, program=1.0)
    file.write_text(json.dumps(kept))
    fit_roofline.measure(["TDNN"], file, seconds=0)
    again = json.loads(file.read_text())
    assert again["networks"]["TDNN"]["seconds"] == 1e-9
    assert again["networks"]["TDNN"]["program"] < 1.0
    assert again["networks"]["LeNet5"] == kept["networks"]["LeNet5"]
    with pytest.raises(SystemExit, match="give another --out"):
        fit_roofline.added(again, TWO, "TDNN", again["networks"]["TDNN"])
