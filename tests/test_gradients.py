# SPDX-License-Identifier: Apache-2.0
"""Every op's gradient in float64 on the references, against central finite differences."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from cases import CASES
from cases.case import Case
from fastcnn import ops
from fastcnn.autodiff import evaluate, gradients
from fastcnn.drawing import add_node
from fastcnn.errors import NotDifferentiableError
from fastcnn.graph import placeholder
from fastcnn.ops.registry import BY_NAME

Array = np.ndarray[Any, Any]
STEP = 1e-6
PROBES = 24  # elements of each input that are checked


def carries_gradient(case: Case, index: int, dtype: str) -> bool:
    return dtype == "float64" and (case.outputs is None or index in case.outputs)


def scalar_of(case: Case, arrays: list[Array], weights: list[Array]) -> float:
    """Sum of the float outputs, weighted so that no two elements can cancel by symmetry."""
    results = differentiable_outputs(case, arrays)
    return float(sum((r * w).sum() for r, w in zip(results, weights, strict=True)))


def differentiable_outputs(case: Case, arrays: list[Array]) -> list[Array]:
    results = execute(case.op, arrays)
    return [r for i, r in enumerate(results) if carries_gradient(case, i, r.dtype.name)]


def symbolic_gradients(case: Case, arrays: list[Array], weights: list[Array]) -> list[Any]:
    leaves = [placeholder(a.shape, a.dtype.name, f"input_{i}") for i, a in enumerate(arrays)]
    node = add_node(case.op, leaves)
    outputs = [t for t in node.outputs if carries_gradient(case, t.index, t.dtype)]
    total = None
    for tensor, weight in zip(outputs, weights, strict=True):
        term = ops.sum(ops.multiply(tensor, weight))
        total = term if total is None else ops.add(total, term)
    found = gradients(total, leaves)
    values = iter(
        evaluate(
            [g for g in found if g is not None], dict(zip(leaves, arrays, strict=True)), execute
        )
    )
    return [None if g is None else next(values) for g in found]


def execute(op: Any, arrays: Any) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        results = op.reference(*arrays)
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("case", [c for c in CASES if c.differentiable], ids=lambda case: case.id)
def test_gradient_equals_finite_differences(case: Case) -> None:
    rng = np.random.default_rng(zlib.crc32(case.id.encode()) + 1)
    arrays = [np.asarray(a, order="C") for a in case.make(rng)]
    weights = [rng.standard_normal(r.shape) for r in differentiable_outputs(case, arrays)]
    found = symbolic_gradients(case, arrays, weights)
    floats = [i for i, a in enumerate(arrays) if a.dtype == np.float64]
    assert any(found[i] is not None for i in floats), "no gradient reaches any input"
    for i in floats:
        check_input(case, arrays, weights, i, found[i], rng)


def check_input(
    case: Case, arrays: list[Array], weights: list[Array], i: int, found: Any, rng: Any
) -> None:
    flat = arrays[i].reshape(-1)
    gradient = np.zeros(arrays[i].shape) if found is None else found
    assert gradient.shape == arrays[i].shape
    for position in rng.permutation(flat.size)[:PROBES]:
        value = flat[position]
        step = STEP * max(1.0, abs(value))
        flat[position] = value + step
        above = scalar_of(case, arrays, weights)
        flat[position] = value - step
        below = scalar_of(case, arrays, weights)
        flat[position] = value
        numeric = (above - below) / (2 * step)
        exact = gradient.reshape(-1)[position]
        assert exact == pytest.approx(numeric, rel=2e-5, abs=2e-6), f"input {i}, element {position}"


def test_ops_without_gradient_say_so() -> None:
    """An op is checked against differences, or refuses to be differentiated in one sentence."""
    checked = {case.op.name for case in CASES if case.differentiable}
    for name in sorted(set(BY_NAME) - checked):
        case = next(c for c in CASES if c.op.name == name)
        arrays = [np.asarray(a, order="C") for a in case.make(np.random.default_rng(0))]
        node = add_node(case.op, [placeholder(a.shape, a.dtype.name) for a in arrays])
        with pytest.raises(NotDifferentiableError, match="has no gradient"):
            case.op.gradient(node, *node.outputs)
