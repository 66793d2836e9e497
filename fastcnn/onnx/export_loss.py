# SPDX-License-Identifier: Apache-2.0
"""Softmax and its logarithm, along the last axis wherever that lies."""

from __future__ import annotations

from fastcnn.graph import Node
from fastcnn.onnx.export_graph import Emitter, GraphWriter
from fastcnn.ops.loss_softmax import LogSoftmax, Softmax


def softmax(g: GraphWriter, node: Node, op: Softmax | LogSoftmax) -> None:
    """Before opset 13 all axes from the given one on are normalised together: it must be last."""
    (x,) = node.inputs
    kind = "Softmax" if isinstance(op, Softmax) else "LogSoftmax"
    value = g.plain(x)
    last = x.ndim - 1
    if g.opset < 13 and value.order[last] != last:
        g.put(node.outputs[0], g.emit(kind, g.take(x), axis=last))
        return
    name = g.emit(kind, value.name, axis=value.order.index(last))
    g.put(node.outputs[0], name, value.order)


EMITTERS: dict[str, Emitter] = {Softmax.name: softmax, LogSoftmax.name: softmax}
