# SPDX-License-Identifier: Apache-2.0
"""Reverse-mode gradients as graph: walk back from the output and let every op emit its own.

Rules put another derivative in the place of an op's own, for all nodes of its class: guided
back-propagation or relevances are the same walk. They are asked where an op's gradient would be, so
shared layers, branches and memory that is overwritten are none of their business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.drawing import scope_path
from fastcnn.errors import ArgumentError, NotDifferentiableError
from fastcnn.graph import Array, Node, Op, Parameter, Tensor, constant, placeholder
from fastcnn.graph import topological as _topological
from fastcnn.ops._apply import FLOATS, run

# A node and what arrives at its outputs (None: nothing) to what goes on to each of its inputs.
GradientRule = Callable[..., Sequence[Tensor | None]]
GradientRules = Mapping[type[Op], GradientRule]


def gradients(
    output: Tensor,
    wrt: Sequence[Tensor | Parameter],
    dy: Tensor | None = None,
    rules: GradientRules | None = None,
) -> list[Tensor | None]:
    """Symbolic gradients of `output` (its sum, unless `dy` of its shape is given).

    Args:
        output: a symbolic tensor of static shape.
        wrt: symbolic tensors or parameters.
        dy: gradient arriving at `output`; ones when None.
        rules: called as `rule(node, *dys)` in the place of `node.op.gradient(node, *dys)`, by class
            of op; other ops keep their own derivative.

    Returns:
        One tensor per entry of `wrt`, of its shape; None where `output` does not depend on it.

    Raises:
        NotDifferentiableError: an op on the way has no gradient.
    """
    targets = [w.tensor if isinstance(w, Parameter) else w for w in wrt]
    if output.dtype not in FLOATS:
        raise NotDifferentiableError(f"{output} is not a float tensor; differentiate a float one")
    order = _topological([output])
    on_path = _dependents(order, targets)
    sums: dict[Tensor, Tensor] = {}
    seed = constant(np.ones(output.spec.sizes, output.dtype)) if dy is None else dy
    _accumulate(sums, output, seed)
    for node in reversed(order):
        if id(node) in on_path and node.inputs:
            _propagate(node, sums, on_path, rules or {})
    return [sums.get(t) for t in targets]


def _dependents(order: Sequence[Node], targets: Sequence[Tensor]) -> set[int]:
    """Ids of the nodes whose value depends on a target."""
    found = {id(t.node) for t in targets}
    for node in order:
        if any(id(t.node) in found for t in node.inputs):
            found.add(id(node))
    return found


def _propagate(
    node: Node, sums: dict[Tensor, Tensor], on_path: set[int], rules: GradientRules
) -> None:
    dys = [sums.get(t) for t in node.outputs]
    if all(dy is None for dy in dys):
        return
    derivative = rules.get(type(node.op), node.op.gradient)
    with scope_path(node.layer):
        for tensor, dx in zip(node.inputs, derivative(node, *dys), strict=True):
            if dx is not None and id(tensor.node) in on_path:
                _accumulate(sums, tensor, dx)


def _accumulate(sums: dict[Tensor, Tensor], tensor: Tensor, dx: Tensor) -> None:
    sums[tensor] = ops.add(sums[tensor], dx) if tensor in sums else dx


def evaluate(
    tensors: Sequence[Tensor],
    feeds: Mapping[Tensor, Array],
    execute: Callable[[Op, Sequence[Array]], tuple[Array, ...]] = run,
) -> list[Array]:
    """Values of symbolic tensors, one node after the other; leaves are looked up in `feeds`."""
    values: dict[Tensor, Array] = dict(feeds)
    for node in _topological(tensors):
        if node.outputs[0] in values:
            continue
        if not node.inputs:
            leaf: Any = node.op
            values[node.outputs[0]] = leaf.value if hasattr(leaf, "value") else leaf.parameter.value
            continue
        results = execute(node.op, [values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [values[t] for t in tensors]


def gradient(fn: Callable[..., Tensor], *arrays: Any) -> list[Array]:
    """Gradients of `sum(fn(*arrays))` with respect to each array, at once.

    Args:
        fn: a function of symbolic tensors made of `fastcnn.ops`.
        arrays: float arrays; float64 runs on the references.

    Returns:
        One array per argument, of its shape; zeros where `fn` does not depend on it.
    """
    values = ops.as_operands(arrays)
    leaves = [placeholder(v.shape, v.dtype.name, f"argument_{i}") for i, v in enumerate(values)]
    function: Any = fn
    output = function(*leaves) if callable(function) else None
    if not isinstance(output, Tensor):
        raise ArgumentError(
            f"ops.gradient: found {fn!r}, expected a function that returns one symbolic tensor; "
            "compose fastcnn.ops of its arguments"
        )
    found = gradients(output, leaves)
    wanted = [g for g in found if g is not None]
    results = iter(evaluate(wanted, dict(zip(leaves, values, strict=True))))
    return [
        np.zeros_like(v) if g is None else next(results) for g, v in zip(found, values, strict=True)
    ]
