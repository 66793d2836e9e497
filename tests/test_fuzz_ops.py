# SPDX-License-Identifier: Apache-2.0
"""Ops on geometry that nobody thought of: kernels against the float64 reference.

What test_kernels does for listed cases, done here for drawn ones: guard bands, poisoned outputs and
scratch, and the same bits for other numbers of threads. Empty tensors are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cases.case import Array, Case, Make, normal
from cases.conv import Geometry
from cases.conv_packed import RELU6
from cases.conv_packed_grad import grad_input_case
from fastcnn.backends import isas
from fastcnn.backends import threads as threads_
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Op, Shape, Spec
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import (
    DepthwiseConv2D,
    DepthwiseConv2DGradInput,
    DepthwiseConv2DGradKernel,
)
from fastcnn.ops.dense import MatMul
from fastcnn.ops.elementwise_binary import Add, Divide, Maximum, Where
from fastcnn.ops.geometry import normalize_padding
from fastcnn.ops.loss import SoftmaxCrossEntropy
from fastcnn.ops.loss_softmax import LogSoftmax, Softmax, SoftmaxGrad
from fastcnn.ops.norm_batch import BatchNormGrad, BatchNormTrain
from fastcnn.ops.norm_group import GroupNorm, GroupNormGrad, LayerNorm, LayerNormGrad
from fastcnn.ops.norm_local import LocalResponseNorm, LocalResponseNormGrad
from fastcnn.ops.pool_adaptive import (
    AdaptiveAvgPool2D,
    AdaptiveAvgPool2DGrad,
    AdaptiveMaxPool2D,
    AdaptiveMaxPool2DGrad,
)
from fastcnn.ops.pool_average import AvgPool2D, AvgPool2DGrad
from fastcnn.ops.pool_max import MaxPool2D, MaxPool2DGrad, MaxUnpool2D, MaxUnpool2DGrad
from fastcnn.ops.reduce import (
    Argmax,
    ReduceExtremumGrad,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
)
from fastcnn.ops.shape import BroadcastTo, ChannelShuffle, Transpose
from fastcnn.ops.shape_join import Concat, Pad, Slice
from fastcnn.ops.shape_resize import (
    ResizeBilinear,
    ResizeBilinearGrad,
    ResizeNearest,
    ResizeNearestGrad,
)
from test_kernels import Runner, assert_close, expected, inputs_of

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 20, 31, 32, 33, 40, 65]


class Draw:
    """Numbers from hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def whole(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def of(self, choices: Sequence[Any]) -> Any:
        return choices[self.whole(0, len(choices) - 1)]

    def size(self, most: int = 65, least: int = 1) -> int:
        """Sizes around vectors and tiles; rarely 0 where `least` allows."""
        if least == 0 and self.whole(0, 15) == 7:
            return 0
        return self.of([s for s in SIZES if s <= most])

    def shape(self, low: int, high: int, most: int = 2000, least: int = 0) -> Shape:
        """A shape of rank `low` to `high` with at most `most` elements."""
        shape: list[int] = []
        for _ in range(self.whole(low, high)):
            room = most // max(int(np.prod(shape)), 1)
            shape.append(self.size(max(room, 1), least))
        return tuple(shape)

    def padding(self, most: int) -> Any:
        form = self.of(["valid", "same", "same_lower", "number", "sides"])
        if form == "number":
            return self.whole(0, most)
        if form == "sides":
            return tuple((self.whole(0, most), self.whole(0, most)) for _ in range(2))
        return form


def special(shape: Shape) -> Make:
    """Few distinct values, so there are ties, with NaN and infinities among them."""

    def make(rng: np.random.Generator) -> list[Array]:
        x = rng.integers(-2, 3, shape).astype(np.float64)
        for value in (np.nan, -np.inf, np.inf):
            x[rng.random(shape) < 0.05] = value
        return [x]

    return make


def image(draw: Draw, channels: int, most: int = 20) -> tuple[int, int, int, int]:
    return draw.size(3, 0), draw.size(most), draw.size(most), channels


def convolutions(draw: Draw) -> Iterator[Case]:
    depthwise = draw.of([False, True])
    groups = 1 if depthwise else draw.of([1, 1, 2, 3, 8])
    C = draw.size(33) * groups
    x = image(draw, C, 33 if C < 8 else 17)
    taps = draw.whole(1, 5), draw.whole(1, 5)
    fields: dict[str, Any] = {
        "strides": (draw.whole(1, 5), draw.whole(1, 5)),
        "padding": normalize_padding(draw.padding(6)),
        "dilations": (draw.of([1, 1, 2, 3, 9]), draw.of([1, 1, 2, 4, 7])),
    }
    make_ops: tuple[Any, Any, Any]
    if depthwise:
        make_ops = DepthwiseConv2D, DepthwiseConv2DGradInput, DepthwiseConv2DGradKernel
        kernel = (*taps, C, draw.of([1, 1, 2, 3]))
    else:
        make_ops = Conv2D, Conv2DGradInput, Conv2DGradKernel
        kernel = (*taps, C // groups, draw.size(40) * groups)
        fields["groups"] = groups
        geometry = Geometry(x, taps, kernel[3], **fields)
        yield grad_input_case(geometry, True, RELU6, draw.of([False, True]))
    y = make_ops[0](**fields).infer(Spec(x), Spec(kernel)).sizes
    yield Case(make_ops[0](**fields), normal(x, kernel), 1e-5)
    yield Case(make_ops[1](input_size=x[1:3], **fields), normal(y, kernel), 1e-5)
    yield Case(make_ops[2](kernel_size=taps, **fields), normal(x, y), 1e-5)


def pools(draw: Draw) -> Iterator[Case]:
    shape = image(draw, draw.size(33))
    window = draw.whole(1, 7), draw.whole(1, 7)
    strides = draw.whole(1, 8), draw.whole(1, 8)
    padding, ceil = normalize_padding(draw.padding(3)), draw.of([False, True])
    largest = MaxPool2D(window, strides, padding, ceil)
    spec = Spec(shape, "float64")
    small = largest.output_spec(spec).sizes
    pads = largest.pads(spec)
    yield Case(largest, special(shape), 0.0)
    yield Case(MaxPool2DGrad(shape[1:3], window, strides, pads), won(largest, shape))
    for padded in (False, True):
        yield Case(AvgPool2D(window, strides, padding, ceil, padded), normal(shape))
        yield Case(AvgPool2DGrad(shape[1:3], window, strides, pads, padded), normal(small))


def won(op: MaxPool2D | AdaptiveMaxPool2D, shape: Shape) -> Make:
    """dy, and the winners of ties and NaN."""

    def make(rng: np.random.Generator) -> list[Array]:
        y, index = op.reference(*special(shape)(rng))
        return [rng.standard_normal(y.shape), index]

    return make


def adaptive_pools(draw: Draw) -> Iterator[Case]:
    shape, out = image(draw, draw.size(33)), (draw.size(9), draw.size(9))
    small, plane = (shape[0], *out, shape[3]), shape[1] * shape[2]
    largest = AdaptiveMaxPool2D(out)
    yield Case(AdaptiveAvgPool2D(out), normal(shape))
    yield Case(AdaptiveAvgPool2DGrad(shape[1:3]), normal(small))
    yield Case(largest, special(shape), 0.0)
    yield Case(AdaptiveMaxPool2DGrad(shape[1:3]), won(largest, shape))

    def with_positions(first: Shape) -> Make:
        return lambda rng: [
            rng.standard_normal(first),
            rng.integers(-1, plane + 1, small).astype(np.int32),
        ]

    yield Case(MaxUnpool2D(shape[1:3]), with_positions(small), 0.0)
    yield Case(MaxUnpool2DGrad(), with_positions(shape), 0.0)


def reductions(draw: Draw) -> Iterator[Case]:
    shape = draw.shape(1, 5, draw.of([100, 5000, 60000]))
    axes = tuple(i for i in range(len(shape)) if draw.of([False, True]))
    keepdims = draw.of([False, True])
    for op in (ReduceSum, ReduceMean):
        yield Case(op(axes, keepdims), normal(shape), 2e-5)
    assume(0 not in [shape[i] for i in axes])
    for extremum in (ReduceMax, ReduceMin):
        yield Case(extremum(axes, keepdims), special(shape), 0.0)
    for values in (normal(shape), special(shape)):
        yield Case(ReduceExtremumGrad(axes), extremes(axes, keepdims, values), 0.0)
    axis = draw.whole(0, len(shape) - 1)
    assume(shape[axis])
    yield Case(Argmax(axis), special(shape), 0.0)


def extremes(axes: tuple[int, ...], keepdims: bool, values: Make) -> Make:
    def make(rng: np.random.Generator) -> list[Array]:
        (x,) = values(rng)
        x = x.astype(np.float32).astype(np.float64)
        y = ReduceMax(axes, keepdims).reference(x)
        return [rng.standard_normal(y.shape), x, y]

    return make


def norms(draw: Draw) -> Iterator[Case]:
    groups, shape = draw.of([1, 2, 3, 8]), draw.shape(1, 3, 700, 1)
    x = (*shape, draw.size(17) * groups)
    C, N = x[-1], x[0]

    def positive(*shapes: Shape) -> Make:
        """Means around 0 after the first ones, then positive spreads."""
        return lambda rng: [
            *(rng.standard_normal(s) for s in shapes[:-1]),
            rng.random(shapes[-1]) + 0.5,
        ]

    yield Case(BatchNormTrain(1e-3), normal(x, (C,), (C,)), 2e-5)
    yield Case(BatchNormGrad(1e-3), positive(x, x, (C,), (C,), (C,)), 1e-4)
    yield Case(GroupNorm(groups, 1e-3), normal(x, (C,), (C,)), 2e-5)
    yield Case(GroupNormGrad(), positive(x, x, (C,), (N, groups), (N, groups)), 1e-4)
    rank = draw.whole(1, len(x) - 1)
    features, rows = x[-rank:], x[:-rank]
    yield Case(LayerNorm(rank, 1e-3), normal(x, features, features), 2e-5)
    yield Case(LayerNormGrad(), positive(x, x, features, rows, rows), 1e-4)
    local = draw.whole(1, 9), 0.5, 0.75, 2.0
    yield Case(LocalResponseNorm(*local), normal(x), 2e-5)
    yield Case(LocalResponseNormGrad(*local), normal(x, x), 2e-5)


def joins(draw: Draw) -> Iterator[Case]:
    shape = draw.shape(1, 5)
    rank, axis = len(shape), draw.whole(0, len(shape) - 1)
    parts = [(*shape[:axis], draw.size(33, 0), *shape[axis + 1 :]) for _ in range(draw.whole(1, 4))]
    yield Case(Concat(axis), normal(*parts), 0.0)
    begin = tuple(draw.whole(0, d) for d in shape)
    size = tuple(draw.whole(0, d - b) for d, b in zip(shape, begin, strict=True))
    yield Case(Slice(begin, size), normal(shape), 0.0)
    widths = tuple((draw.whole(0, 3), draw.whole(0, 3)) for _ in shape)
    yield Case(Pad(widths, 1.5), normal(shape), 0.0)
    order = draw.data.draw(st.permutations(range(rank)))
    yield Case(Transpose(tuple(order)), normal(shape), 0.0)
    yield Case(Transpose(tuple(order)), lambda rng: [rng.integers(0, 9, shape, np.uint8)], 0.0)
    thin = tuple(d if draw.of([False, True]) else 1 for d in shape)[draw.whole(0, rank) :]
    yield Case(BroadcastTo(shape), normal(thin), 0.0)
    groups = draw.of([1, 2, 3, 5])
    yield Case(ChannelShuffle(groups), normal((*shape[:-1], shape[-1] * groups)), 0.0)


def resizes(draw: Draw) -> Iterator[Case]:
    x = image(draw, draw.size(33), 12)
    size = draw.size(20), draw.size(20)
    y = (x[0], *size, x[3])
    yield Case(ResizeNearest(size), normal(x), 0.0)
    yield Case(ResizeNearestGrad(x[1:3]), normal(y), 1e-5)
    for corners in (False, True):
        yield Case(ResizeBilinear(size, corners), normal(x), 5e-6)
        yield Case(ResizeBilinearGrad(x[1:3], corners), normal(y), 1e-5)


def broadcasts(draw: Draw) -> Iterator[Case]:
    shape = draw.shape(0, 5, 5000)

    def thinner() -> Shape:
        kept = tuple(d if draw.of([False, True, True]) else 1 for d in shape)
        return kept[draw.of([0, 0, draw.whole(0, len(shape))]) :]

    def with_specials(*shapes: Shape) -> Make:
        return lambda rng: [special(s)(rng)[0] for s in shapes]

    for op in (Add(), Divide(), Maximum()):
        yield Case(op, with_specials(thinner(), thinner()), 1e-6)
    yield Case(Where(), with_specials(thinner(), thinner(), thinner()), 0.0)


def products(draw: Draw) -> Iterator[Case]:
    batch = draw.of([(), (), (draw.size(3, 0),), (2, draw.size(4))])
    M, N, D = draw.size(65, 0), draw.size(65, 0), draw.of([0, 1, 3, 16, 33, 255, 256, 257, 600])
    turned = draw.of([False, True]), draw.of([False, True])
    a = (*batch, *((D, M) if turned[0] else (M, D)))
    b = (N, D) if turned[1] else (D, N)
    yield Case(MatMul(*turned), normal(a, (*batch, *b)), 2e-5)
    if not turned[0]:
        yield Case(MatMul(*turned), normal(a, b), 2e-5)


def losses(draw: Draw) -> Iterator[Case]:
    x = (*draw.shape(1, 2, 300), draw.size(65))
    for op in (Softmax(), LogSoftmax()):
        yield Case(op, special(x), 5e-6)
        yield Case(op, normal(x), 5e-6)
    yield Case(SoftmaxGrad(), normal(x, x), 5e-6)
    if len(x) == 2:
        yield Case(SoftmaxCrossEntropy(draw.of([0.0, 0.1])), normal(x, x), 1e-5)


FAMILIES: list[Callable[[Draw], Iterator[Case]]] = [
    convolutions,
    pools,
    adaptive_pools,
    reductions,
    norms,
    joins,
    resizes,
    broadcasts,
    products,
    losses,
]


@pytest.fixture(autouse=True, scope="module")
def restore_threads() -> Any:
    threads = threads_.get_num_threads()
    yield
    threads_.set_num_threads(threads)


def check(case: Case, isas: Sequence[str], others: Sequence[int]) -> None:
    """All instruction sets against the reference, other teams against one thread."""
    op: Op = case.op
    double, single = inputs_of(case)
    where = f"{op} on {[a.shape for a in single]}"
    wanted = expected(case, double)
    for isa in isas:
        runner = Runner(case, single, isa)
        results = runner.run(1)
        for found, want, spec in zip(results, wanted, runner.outputs, strict=True):
            assert found.shape == want.shape == spec.shape, where
            try:
                assert_close(found, want, case.tolerance, case.elementwise)
            except AssertionError as error:
                raise AssertionError(f"{where}, {isa}: {error}") from None
        for threads in others:
            for one, many in zip(results, runner.run(threads), strict=True):
                assert one.tobytes() == many.tobytes(), f"{where}, {isa}: {threads} threads"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_kernels_on_drawn_geometry(family: Any, data: st.DataObject) -> None:
    draw = Draw(data)
    isa, threads = draw.of(isas.available_isas()), draw.of([2, 3, 7])
    cases = family(draw)
    while True:
        try:
            case = next(cases)
        except StopIteration:
            return
        except (ArgumentError, ShapeError):
            assume(False)
        check(case, [isa], [threads])
