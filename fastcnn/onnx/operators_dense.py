# SPDX-License-Identifier: Apache-2.0
"""Matrix products: with a constant matrix a Dense layer, else the bare op."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import ShapeError
from fastcnn.graph import Array
from fastcnn.layers import Dense, Flatten
from fastcnn.onnx.call import Call
from fastcnn.onnx.operator import Operator
from fastcnn.onnx.value import Value, natural


def gemm(call: Call) -> Value:
    """Gemm: alpha A' B' + beta C, A' and B' transposed where asked for."""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    if call.is_constant(1) and not call.attribute("transA", 0) and _is_bias(call, 2):
        kernel = call.array(1).astype(call.drawing.dtype, copy=False)
        kernel = _scaled(kernel.T if call.attribute("transB", 0) else kernel, alpha)
        bias = None
        if call.has(2):
            bias = np.broadcast_to(beta * call.array(2).reshape(-1), kernel.shape[1:])
        return dense(call, call.floats(0), kernel, bias)
    a, b = call.floats(0).natural(), call.floats(1).natural()
    a = ops.transpose(a) if call.attribute("transA", 0) else a
    b = ops.transpose(b) if call.attribute("transB", 0) else b
    y = _scaled(ops.matmul(a, b), alpha)
    if call.has(2):
        y = ops.add(y, _scaled(call.floats(2).natural(), beta))
    return Value(y, (0, 1))


def _is_bias(call: Call, index: int) -> bool:
    """Whether an input is left out or one constant number per column (or one for all)."""
    if not call.has(index):
        return True
    return call.is_constant(index) and call.array(index).size == max(
        call.array(index).shape[-1:], default=1
    )


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else ops.multiply(x, factor)


def dense(call: Call, x: Value, kernel: Array, bias: Array | None) -> Value:
    """A Dense layer over the last axis; of a flattened image, the kernel's rows are moved."""
    if x.flat:
        image = x.tensor
        sizes = call.known([image.shape[x.order.index(a)] for a in range(1, len(x.order))])
        if math.prod(sizes) != kernel.shape[0]:
            raise ShapeError(
                f"{call.where}: found {sizes} before a matrix of {kernel.shape}, expected "
                "as many elements as rows; export the model again"
            )
        moves = [axis - 1 for axis in x.order[1:]]
        kernel = kernel.reshape(*sizes, -1).transpose(*moves, len(sizes)).reshape(kernel.shape)
        rows = call.layer(Flatten, image, name="flatten")
    else:
        rows = x.natural()
    arrays = {"kernel": kernel, **({} if bias is None else {"bias": bias})}
    y = call.layer(
        Dense,
        rows,
        arrays,
        units=kernel.shape[1],
        use_bias=bias is not None,
    )
    return Value(y, natural(x.rank))


def matmul(call: Call) -> Value:
    """MatMul: NumPy's, with vectors and broadcast batches."""
    if call.is_constant(1) and call.array(1).ndim == 2 and call.value(0).rank >= 2:
        kernel = call.array(1).astype(call.drawing.dtype)
        units = kernel.shape[1]
        bias = call.absorb("Add", lambda a: a.size == a.shape[-1] == units if a.ndim else False)
        return dense(call, call.floats(0), kernel, None if bias is None else bias.reshape(-1))
    a, b = call.floats(0).natural(), call.floats(1).natural()
    row, column = a.ndim == 1, b.ndim == 1
    a = ops.expand_dims(a, 0) if row else a
    b = ops.expand_dims(b, 1) if column else b
    y = ops.matmul(*_same_batch(call, a, b))
    y = ops.squeeze(y, -1) if column else y
    y = ops.squeeze(y, y.ndim - 1 if column else y.ndim - 2) if row else y
    return Value(y, natural(y.ndim))


def _same_batch(call: Call, a: Any, b: Any) -> tuple[Any, Any]:
    """Both with equal leading axes, or b a matrix."""
    if b.ndim == 2 or a.shape[:-2] == b.shape[:-2]:
        return a, b
    batch = np.broadcast_shapes(*(call.known(t.shape[:-2]) for t in (a, b)))
    wide = [
        t if t.shape[:-2] == batch else ops.broadcast_to(t, (*batch, *t.shape[-2:])) for t in (a, b)
    ]
    return wide[0], wide[1]


OPERATORS = {
    "Gemm": Operator(gemm, "alpha beta broadcast transA transB"),
    "MatMul": Operator(matmul),
}
