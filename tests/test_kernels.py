# SPDX-License-Identifier: Apache-2.0
"""The checkasm: every kernel of every instruction set against the float64 reference.

Outputs and scratch start as NaN patterns, guard bands lie on both sides of every tensor, bases are
off the vector alignment, and 1, 2, 3 and all threads must give the same bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cases import CASES
from cases.case import Case
from fastcnn import storage
from fastcnn.backends import _cpu, cpu, isas
from fastcnn.backends import threads as threads_
from fastcnn.backends.calls import Call, Slot
from fastcnn.graph import infer, spec_of
from fastcnn.ops.registry import BY_NAME, MISSING

Array = np.ndarray[Any, Any]
GUARD = 96  # bytes on each side
PATTERN = 0xFF  # every float of this pattern is a NaN


def start_of(dtype: str) -> int:
    """Where a payload begins in its block: one element off a boundary of vectors, 4 bytes or 8."""
    return GUARD + max(4, np.dtype(dtype).itemsize)


def guarded(slot: Slot) -> Array:
    """A poisoned block with room for the slot and for bands on both sides of it."""
    block = storage.aligned_empty(slot.offset + slot.nbytes + GUARD)
    block.fill(PATTERN)
    return block


def payload(block: Array, slot: Slot) -> Array:
    return block[slot.offset : slot.offset + slot.nbytes]


def inputs_of(case: Case) -> tuple[list[Array], list[Array]]:
    """The case's inputs in float64, rounded to float32 first, and in float32."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    made = [np.asarray(a, order="C") for a in case.make(rng)]
    with np.errstate(over="ignore"):
        single = [a.astype(np.float32) if a.dtype == np.float64 else a for a in made]
    double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in single]
    return double, single


def expected(case: Case, double: list[Array]) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        results = case.op.reference(*double)
    return results if isinstance(results, tuple) else (results,)


class Runner:
    """One case on one instruction set with guarded tensors; every candidate kernel in turn.

    With `apart`, pixels lie so many elements further apart wherever the op says that they may.
    """

    def __init__(self, case: Case, single: list[Array], isa: str, apart: int = 0) -> None:
        self.backend = cpu.backend(isa)
        specs = [spec_of(a) for a in single]
        self.outputs = infer(case.op, specs)
        self.inputs = single
        slots = [
            Slot(i, start_of(s.dtype), s.sizes, s.dtype)
            for i, s in enumerate((*specs, *self.outputs))
        ]
        n = len(specs)
        for number, slot in enumerate(slots if apart else []):
            strided = (
                number in case.op.strided_inputs
                if number < n
                else case.op.strided_output(number - n, *specs)
            )
            if strided:
                slots[number] = slot._replace(ld=slot.shape[-1] + apart)
        self.call = Call(
            case.op.name,
            case.op.attributes(*specs),
            tuple(slots[:n]),
            tuple(slots[n:]),
            case.op.reference,
        )

    def run(self, threads: int, shared: Mapping[int, int] | None = None) -> list[Array]:
        """Outputs on so many threads; `shared` maps a tensor to the input whose memory it takes."""
        threads_.set_num_threads(threads)
        program = self.backend.compile([self.call])
        program.poison_scratch()
        blocks = []
        for number, slot in enumerate((*self.call.inputs, *self.call.outputs)):
            block = guarded(slot)
            if number < len(self.inputs):
                slot.view(block)[...] = self.inputs[number]
            blocks.append(block)
        for number, source in (shared or {}).items():
            blocks[number] = blocks[source]
        for number, block in enumerate(blocks):
            program.bind(number, block)
        program.run()
        self._check_guards(blocks, overwritten=set((shared or {}).values()))
        return [
            slot.view(block).copy()
            for block, slot in zip(blocks[len(self.inputs) :], self.call.outputs, strict=True)
        ]

    def _check_guards(self, blocks: list[Array], overwritten: set[int]) -> None:
        slots = (*self.call.inputs, *self.call.outputs)
        for number, (block, slot) in enumerate(zip(blocks, slots, strict=True)):
            before = block[: slot.offset]
            after = block[slot.offset + slot.nbytes :]
            assert (before == PATTERN).all(), f"tensor {number}: written before its start"
            assert (after == PATTERN).all(), f"tensor {number}: written past its end"
            if slot.ld:
                pixels = payload(block, slot).view(np.uint8)
                around = np.resize(pixels, (pixels.size // (4 * slot.ld), 4 * slot.ld))
                between = around[:, 4 * slot.shape[-1] :]
                assert (between == PATTERN).all(), f"tensor {number}: written between its pixels"
            if number < len(self.inputs) and number not in overwritten:
                same = slot.view(block).tobytes() == self.inputs[number].tobytes()
                assert same, f"input {number} was overwritten"


@pytest.fixture(autouse=True)
def restore_threads() -> Any:
    threads = threads_.get_num_threads()
    yield
    threads_.set_num_threads(threads)


def assert_close(found: Array, wanted: Array, tolerance: float, elementwise: bool) -> None:
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite in it
        wanted = np.where(np.isinf(wanted.astype(np.float32)), np.copysign(np.inf, wanted), wanted)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    infinite = np.isinf(wanted)
    np.testing.assert_array_equal(found[infinite], wanted[infinite])
    finite = np.isfinite(wanted)
    if finite.any():
        scale = 0.0 if elementwise else np.abs(wanted[finite]).max()
        error = np.abs(found[finite].astype(np.float64) - wanted[finite])
        worst = (error / (np.abs(wanted[finite]) + scale + 1e-30)).max()
        assert worst <= tolerance, f"relative error {worst:.3g} is above {tolerance:.3g}"


@pytest.mark.parametrize("isa", isas.available_isas())
@pytest.mark.parametrize("case", [c for c in CASES if c.kernel], ids=lambda case: case.id)
def test_kernel_equals_reference(case: Case, isa: str) -> None:
    if case.op.name in MISSING["cpu"] or case.op.is_view:
        assert case.op.name not in {op for _, op, _ in cpu.backend(isa).kernels}
        return
    double, single = inputs_of(case)
    runner = Runner(case, single, isa)
    results = {threads: runner.run(threads) for threads in (1, 2, 3)}
    wanted = expected(case, double)
    assert len(wanted) == len(runner.outputs)
    for found, want, spec in zip(results[1], wanted, runner.outputs, strict=True):
        assert found.shape == want.shape == spec.shape
        assert_close(found, want, case.tolerance, case.elementwise)
    for threads in (2, 3):
        for one, many in zip(results[1], results[threads], strict=True):
            assert one.tobytes() == many.tobytes(), f"{threads} threads give other bits than 1"


@pytest.mark.parametrize("isa", isas.available_isas())
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.kernel and c.op.strided_inputs], ids=lambda case: case.id
)
def test_pixels_may_lie_apart(case: Case, isa: str) -> None:
    """As far as the op says: the same values, and nothing is written between the pixels."""
    double, single = inputs_of(case)
    found = Runner(case, single, isa, apart=5).run(2)
    for one, want in zip(found, expected(case, double), strict=True):
        assert_close(one, want, case.tolerance, case.elementwise)


@pytest.mark.parametrize("isa", isas.available_isas()[-1:])
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.op.inplace and not c.op.is_view], ids=lambda case: case.id
)
def test_in_place_gives_the_same_bits(case: Case, isa: str) -> None:
    """Pairs whose tensors are absent or differ in size are skipped, as a plan does."""
    _, single = inputs_of(case)
    runner = Runner(case, single, isa)
    apart = runner.run(2)
    inputs, outputs = runner.call.inputs, runner.call.outputs
    for output, source in case.op.inplace.items():
        if output >= len(outputs) or source >= len(inputs):
            continue
        if inputs[source].nbytes == outputs[output].nbytes:
            together = runner.run(2, {len(single) + output: source})
            for one, other in zip(apart, together, strict=True):
                assert one.tobytes() == other.tobytes(), f"output {output} over input {source}"


def test_every_op_has_a_kernel_or_is_listed_missing() -> None:
    for isa in isas.available_isas():
        served = {op for _, op, _ in cpu.backend(isa).kernels}
        kernels_wanted = {name for name, op in BY_NAME.items() if not op.is_view}
        assert kernels_wanted - served == MISSING["cpu"]


def test_every_kernel_serves_an_op_that_exists() -> None:
    for isa in isas.available_isas():
        assert {op for _, op, _ in cpu.backend(isa).kernels} <= set(BY_NAME)


def test_every_op_has_a_case() -> None:
    assert {case.op.name for case in CASES} == set(BY_NAME)


def test_case_names_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("isa", isas.available_isas())
def test_the_peak_probe_counts_its_operations(isa: str) -> None:
    lanes = _cpu.vector_floats(isa)
    assert _cpu.multiply_adds(isa, 7) == 7 * _cpu.multiply_adds(isa, 1)
    assert _cpu.multiply_adds(isa, 1) % (2 * lanes) == 0  # each lane multiplies and adds
