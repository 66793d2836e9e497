# SPDX-License-Identifier: Apache-2.0
"""The order in which a plan's nodes run: state is written behind a guard, and soon.

A gradient is taken by its update as soon as nobody needs the old weight any more, so that few
gradients are alive at a time; and weights are gone through from the last to the first, as gradients
come, so that what forward has kept is dropped layer by layer. An update of a list of weights comes
last, but the gradients that it waits for are made in their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Node, Parameter, Tensor, topological, view_root
from fastcnn.ops.elementwise import CheckFinite, Identity
from fastcnn.ops.update import Update

Updates = Sequence[tuple[Parameter, Tensor]]


def own_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs, with a copy wherever two would share memory with each other or with a leaf."""
    taken: set[Tensor] = set()
    owned = []
    for tensor in outputs:
        root = view_root(tensor)
        if not root.node.inputs or root in taken:
            tensor = _copy(tensor)
            root = tensor
        taken.add(root)
        owned.append(tensor)
    return owned


def _copy(tensor: Tensor) -> Tensor:
    return Node(Identity(), (tensor,), (tensor.spec,), tensor.node.layer).outputs[0]


class Schedule:
    """Nodes in running order, in three parts, so that a run stopped by the guard changed no state.

        early   all that outputs and guard read; then the guard itself
        late    all that updates read, each update as early as can be
        copies  new state that could not be made in its place

    `targets` maps the tensors that are written straight into a parameter to that parameter.
    """

    def __init__(self, outputs: Sequence[Tensor], updates: Updates, guard: Tensor | None) -> None:
        updates = [(p, _computed(t)) for p, t in _checked_updates(updates)]
        early = topological([*outputs, *([] if guard is None else [guard])])
        made = [t for _, t in reversed(updates)]
        roots = [*_in_turn(made), *made]
        late = _late(roots, early, _readers_before(updates, [*outputs, *made]))
        nodes = [node for node in early if node.inputs]
        if guard is not None:
            nodes.append(Node(CheckFinite(), (guard,), (), guard.node.layer))
        nodes += late
        place = {id(node): i for i, node in enumerate(late)}
        last_reads = _last_reads(late)
        self.targets: dict[Tensor, Parameter] = {}
        for parameter, tensor in updates:
            at = place.get(id(tensor.node), -1)
            read, inputs = last_reads.get(parameter.tensor, (-1, []))
            # Nobody may read the parameter's old value once the new one is made in its place.
            overwritten = at == read >= 0 and inputs == [tensor.node.op.inplace.get(tensor.index)]
            straight = at > read or overwritten
            straight = straight and tensor not in self.targets and not tensor.node.op.is_view
            self.targets[tensor if straight else _copy(tensor)] = parameter
        self.nodes = [*nodes, *(t.node for t in self.targets if id(t.node) not in place)]


def _in_turn(made: Sequence[Tensor]) -> Iterator[Tensor]:
    """What each piece of new state wants first: itself, or its own inputs in a list of weights."""
    for tensor in made:
        wanted = [tensor]
        while wanted:
            tensor = wanted.pop()
            node = tensor.node
            if isinstance(node.op, Update) and node.op.weights > 1:
                wanted += [node.inputs[i] for i in node.op.inputs_behind(tensor.index)]
            else:
                yield tensor


def _last_reads(nodes: Sequence[Node]) -> dict[Tensor, tuple[int, list[int]]]:
    """By memory: the place of the last node that reads it, and as which of its inputs."""
    found: dict[Tensor, tuple[int, list[int]]] = {}
    for place, node in enumerate(nodes):
        for index, tensor in enumerate(node.inputs):
            root = view_root(tensor)
            last, inputs = found.get(root, (-1, []))
            found[root] = place, [*(inputs if last == place else ()), index]
    return found


def _readers_before(updates: Updates, ends: Sequence[Tensor]) -> dict[int, list[Node]]:
    """By id of a node that makes new state: those that want the old one."""
    makers = {p.tensor: t.node for p, t in updates}
    found: dict[int, list[Node]] = {}
    for node in topological(ends):
        for tensor in node.inputs:
            maker = makers.get(view_root(tensor))
            if maker is not None and maker is not node:
                found.setdefault(id(maker), []).append(node)
    return found


def _late(
    roots: Iterable[Tensor], early: Sequence[Node], wait: Mapping[int, Sequence[Node]]
) -> list[Node]:
    """Ancestors of `roots` beside `early`: each behind its inputs and, if it can be, `wait`."""
    done = {id(node) for node in early}
    order: list[Node] = []
    entered: set[int] = set()
    for root in roots:
        stack: list[tuple[Node, int]] = [(root.node, 0)]
        while stack:
            node, position = stack.pop()
            if id(node) in done:
                continue
            entered.add(id(node))
            others = wait.get(id(node), ())
            if position < len(node.inputs) + len(others):
                stack.append((node, position + 1))
                reads = position < len(node.inputs)
                before = (
                    node.inputs[position].node if reads else others[position - len(node.inputs)]
                )
                if id(before) not in entered:
                    stack.append((before, 0))
                elif reads and id(before) not in done:
                    # It builds on new state whose maker waits for it: copies will have to do.
                    return _late(roots, early, {})
            else:
                done.add(id(node))
                order.append(node)
    return [node for node in order if node.inputs]


def _checked_updates(updates: Updates) -> Updates:
    """The updates, if each parameter is named once and takes a tensor of its own spec."""
    seen: set[int] = set()
    for parameter, tensor in updates:
        label = parameter.path or parameter.name
        if id(parameter) in seen:
            raise ArgumentError(f"found two updates of weight '{label}', expected one; join them")
        seen.add(id(parameter))
        if tensor.spec != parameter.spec:
            raise ShapeError(
                f"weight '{label}' is {parameter.spec} but its update is {tensor.spec}, expected "
                "the same shape and dtype; reshape the update"
            )
    return updates


def _computed(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where it is the memory of a leaf, which may be state itself."""
    return tensor if view_root(tensor).node.inputs else _copy(tensor)
