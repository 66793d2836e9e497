# SPDX-License-Identifier: Apache-2.0
"""How an operator is declared: the function that draws it, and what of it is understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from fastcnn.graph import Array
from fastcnn.onnx.call import Call, Result
from fastcnn.onnx.proto import NodeView

Draw = Callable[[Call], Result]
# Given a node and the constants by name: what of it is not supported, or "".
Check = Callable[[NodeView, "dict[str, Array]"], str]


def anything(node: NodeView, constants: dict[str, Array]) -> str:
    """No restriction."""
    return ""


@final
class Operator:
    """One operator of ONNX.

    Args:
        draw: makes the outputs.
        attributes: names of the attributes that are understood, separated by spaces.
        check: what cannot be done although its attributes are known.
        since: the first version of the operator set whose form is understood.
    """

    def __init__(
        self, draw: Draw, attributes: str = "", check: Check = anything, since: int = 1
    ) -> None:
        self.draw = draw
        self.attributes = frozenset(attributes.split())
        self.check = check
        self.since = since

    def problem(self, node: NodeView, opset: int, constants: dict[str, Array]) -> str:
        """What of `node` is not supported, or ""."""
        strange = sorted(set(node.attributes) - self.attributes)
        if strange:
            return f"attribute {', '.join(strange)}"
        if opset < self.since:
            return f"before operator set {self.since}"
        return self.check(node, constants)


def only(name: str, *allowed: Any) -> Check:
    """A check that an attribute has one of the values that exist here."""

    def check(node: NodeView, constants: dict[str, Array]) -> str:
        value = node.attributes.get(name, allowed[0])
        return "" if value in allowed else f"{name}={value!r}"

    return check
