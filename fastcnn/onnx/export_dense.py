# SPDX-License-Identifier: Apache-2.0
"""Matrix products as Gemm and MatMul."""

from __future__ import annotations

from fastcnn.graph import Node, Tensor
from fastcnn.onnx.export_graph import Emitter, GraphWriter, as_drawn, flat_order
from fastcnn.ops.dense import MatMul


def matmul(g: GraphWriter, node: Node, op: MatMul) -> None:
    """Gemm where rows meet a fixed matrix, kept as (K, C) like PyTorch's; MatMul otherwise."""
    a, b = node.inputs
    if a.ndim == 2 and not op.transpose_a and g.fixed(a) is None and g.fixed(b) is not None:
        _dense(g, node, op)
        return
    left = g.take(a, _order(a, op.transpose_a))
    right = g.take(b, _order(b, op.transpose_b))
    g.put(node.outputs[0], g.emit("MatMul", left, right))


def _order(tensor: Tensor, transposed: bool) -> tuple[int, ...]:
    rank = tensor.ndim
    return (*range(rank - 2), rank - 1, rank - 2) if transposed else as_drawn(rank)


def _dense(g: GraphWriter, node: Node, op: MatMul) -> None:
    """Maps that were flattened channels first are met by columns in the same order."""
    x, kernel = node.inputs
    value = g.value(x)
    output, bias = g.bias_after(node)
    array = g.fixed(kernel)
    if value.maps and array is not None:
        by_filter = array if op.transpose_b else array.T
        weight = g.store(g.name_of_fixed(kernel), by_filter[:, flat_order(value.maps)])
        name = value.name
    else:
        weight = g.take(kernel, (0, 1) if op.transpose_b else (1, 0))
        name = g.take(x)
    g.put(output, g.emit("Gemm", name, weight, *bias, transB=1))


EMITTERS: dict[str, Emitter] = {MatMul.name: matmul}
