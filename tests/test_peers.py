# SPDX-License-Identifier: Apache-2.0
"""The benchmark beside other engines, as far as it goes without them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastcnn
from fastcnn import applications
from peers import chart, footprint, report, rounds
from peers.__main__ import main
from peers.cases import NETWORKS, Case, Files
from peers.engines import ENGINES, OURS, Engine
from peers.process import EngineError, Process, on
from peers.results import Result, Run, Timing, geometric_mean
from peers.rounds import Bursts, Settings, interleave
from peers.worker import TOLERANCE, Worker

CASE = Case("LeNet5", 2, image=(32, 32, 1))
SETTINGS = Settings((), threads=1, rounds=4, seconds=0.0, pause=0.0, isa="scalar")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What PyTorch would write, for a network small enough to run here."""
    found = Files(tmp_path_factory.mktemp("peers"))
    model = applications.LeNet5(classifier_activation=None)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 1), np.float32)
    save_file(model.state_dict(), found.weights)
    np.save(found.images, images)
    np.save(found.logits, model.predict_on_batch(images))
    assert "failed" not in Worker().answer({"do": "convert", "engine": OURS, **on(CASE, found)})
    return found


def load(files: Files, engine: str = OURS) -> dict[str, Any]:
    return {"do": "load", "engine": engine, "threads": 1, **on(CASE, files)}


def result(network: str = "ResNet50", batch: int = 1, **milliseconds: float) -> Result:
    timings = {name: Timing.of([ms / 1e3, ms / 500]) for name, ms in milliseconds.items()}
    return Result(Case(network, batch), timings, {}, 4_000_000_000, (400e9, 390e9))


def three() -> Run:
    """Two networks at one batch, one at another, with an engine that fails."""
    results = [
        result(fastcnn=10.0, ort=20.0, openvino=30.0, ncnn=25.0),
        result("ShuffleNetV2", fastcnn=4.0, ort=2.0, openvino=2.5),
        result(batch=8, fastcnn=90.0, openvino=160.0),
    ]
    results[1].failures["ncnn"] = "ncnn is not installed"
    return Run({"processor": "a processor", "threads of every engine": "2"}, results)


# --- the worker ----------------------------------------------------------------------------------


def test_a_worker_converts_loads_times_and_weighs(files: Files) -> None:
    with Process(threads=1) as process:
        facts = process.ask("convert", engine=OURS, **on(CASE, files))
        request = load(files)
        loaded = process.ask(request.pop("do"), **request)
        burst = process.ask("burst", seconds=0.01)
        memory = process.ask("memory")
    assert facts == {"macs": applications.LeNet5().count_macs()}
    assert loaded["error"] <= 1e-6
    assert all(0 < seconds < 5 for seconds in burst["seconds"])
    assert 1e7 < memory["peak"] < 1e9


def test_a_burst_of_no_time_still_runs_once(files: Files) -> None:
    worker = Worker()
    worker.answer(load(files))
    assert len(worker.answer({"do": "burst", "seconds": 0.0})["seconds"]) == 1


@pytest.mark.parametrize("wrong", [lambda y: y * (1 + 10 * TOLERANCE), lambda y: y * np.nan])
def test_wrong_logits_are_reported_and_not_timed(
    files: Files, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task(case: Case, files: Files, threads: int) -> Any:
        return lambda: wrong(np.load(files.logits))

    monkeypatch.setitem(ENGINES, "bad", Engine("Bad", "numpy", "", {"predict": task}))
    worker = Worker()
    assert worker.answer(load(files, "bad"))["failed"].startswith("wrong: its logits are off by")
    assert worker.answer({"do": "burst", "seconds": 0.0}) == {"failed": "nothing is loaded"}


def test_logits_of_another_shape_are_wrong(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("Bad", "numpy", "", {"predict": lambda *_: lambda: np.zeros((1, 1))})
    monkeypatch.setitem(ENGINES, "bad", engine)
    assert "off by inf" in Worker().answer(load(files, "bad"))["failed"]


def test_an_engine_that_is_not_installed_says_so(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task(*_: Any) -> Any:
        import an_engine_of_the_future  # type: ignore[import-not-found]

        return an_engine_of_the_future

    monkeypatch.setitem(ENGINES, "future", Engine("Future", "future", "", {"predict": task}))
    reply = Worker().answer(load(files, "future"))
    assert reply == {"failed": "an_engine_of_the_future is not installed"}


def test_a_worker_has_variables_of_its_own() -> None:
    with Process(1, ENGINES["torch-pages"].environment) as process:
        process.ask("memory")  # it has started
        variables = Path(f"/proc/{process._process.pid}/environ").read_bytes().split(b"\0")
    # The C library writes into the string when it has read it.
    assert any(v.startswith(b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1") for v in variables)
    assert b"OMP_NUM_THREADS=1" in variables


def test_a_failing_request_leaves_the_worker_alive(files: Files) -> None:
    with Process(threads=1) as process:
        with pytest.raises(EngineError, match="there is no network 'NoNet'"):
            process.ask("convert", engine=OURS, **on(Case("NoNet", 1), files))
        assert process.ask("memory")["peak"] > 0


def test_a_worker_that_does_not_answer_is_ended(files: Files) -> None:
    with Process(threads=1) as process, pytest.raises(EngineError, match="asked to memory"):
        process.ask("memory", limit=0.0)


@pytest.mark.parametrize("name", [n for n, s in footprint.STARTS.items() if s.engine == OURS])
def test_cold_start_runs_to_the_first_result(name: str, files: Files) -> None:
    assert 0 < footprint.first_result(name, files, threads=1) < 60


@pytest.mark.parametrize("name", [OURS, "plan"])
def test_a_cold_start_that_fails_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"network\.fastcnn"):
        footprint.first_result(name, Files(tmp_path), threads=1)


# --- rounds --------------------------------------------------------------------------------------


def test_every_round_has_one_burst_of_each_engine_in_an_order_of_its_own(monkeypatch: Any) -> None:
    monkeypatch.setattr(rounds, "probe", lambda settings: 1.0)
    asked: list[str] = []

    def engine(name: str) -> Any:
        def ask(do: str, seconds: float) -> dict[str, Any]:
            asked.append(name)
            return {"seconds": [1.0, 2.0]}

        return ask

    names = ["a", "b", "c", "d"]
    bursts, most = interleave({name: engine(name) for name in names}, SETTINGS, {}, 1.0)
    assert bursts == {name: Bursts([[1.0, 2.0]] * 4, [1.0] * 4) for name in names}
    assert most == 1.0
    turns = [asked[i : i + 4] for i in range(0, 16, 4)]
    assert all(sorted(one) == names for one in turns)
    assert len({tuple(one) for one in turns}) > 1


def one_engine(monkeypatch: Any, probes: list[float], most: float) -> tuple[Bursts, float]:
    """Bursts 0, 1, 2, ... between these probes, of which the last repeats."""
    given = iter(probes)
    monkeypatch.setattr(rounds, "probe", lambda settings: next(given, probes[-1]))
    numbers = itertools.count()
    asks = {"ort": lambda do, seconds: {"seconds": [float(next(numbers))]}}
    bursts, most = interleave(asks, SETTINGS, {}, most)
    return bursts["ort"], most


def test_a_burst_beside_a_disturbed_probe_does_not_count(monkeypatch: Any) -> None:
    bursts, most = one_engine(monkeypatch, [100.0, 50.0, 100.0], 100.0)
    assert bursts.whole(most) == [[2.0], [3.0], [4.0], [5.0]]
    timing = bursts.timing(most, 0.0)
    assert (timing.least, timing.bursts, timing.disturbed) == (2.0, 4, 2)


def test_what_was_disturbed_from_the_start_is_seen_at_the_end(monkeypatch: Any) -> None:
    bursts, most = one_engine(monkeypatch, [50.0, 50.0, 50.0, 100.0], 50.0)
    timing = bursts.timing(most, 0.0)
    assert (timing.least, timing.bursts, timing.disturbed) == (3.0, 4, 3)


def test_where_nothing_is_undisturbed_all_counts(monkeypatch: Any) -> None:
    bursts, most = one_engine(monkeypatch, [50.0], 100.0)
    assert bursts.whole(most) == []
    assert bursts.timing(most, 0.0).runs == rounds.PATIENCE * SETTINGS.rounds


def test_what_an_earlier_run_has_made_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Fake:
        def __init__(self, threads: int) -> None: ...
        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None: ...
        def ask(self, do: str, engine: str = "", **_: Any) -> dict[str, Any]:
            asked.append((do, engine))
            if engine == "ncnn":
                raise EngineError("not installed")
            return {"macs": 7} if engine == OURS else {}

    monkeypatch.setattr(rounds, "Process", Fake)
    first = rounds.prepare(CASE, Files(tmp_path), [OURS, "ort", "ncnn"], 1)
    assert asked == [("make", ""), ("convert", OURS), ("convert", "ort"), ("convert", "ncnn")]
    asked.clear()
    assert rounds.prepare(CASE, Files(tmp_path), [OURS, "ort", "ncnn"], 1) == first
    assert asked == [("convert", "ncnn")]  # what failed is tried again
    assert first == (7, {"ncnn": "not installed"})


def test_a_report_without_any_timing_is_one() -> None:
    run = Run({}, [Result(CASE, {}, {"ort": "not installed"})])
    assert "Of 0 bursts, 0 were disturbed" in report.markdown(run)


def test_an_engine_that_fails_on_the_way_is_left_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(rounds, "probe", lambda settings: 1.0)

    def fails(do: str, seconds: float) -> dict[str, Any]:
        raise EngineError("out of memory")

    failures: dict[str, str] = {}
    asks = {"ort": lambda do, seconds: {"seconds": [1.0]}, "ncnn": fails}
    bursts, _ = interleave(asks, SETTINGS, failures, 1.0)
    assert bursts == {"ort": Bursts([[1.0]] * 4, [1.0] * 4)}
    assert failures == {"ncnn": "out of memory"}


# --- numbers -------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_the_best_peer() -> None:
    found = result(fastcnn=10.0, ort=20.0, openvino=15.0)
    assert found.best_peer() == "openvino"
    assert found.ratio() == pytest.approx(1.5)
    assert found.median_ratio() == pytest.approx(1.5)


def test_medians_are_compared_with_the_least_median() -> None:
    timings = {OURS: Timing(1, 2, 9), "ort": Timing(2, 8, 9), "ncnn": Timing(3, 5, 9)}
    found = Result(Case("ResNet50", 1), timings)
    assert (found.ratio(), found.median_ratio()) == (2.0, 2.5)


def test_no_ratio_without_a_peer_or_without_fastcnn() -> None:
    assert result(fastcnn=1.0).ratio() is None
    assert result(ort=1.0).median_ratio() is None
    assert result(fastcnn=1.0).best_peer() is None


def test_other_settings_of_ours_are_no_peer() -> None:
    found = result(**{"fastcnn": 10.0, "fastcnn-recompute": 5.0, "torch": 20.0})
    assert found.best_peer() == "torch"
    assert (found.ratio(), found.median_ratio()) == (2.0, 2.0)


def test_share_of_peak_counts_direct_operations_of_the_batch() -> None:
    found = result(batch=8, fastcnn=200.0)
    assert found.share_of_peak(OURS) == pytest.approx(2 * 8 * 4e9 / 0.2 / 400e9)
    assert found.share_of_peak("ort") is None
    assert found.share_of_peak(None) is None


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert geometric_mean([]) is None


def test_a_run_comes_back_from_its_file(tmp_path: Path) -> None:
    run = three()
    run.cold, run.memory = {OURS: Timing(0.1, 0.2, 3)}, {"ort": 10**8}
    run.save(tmp_path / "made" / "run.json")
    assert Run.load(tmp_path / "made" / "run.json") == run


# --- report --------------------------------------------------------------------------------------


def cells(text: str, *begin: str) -> list[str]:
    (line,) = (x for x in text.splitlines() if x.startswith(f"| {' | '.join(begin)} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_every_engine_and_what_follows() -> None:
    text = report.markdown(three())
    assert cells(text, "network")[2:6] == [
        "fastcnn: ms",
        "ONNX Runtime: ms",
        "OpenVINO: ms",
        "ncnn: ms",
    ]
    row = cells(text, "ResNet50", "1")
    assert row[2:6] == ["10.00", "20.00", "30.00", "25.00"]
    assert row[6:11] == ["ONNX Runtime", "2.00", "2.00", "200", "100"]
    assert cells(text, "ShuffleNetV2", "1")[5:8] == ["—", "ONNX Runtime", "0.50"]


def test_means_are_per_batch() -> None:
    text = report.markdown(three())
    assert cells(text, "predict, batch 1")[1:] == ["2 of 2", "1.00", "1.00", "0.50"]
    assert cells(text, "predict, batch 8")[1:3] == ["1 of 1", "1.78"]


def test_what_is_left_out_is_named_with_its_reason() -> None:
    assert "- ncnn: ncnn is not installed (ShuffleNetV2, batch 1)" in report.markdown(three())


def test_memory_and_cold_start_have_tables() -> None:
    run = Run({"memory of": "ResNet50, batch 1"})
    run.memory = {OURS: 200_000_000, "ort": 300_000_000}
    run.cold = {"ort": Timing(0.6, 0.7, 5), OURS: Timing(0.2, 0.3, 5), "plan": Timing(0.1, 0.1, 5)}
    run.failures = {"ncnn memory": "crashed", "plan-bytes cold start": "lost"}
    text = report.markdown(run)
    assert cells(text, "ONNX Runtime", "300") == ["ONNX Runtime", "300", "1.50"]
    assert cells(text, "fastcnn", "200", "300") == ["fastcnn", "200", "300", "5", "1.00"]
    assert text.index("| fastcnn | 200 | 300") < text.index("| ONNX Runtime | 600")
    assert cells(text, "fastcnn, exported", "100")[4] == "0.50"
    assert "- ncnn: crashed (memory)" in text
    assert "- fastcnn, exported, without NumPy: lost (cold start)" in text


@pytest.mark.parametrize("task", ["predict", "train"])
def test_memory_is_that_of_a_fresh_process(
    task: str, files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where PyTorch would write the case, what it would have written is put there."""
    case = replace(CASE, task=task)
    monkeypatch.setitem(footprint.MEMORY_CASES, task, case)

    def prepare(_: Case, made: Files, engines: Any, threads: int) -> Any:
        model = applications.LeNet5(classifier_activation=None)
        labels = np.array([1, 7])
        for name in ("weights.safetensors", "network.fastcnn", "images.npy", "logits.npy"):
            (made.folder / name).write_bytes((files.folder / name).read_bytes())
        np.save(made.labels, labels)
        if task == "train":
            model.load_state_dict(load_file(made.weights))
            model.compile("sgd", fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True))
            loss = model.test_on_batch(np.load(made.images), labels)
            np.save(made.logits, np.array([loss], np.float32))
        return None, {}

    monkeypatch.setattr(footprint, "prepare", prepare)
    engines = [name for name in (OURS, "fastcnn-recompute") if task in ENGINES[name].tasks]
    run = Run()
    footprint.measure_memory(run, replace(SETTINGS, engines=engines, work=tmp_path), task)
    assert run.facts["memory of"] == str(case)
    assert not run.failures
    assert list(run.memory) == engines
    assert all(1e7 < peak < 1e9 for peak in run.memory.values())


# --- chart, program ------------------------------------------------------------------------------


def test_labels_of_the_chart_stay_inside_their_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    saves = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        saves(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    run = three()
    run.results += [result(name, 8, fastcnn=10.0, ort=35.0) for name in NETWORKS]
    run.results += [result("DenseNet121", 1, fastcnn=10.0, ort=9.9)]
    chart.draw(run, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
    (figure,) = figures
    assert len(figure.axes) == 2
    for axes in figure.axes:
        right = axes.get_window_extent().x1
        assert len(axes.texts) >= 3
        assert all(text.get_window_extent().x1 <= right for text in axes.texts)


def test_a_run_without_ratios_has_no_chart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        chart.draw(Run(results=[result(ort=1.0)]), tmp_path / "chart.png")


def test_the_program_shows_a_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three().save(tmp_path / "run.json")
    shown = ["--show", str(tmp_path / "run.json"), "--chart", str(tmp_path / "run.png")]
    assert main(shown) == 0
    assert capsys.readouterr().out == report.markdown(three())
    assert (tmp_path / "run.png").exists()


def test_a_run_is_shown_for_some_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(results=[result(fastcnn=1.0, ort=3.0, openvino=2.0)])
    run.save(tmp_path / "run.json")
    assert main(["--show", str(tmp_path / "run.json"), "--engines", "fastcnn", "ort"]) == 0
    shown = capsys.readouterr().out
    assert "ONNX Runtime | 3.00" in shown
    assert "OpenVINO" not in shown


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_one_of_fastcnns(name: str) -> None:
    ours, arguments = NETWORKS[name].ours or (name, {})
    model = applications.get(ours)(classifier_activation=None, **arguments)
    assert model.outputs[0].shape == (None, NETWORKS[name].classes)


def test_facts_name_every_engine_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "future", Engine("Future", "no-such-package", "fast", {}))
    facts = report.facts(replace(SETTINGS, engines=(OURS, "future")))
    assert facts["fastcnn"].startswith(f"fastcnn {fastcnn.__version__}: ")
    assert facts["Future"] == "no-such-package (not installed): fast"


def test_the_folder_for_files_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(footprint, "measure_cold", lambda run, settings: seen.append(settings.work))
    work = tmp_path / "a" / "b"
    assert main(["--cold", "--work", str(work)]) == 0
    assert seen == [work]
    assert work.is_dir()
