# SPDX-License-Identifier: Apache-2.0
"""Elementwise operations: they take their inputs in whatever order the axes lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastcnn.graph import Node, Tensor
from fastcnn.onnx.export_elementwise_activations import EMITTERS as ACTIVATIONS
from fastcnn.onnx.export_graph import TYPES, Emitter, GraphWriter, Order
from fastcnn.ops.elementwise import Cast, Identity, OneHot
from fastcnn.ops.elementwise_activations import PReLU
from fastcnn.ops.elementwise_binary import (
    Add,
    Divide,
    Equal,
    Greater,
    GreaterEqual,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    Where,
)
from fastcnn.ops.elementwise_unary import (
    Abs,
    Ceil,
    Clip,
    Erf,
    Exp,
    Floor,
    Log,
    Negative,
    Power,
    Reciprocal,
    Round,
    Rsqrt,
    Sign,
    Sqrt,
    Square,
)

UNARY = {
    Abs.name: ("Abs",),
    Ceil.name: ("Ceil",),
    Erf.name: ("Erf",),
    Exp.name: ("Exp",),
    Floor.name: ("Floor",),
    Log.name: ("Log",),
    Negative.name: ("Neg",),
    Reciprocal.name: ("Reciprocal",),
    Round.name: ("Round",),
    Rsqrt.name: ("Sqrt", "Reciprocal"),
    Sign.name: ("Sign",),
    Sqrt.name: ("Sqrt",),
}
BINARY = {
    Add.name: "Add",
    Divide.name: "Div",
    Maximum.name: "Max",
    Minimum.name: "Min",
    Multiply.name: "Mul",
    Subtract.name: "Sub",
}


def identity(g: GraphWriter, node: Node, op: Identity) -> None:
    """No node: another name for the same."""
    g.put_like(node.outputs[0], g.value(node.inputs[0]).name, node.inputs[0])


def unary(g: GraphWriter, node: Node, op: Any) -> None:
    """One node, or a chain of them."""
    (x,) = node.inputs
    name = g.value(x).name
    for kind in UNARY[op.name]:
        name = g.emit(kind, name)
    g.put_like(node.outputs[0], name, x)


def square(g: GraphWriter, node: Node, op: Square) -> None:
    """x times x."""
    (x,) = node.inputs
    name = g.value(x).name
    g.put_like(node.outputs[0], g.emit("Mul", name, name), x)


def power(g: GraphWriter, node: Node, op: Power) -> None:
    """Pow with a constant."""
    (x,) = node.inputs
    exponent = g.constant(op.exponent, x.dtype)
    g.put_like(node.outputs[0], g.emit("Pow", g.value(x).name, exponent), x)


def clip(g: GraphWriter, node: Node, op: Clip) -> None:
    """Clip; infinite bounds are left out."""
    (x,) = node.inputs
    bounds = [
        g.constant(bound, x.dtype) if math.isfinite(bound) else "" for bound in (op.x_min, op.x_max)
    ]
    g.put_like(node.outputs[0], g.emit("Clip", g.value(x).name, *bounds), x)


def cast(g: GraphWriter, node: Node, op: Cast) -> None:
    """Cast."""
    (x,) = node.inputs
    g.put_like(node.outputs[0], g.emit("Cast", g.value(x).name, to=TYPES[op.dtype]), x)


def one_hot(g: GraphWriter, node: Node, op: OneHot) -> None:
    """labels == class; ONNX's OneHot would count negative labels from the end."""
    (labels,) = node.inputs
    numbers = g.emit("Cast", g.take(labels), to=TYPES["int64"])
    classes = g.integers(range(op.num_classes), "classes")
    hit = g.emit("Equal", g.unsqueeze(numbers, [labels.ndim]), classes)
    g.put(node.outputs[0], g.emit("Cast", hit, to=TYPES[op.dtype]))


def operands(
    g: GraphWriter, tensors: Sequence[Tensor], rank: int
) -> tuple[list[str], Order, tuple[int, ...]]:
    """Names of inputs that broadcast, the order of the result, and its flattened maps."""
    computed = [t for t in tensors if g.fixed(t) is None]
    sizes = [array.size for t in tensors if (array := g.fixed(t)) is not None]
    if len(computed) == 1 and computed[0].ndim == rank and max(sizes, default=1) == 1:
        # Numbers do to flattened maps what they do to any.
        value = g.value(computed[0])
        names = [
            value.name if t is computed[0] else g.take_broadcast(t, value.order) for t in tensors
        ]
        return names, value.order, value.maps
    order = g.common_order(tensors, rank)
    return [g.take_broadcast(t, order) for t in tensors], order, ()


def binary(g: GraphWriter, node: Node, op: Any) -> None:
    """Arithmetic of two tensors."""
    names, order, maps = operands(g, node.inputs, node.specs[0].rank)
    g.put(node.outputs[0], g.emit(BINARY[op.name], *names), order, maps)


def compare(g: GraphWriter, node: Node, op: Equal | Greater | GreaterEqual) -> None:
    """A comparison, true and false as floats."""
    names, order, maps = operands(g, node.inputs, node.specs[0].rank)
    if isinstance(op, GreaterEqual):
        true = at_least(g, *names)
    else:
        true = g.emit("Equal" if isinstance(op, Equal) else "Greater", *names)
    output = node.outputs[0]
    g.put(output, g.emit("Cast", true, to=TYPES[output.dtype]), order, maps)


def at_least(g: GraphWriter, a: str, b: str) -> str:
    """a >= b as booleans."""
    if g.opset >= 12:
        return g.emit("GreaterOrEqual", a, b)
    return g.emit("Or", g.emit("Greater", a, b), g.emit("Equal", a, b))


def where(g: GraphWriter, node: Node, op: Where) -> None:
    """Where the mask is above zero."""
    names, order, maps = operands(g, node.inputs, node.specs[0].rank)
    mask = g.emit("Greater", names[0], g.constant(0, node.inputs[0].dtype))
    g.put(node.outputs[0], g.emit("Where", mask, *names[1:]), order, maps)


def prelu(g: GraphWriter, node: Node, op: PReLU) -> None:
    """PRelu."""
    names, order, maps = operands(g, node.inputs, node.specs[0].rank)
    g.put(node.outputs[0], g.emit("PRelu", *names), order, maps)


EMITTERS: dict[str, Emitter] = {
    Identity.name: identity,
    Cast.name: cast,
    Clip.name: clip,
    OneHot.name: one_hot,
    PReLU.name: prelu,
    Power.name: power,
    Square.name: square,
    Where.name: where,
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys((Equal.name, Greater.name, GreaterEqual.name), compare),
    **ACTIVATIONS,
}
