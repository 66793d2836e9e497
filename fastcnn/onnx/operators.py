# SPDX-License-Identifier: Apache-2.0
"""All operators by their ONNX names: each family's file ends with its dict, joined here."""

from __future__ import annotations

from fastcnn.onnx.operator import Operator
from fastcnn.onnx.operators_constant import OPERATORS as CONSTANT
from fastcnn.onnx.operators_conv import OPERATORS as CONV
from fastcnn.onnx.operators_dense import OPERATORS as DENSE
from fastcnn.onnx.operators_elementwise import OPERATORS as ELEMENTWISE
from fastcnn.onnx.operators_loss import OPERATORS as LOSS
from fastcnn.onnx.operators_norm import OPERATORS as NORM
from fastcnn.onnx.operators_pool import OPERATORS as POOL
from fastcnn.onnx.operators_reduce import OPERATORS as REDUCE
from fastcnn.onnx.operators_resize import OPERATORS as RESIZE
from fastcnn.onnx.operators_shape import OPERATORS as SHAPE
from fastcnn.onnx.operators_slice import OPERATORS as SLICE
from fastcnn.onnx.operators_unary import OPERATORS as UNARY

FAMILIES = {
    "constant": CONSTANT,
    "conv": CONV,
    "dense": DENSE,
    "elementwise": ELEMENTWISE,
    "loss": LOSS,
    "norm": NORM,
    "pool": POOL,
    "reduce": REDUCE,
    "resize": RESIZE,
    "shape": SHAPE,
    "slice": SLICE,
    "unary": UNARY,
}
OPERATORS: dict[str, Operator] = {
    name: operator for family in FAMILIES.values() for name, operator in family.items()
}
