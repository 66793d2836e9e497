# SPDX-License-Identifier: Apache-2.0
"""Operators whose inputs have to be known while the model is drawn: they are only folded."""

from __future__ import annotations

from fastcnn.onnx.call import Call, Result
from fastcnn.onnx.operator import Check, Operator
from fastcnn.onnx.proto import DTYPES, NodeView, dtype_name
from fastcnn.onnx.value import Value


def when_known(call: Call) -> Result:
    """Asks for every input that is not known yet."""
    for index, found in enumerate(call.inputs):
        if isinstance(found, Value):
            call.array(index)
    raise AssertionError("a node whose inputs are all known is folded")


def numeric(attribute: str) -> Check:
    """A check that a dtype attribute is one of those that can be computed with."""

    def check(node: NodeView, constants: object) -> str:
        value = node.attributes.get(attribute, 1)
        return "" if value in DTYPES else f"{attribute}={dtype_name(value)}"

    return check


OPERATORS = {
    "Constant": Operator(when_known, "value value_float value_floats value_int value_ints"),
    "ConstantOfShape": Operator(when_known, "value"),
    "Mod": Operator(when_known, "fmod"),
    "Range": Operator(when_known),
}
