# SPDX-License-Identifier: Apache-2.0
"""Every op as ONNX, against its reference: listed cases, and drawn windows."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import CASES
from cases.case import Case
from fastcnn import Input, Model, ops
from fastcnn.errors import ArgumentError, ShapeError, UnsupportedError
from fastcnn.graph import constant
from fastcnn.onnx.export_registry import EMITTERS, REASONS
from fastcnn.ops._apply import apply
from fastcnn.ops.registry import BY_NAME
from onnx_runs import (
    NEWEST,
    OPSETS,
    Array,
    agree,
    exported,
    kinds,
    run,
    runtime_opset,
    same,
    turned,
)

# Cases about values that engines treat in their own way (NaN and infinity), or that a file cannot
# describe: empty tensors, 64-bit inputs, positions without their pooling or outside of the plane.
UNFIT = ("special", "ties", "edges", "outliers", "offset", "int64", "(0,3)", "(2,0")
UNFIT += ("window_to_flat", "max_unpool2d")
# What ONNX's reference evaluator gets wrong: transposed convolution in groups, LRN.
NOT_IN_REFERENCE = ("conv2d_grad_input", "local_response_norm")
BY_PRODUCTS = ("adaptive_max_pool2d", "group_norm", "layer_norm", "max_pool2d")


def fit(case: Case) -> bool:
    return case.op.name in EMITTERS and not any(word in case.id for word in UNFIT)


def first(count: int) -> list[Case]:
    """The first cases of every op."""
    by_op: dict[str, list[Case]] = {}
    for case in filter(fit, CASES):
        by_op.setdefault(case.op.name, []).append(case)
    return [case for group in by_op.values() for case in group[:count]]


def check(case: Case, opset: int, layout: str, fixed: bool) -> None:
    """The op with all inputs fed, or with all but the first fixed, gives the reference's values."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    made = [np.asarray(a) for a in case.make(rng)]
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in made]
    fed = arrays[: 1 if fixed else len(arrays)]
    inputs = [
        Input(batch_shape=a.shape, dtype=a.dtype.name, name=f"x{i}") for i, a in enumerate(fed)
    ]
    outputs = apply(case.op, *inputs, *map(constant, arrays[len(fed) :]))
    expected = case.op.reference(*arrays)
    if case.op.name in BY_PRODUCTS:
        outputs, expected = outputs[0], expected[0]
    proto = exported(Model(inputs, outputs), opset=opset, layout=layout)
    given = [turned(a, layout) for a in fed]
    if opset <= runtime_opset():
        same(run(proto, given)[0], turned(np.asarray(expected), layout), 2e-5)
    if opset > 13 and case.op.name not in NOT_IN_REFERENCE:
        same(run(proto, given, "reference")[0], turned(np.asarray(expected), layout), 2e-5)


def test_every_op_is_exported_or_has_a_reason() -> None:
    assert EMITTERS.keys() | REASONS.keys() == BY_NAME.keys()
    assert not EMITTERS.keys() & REASONS.keys()


def test_every_emitter_has_a_case() -> None:
    apart = {"max_unpool2d", "window_to_flat"}  # only make sense behind a max_pool2d, see below
    assert {case.op.name for case in first(1)} == EMITTERS.keys() - apart


@pytest.mark.parametrize("fixed", [False, True], ids=["fed", "fixed"])
@pytest.mark.parametrize("case", first(3), ids=lambda case: case.id)
def test_ops(case: Case, fixed: bool) -> None:
    check(case, 17, "NHWC" if fixed else "NCHW", fixed)


@pytest.mark.parametrize("opset", [o for o in OPSETS if o != 17])
@pytest.mark.parametrize("case", first(1), ids=lambda case: case.id)
def test_ops_of_other_opsets(case: Case, opset: int) -> None:
    check(case, opset, "NCHW", True)


def random(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def one(shape: tuple[int | None, ...], function: Any, **arguments: Any) -> Any:
    """A model of one op."""
    x = Input(shape=shape, name="x")
    return Model(x, function(x, **arguments))


geometry = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
        "window": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.one_of(
            st.sampled_from(["valid", "same", "same_lower"]),
            st.integers(0, 2),
            st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
        ),
    }
)


def drawn(shape: tuple[int | None, ...], function: Any, **arguments: Any) -> Any:
    """As `one`, or None where the geometry is impossible."""
    try:
        return one(shape, function, **arguments)
    except (ShapeError, ArgumentError):
        return None


@settings(max_examples=60)
@given(geometry, st.sampled_from([1, 2]), st.sampled_from(["conv", "depthwise", "transpose"]))
def test_convolutions(drawing: dict[str, Any], dilation: int, kind: str) -> None:
    size, window = drawing["size"], drawing["window"]
    shared = {"strides": drawing["strides"], "padding": drawing["padding"]}
    shared["dilation_rate"] = dilation
    if kind == "conv":
        kernel = {"kernel": random(*window, 2, 6), "bias": random(6), "groups": 2}
        model = drawn((*size, 4), ops.conv2d, **kernel, **shared)
    elif kind == "depthwise":
        kernel = {"kernel": random(*window, 4, 2), "bias": random(8)}
        model = drawn((*size, 4), ops.depthwise_conv2d, **kernel, **shared)
    else:
        kernel = {"kernel": random(*window, 3, 4), "bias": random(3)}
        model = drawn((*size, 4), ops.conv2d_transpose, **kernel, **shared)
    if model is not None:
        agree(model, random(2, *size, 4), reference=False)


@settings(max_examples=60)
@given(geometry, st.booleans(), st.booleans(), st.sampled_from([11, 17, NEWEST]))
def test_pooling(drawing: dict[str, Any], ceil_mode: bool, counts: bool, opset: int) -> None:
    size, window = drawing["size"], drawing["window"]
    shared = {"strides": drawing["strides"], "padding": drawing["padding"], "ceil_mode": ceil_mode}
    for function, own in (
        (ops.max_pool2d, {}),
        (ops.max_pool2d, {"return_indices": True}),
        (ops.avg_pool2d, {"count_include_pad": counts}),
    ):
        model = drawn((*size, 3), function, pool_size=window, **shared, **own)
        if model is not None:
            agree(model, random(2, *size, 3), reference=False, opset=opset)


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=40)
@given(sizes, sizes)
def test_adaptive_pooling_and_resizing(size: tuple[int, int], outputs: tuple[int, int]) -> None:
    for function, arguments in (
        (ops.adaptive_avg_pool2d, {"output_size": outputs}),
        (ops.adaptive_max_pool2d, {"output_size": outputs}),
        (ops.resize, {"size": outputs, "interpolation": "nearest"}),
        (ops.resize, {"size": outputs}),
        (ops.resize, {"size": outputs, "align_corners": True}),
    ):
        agree(one((*size, 3), function, **arguments), random(2, *size, 3), reference=False)


@settings(max_examples=30)
@given(geometry, st.booleans())
def test_windows_over_sizes_left_open(drawing: dict[str, Any], ceil_mode: bool) -> None:
    size, window = drawing["size"], drawing["window"]
    shared = {"strides": drawing["strides"], "padding": drawing["padding"]}
    pool = {"pool_size": window, "ceil_mode": ceil_mode, **shared}
    for function, arguments in (
        (ops.conv2d, {"kernel": random(*window, 3, 4), **shared}),
        (ops.max_pool2d, pool),
        (ops.avg_pool2d, pool),
        (ops.avg_pool2d, {"count_include_pad": True, **pool}),
    ):
        # The geometry must be possible for the image that is fed.
        if drawn((*size, 3), function, **arguments) is None:
            continue
        model = one((None, None, 3), function, **arguments)
        if refused(model):
            agree(model, random(2, *size, 3), reference=False, input_shape=(2, *size, 3))
        else:
            agree(model, random(2, *size, 3), reference=False)


def refused(model: Any) -> bool:
    """Whether the export asks for known sizes."""
    try:
        exported(model)
    except UnsupportedError as error:
        return "give input_shape" in str(error)
    return False


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (ops.max_pool2d, {"pool_size": 2, "padding": 1, "strides": 2, "ceil_mode": True}),
        (ops.max_pool2d, {"pool_size": 2, "padding": ((0, 1), "same")}),
        (ops.conv2d, {"kernel": np.ones((3, 3, 3, 2), np.float32), "strides": 2}),
        (ops.adaptive_avg_pool2d, {"output_size": 3}),
        (ops.adaptive_avg_pool2d, {"output_size": 1}),
    ],
)
def test_open_sizes_are_only_refused_where_they_matter(function: Any, arguments: Any) -> None:
    model = one((None, None, 3), function, **arguments)
    wanted = "padding" in arguments or arguments.get("output_size") == 3
    assert refused(model) == wanted


def test_maxima_and_their_places() -> None:
    x = Input((6, 8, 3), name="x")
    y, places = ops.max_pool2d(x, 2, return_indices=True)
    back = ops.max_unpool2d(ops.multiply(y, 2.0), places, (6, 8))
    agree(Model(x, [back, places]), random(2, 6, 8, 3), reference=False)


def test_nearest_neighbours_that_are_equally_near_are_gathered() -> None:
    proto = agree(
        one((8, 8, 2), ops.resize, size=(4, 4), interpolation="nearest"), random(1, 8, 8, 2)
    )
    assert kinds(proto) == ["Gather", "Gather"]


def test_resizing_images_of_open_sizes() -> None:
    for name in ("nearest", "bilinear"):
        model = one((None, None, 2), ops.resize, size=(7, 5), interpolation=name)
        for opset in OPSETS:
            agree(model, random(2, 3, 4, 2), reference=False, opset=opset)


def test_shuffling_and_groups_of_open_sizes() -> None:
    for function in (
        lambda x: ops.channel_shuffle(x, 3),
        lambda x: ops.group_norm(x, random(6), random(6), 2),
    ):
        model = one((None, None, 6), function)
        proto = agree(model, random(2, 3, 4, 6))
        assert "Shape" in kinds(proto)
        assert "Shape" not in kinds(agree(one((3, 4, 6), function), random(2, 3, 4, 6)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((4, 6), (4, 1, 1, 6)),
        ((4, 1, 1, 6), (4, 6)),
        ((4, 1, 5, 6), (4, 5, 6)),
        ((4, 5, 6), (4, 1, 5, 6)),
        ((4, 5, 6), (4, 5, 1, 6)),
        ((4, 5, 6), (4, 5, 6, 1)),
        ((4, 2, 3, 6), (4, 6, 6)),
        ((4, 2, 3, 6), (4, 2, 18)),
        ((4, 2, 3, 6), (24, 6)),
        ((4, 2, 3, 6), (144,)),
        ((1, 2, 1, 6), (2, 6, 1, 1)),
        ((144,), (4, 2, 3, 6)),
        ((4, 6), (4, 6)),
    ],
)
def test_reshapes(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    x = Input(batch_shape=before, name="x")
    agree(Model(x, ops.reshape(ops.relu(x), after)), random(*before))


def test_units_come_and_go_without_turning_anything() -> None:
    def gate(x: Any) -> Any:
        """Squeeze-and-excitation: (N, C) back as (N, 1, 1, C)."""
        mean = ops.mean(x, (1, 2))
        scale = ops.sigmoid(ops.dense(mean, random(5, 5)))
        return ops.multiply(x, ops.expand_dims(ops.expand_dims(scale, 1), 1))

    proto = agree(one((4, 4, 5), gate), random(2, 4, 4, 5))
    assert "Transpose" not in kinds(proto)
    assert kinds(proto).count("GlobalAveragePool") == 1


def test_a_softmax_over_the_height_moves_nothing() -> None:
    proto = agree(one((4, 3, 5), ops.softmax, axis=1), random(2, 4, 3, 5))
    assert kinds(proto) == ["Softmax"]
    older = agree(one((4, 3, 5), ops.softmax, axis=1), random(2, 4, 3, 5), opset=11)
    assert kinds(older).count("Transpose") == 2
