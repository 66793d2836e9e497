# SPDX-License-Identifier: Apache-2.0
"""The benchmarks fit today's library: each class of the quick modules runs its first case."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn

FOLDER = Path(__file__).parent.parent / "benchmarks"
MODULES = sorted(p.stem for p in (FOLDER / "benchmarks").glob("bench_*.py"))
QUICK = ("bench_eager", "bench_kernels", "bench_predict", "bench_train", "bench_zoo")


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> Any:
    from fastcnn.backends import threads

    before = threads.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    yield
    threads.set_num_threads(before)


def classes_of(name: str) -> list[type]:
    module = importlib.import_module(f"benchmarks.{name}")
    found = [v for v in vars(module).values() if isinstance(v, type)]
    return [c for c in found if c.__module__ == module.__name__ and not c.__name__.startswith("_")]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_measures_something(name: str) -> None:
    prefixes = ("time_", "timeraw_", "peakmem_", "track_")
    methods = [m for c in classes_of(name) for m in dir(c) if m.startswith(prefixes)]
    assert methods


@pytest.mark.parametrize("name", QUICK)
def test_the_first_case_of_every_class_runs(name: str) -> None:
    for cls in classes_of(name):
        params = getattr(cls, "params", [])
        params = params if params and isinstance(params[0], (list, tuple)) else [params]
        first = [values[0] for values in params if values]
        benchmark = cls()
        if hasattr(benchmark, "setup"):
            benchmark.setup(*first)
        for method in dir(benchmark):
            if method.startswith(("time_", "track_")):
                getattr(benchmark, method)(*first)


def test_convolutions_are_timed_as_predictions_and_steps_compute_them(monkeypatch: Any) -> None:
    from benchmarks import kernels

    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    names = {
        "resnet_56_3x3x64x64": "winograd_conv2d",
        "resnet_14_1x1x1024x256": "packed_conv2d",
        "mobilenet_14_3x3x512": "fused_depthwise_conv2d",
        "grad_input_resnet_56_3x3x64x64": "transform_filters + winograd_conv2d",
        "grad_kernel_resnet_56_3x3x64x64": "winograd_conv2d_grad_kernel",
        "grad_input_resnet_14_1x1x1024x256": "pack_exchanged_filters + packed_conv2d_grad_input",
        "grad_kernel_resnet_14_1x1x1024x256": "conv2d_grad_kernel_packed",
        "trained_resnet_32_b32_3x3x3x64": "pack_filters + packed_conv2d",
        "trained_densenet_28_b8_3x3x128x32": "transform_filters + winograd_conv2d",
        "grad_input_resnet_7_b16_3x3x512x512": "winograd_train_conv2d",
        "grad_input_resnext_56_b8_3x3x128_g32": "conv2d_grad_input_turned",
    }
    assert {case: kernels.plan_of(case, "scalar").kernel for case in names} == names


def test_padding_is_left_out_of_what_is_counted() -> None:
    from benchmarks import kernels

    counted = {
        case: kernels.plan_of(case, "scalar").flops
        for case in ("cifar_8_b32_3x3x64x64", "grad_kernel_cifar_8_b32_3x3x64x64")
    }
    pairs = (3 * 8 - 2) ** 2  # of a pixel of the input and one of the output
    assert set(counted.values()) == {2 * 32 * pairs * 64 * 64}


def test_a_tensor_that_no_layer_has_is_refused() -> None:
    from benchmarks import kernels

    layer = kernels.conv((1, 4, 4, 8), (3, 3, 8, 8))
    with pytest.raises(ValueError, match="'winograd' is wanted; there are predicted, trained"):
        kernels.plan_of_use(kernels.Use(layer, "winograd"), "scalar")


def test_every_shape_of_layer_of_the_networks_is_timed() -> None:
    from benchmarks import zoo

    assert "Dense_25088_4096" in zoo.layers("Dense")
    assert "MaxPooling2D_112x112x64_3x3_s2x2_p1" in zoo.layers(*zoo.POOLINGS)
    assert "MaxPooling2D_56x56x192_3x3_s2x2_ceil" in zoo.layers(*zoo.POOLINGS)
    found = {node.op.name for node in zoo.blocks().values()}
    assert found == {"fused_separable_conv2d"}
    kinds = {"Conv2D", "DepthwiseConv2D", "Dense", *zoo.POOLINGS}
    cheap = {"Activation", "BatchNormalization", "ChannelShuffle", "Dropout", "Flatten"}
    assert {leaf.kind for name in zoo.NAMES for leaf in zoo.drawn(name)} == kinds | cheap


@pytest.mark.parametrize("tuned", [False, True])
def test_what_saliency_is_measured_against_is_the_same_gradient(tuned: bool) -> None:
    module = importlib.import_module("saliency")
    model = fastcnn.applications.ResNet20()
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    scores, back = module.floor(model, x, tuned)()
    expected = fastcnn.explain.saliency(model, x, module.TARGET, None)
    np.testing.assert_allclose(back, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(scores, fastcnn.explain.scores(model, x), rtol=1e-4)


def test_runs_are_timed_in_turn() -> None:
    module = importlib.import_module("saliency")
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = module.interleaved(runs, 3)
    assert "".join(order) == "ab" * 4  # the first turn plans
    assert [len(taken) for taken in seconds.values()] == [3, 3]


def test_algorithms_are_told_for_every_direction_of_every_layer(monkeypatch: Any) -> None:
    """By name and share of the peak; nothing is measured here."""
    import algorithms
    from benchmarks import kernels

    monkeypatch.delenv("FASTCNN_EXACT", raising=False)
    monkeypatch.setattr(kernels, "measure", lambda *given: kernels.Measured(1.0, given[0].flops))
    small = [case for case in algorithms.CASES if case.layer.x[0] == 1]
    found = {case.name: algorithms.cells(case, "scalar", 1, 1) for case in small}
    first = "space_to_depth + winograd_conv2d: **100 %** (75-85)"
    assert found["7x7 / 2, 224, 3 to 64"][:2] == [first, "none"]
    assert found["3x3, 56, 64 to 64"][0] == "winograd_conv2d: **100 %** (180-230)"
    backward = "transform_filters + winograd_conv2d: **100 %** (180-230)"
    assert found["3x3, 56, 64 to 64"][1] == backward
    weights = 4 * (4096 * 4096 + 3 * 4096)  # and input, bias, output
    assert found["dense, 4096 to 4096"][0].endswith(f"**{weights / 1e9:.1f} GB/s** (bandwidth)")
    assert len({case.name for case in algorithms.CASES}) == len(algorithms.CASES)


def test_layers_of_builds_are_read() -> None:
    import builds

    assert builds.parsed("predicted:1,8,8,4:3,3,2,6") == (
        "predicted",
        (1, 8, 8, 4),
        (3, 3, 2, 6),
        1,
    )
    assert builds.parsed("trained:1,8,8,4:1,1,4,6:2")[-1] == 2
    for wrong in ("predicted:1,8,8,4", "predicted:1,8,8:3,3,2,6", "predicted:1,8,8,4:3,3,2,6:1:1"):
        with pytest.raises(ValueError, match="values to unpack"):
            builds.parsed(wrong)


def test_a_layer_of_a_build_is_timed() -> None:
    import builds

    run, operations = builds.plan_of("predicted:1,8,8,4:3,3,2,6:2", "scalar")
    assert operations == 2 * 4 * 4 * 3 * 3 * 2 * 6
    seconds, share = builds.measure(run, operations, "scalar", threads=1)
    assert 0 < seconds < builds.SECONDS
    assert share > 0
