# SPDX-License-Identifier: Apache-2.0
"""Models drawn as a graph of layer calls, from input tensors to output tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, final

from fastcnn.errors import ArgumentError
from fastcnn.graph import Leaf, Node, Placeholder, Tensor
from fastcnn.layers.base import Layer
from fastcnn.layers.call import LayerCall
from fastcnn.models.model import Model
from fastcnn.ops._apply import apply
from fastcnn.structure import flatten, map_structure, pack_as

Step = LayerCall | Node


def step_of(tensor: Tensor) -> Step:
    """What makes `tensor` in a drawing: the call of a layer, or a bare op."""
    call = tensor.node.call
    return call if isinstance(call, LayerCall) else tensor.node


def step_inputs(step: Step) -> Sequence[Tensor]:
    """Tensors that a step reads."""
    return step.flat_inputs if isinstance(step, LayerCall) else step.inputs


def steps_between(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Step]:
    """All steps needed for `outputs`, each after those it reads; they end at `inputs`."""
    known = set(inputs)
    order: list[Step] = []
    done: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(t, False) for t in reversed(outputs)]
    while stack:
        tensor, ready = stack.pop()
        step = step_of(tensor)
        if tensor in known or id(step) in done:
            continue
        if ready:
            done.add(id(step))
            order.append(step)
            continue
        if isinstance(tensor.node.op, Placeholder):
            names = [t.node.layer for t in inputs]
            raise ArgumentError(
                f"the outputs depend on input '{tensor.node.layer}', which is not among the "
                f"model's inputs {names}; add it to inputs="
            )
        stack.append((tensor, True))
        stack += [(t, False) for t in reversed(step_inputs(step))]
    return order


@final
class Functional(Model):
    """`Model(inputs, outputs)`: replays the drawn calls on the tensors it is called with."""

    def __init__(
        self, inputs: Any, outputs: Any = (), name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._inputs: list[Tensor] = flatten(inputs)
        self._outputs: list[Tensor] = flatten(outputs)
        for tensor in (*self._inputs, *self._outputs):
            if not isinstance(tensor, Tensor):
                raise ArgumentError(
                    "Model inputs and outputs are symbolic tensors, found "
                    f"{type(tensor).__name__}; begin with fastcnn.Input(shape=...) and call layers "
                    "on it"
                )
        self.input_structure, self.output_structure = inputs, outputs
        if not self.inputs or not self.outputs:
            raise ArgumentError(
                f"Model found {len(self.inputs)} inputs and {len(self.outputs)} outputs, expected "
                "at least one of each; call it as Model(inputs, outputs)"
            )
        if len(set(self.inputs)) < len(self.inputs):
            raise ArgumentError("Model found one Input twice among its inputs; list it once")
        self.steps = steps_between(self.inputs, self.outputs)
        self._layers = self._find_layers()
        self.built = True

    @property
    def inputs(self) -> list[Tensor]:
        """Symbolic inputs, in order."""
        return self._inputs

    @property
    def outputs(self) -> list[Tensor]:
        """Symbolic outputs, in order."""
        return self._outputs

    def _find_layers(self) -> list[Layer]:
        calls = [step_of(t) for t in self.inputs] + list(self.steps)
        layers = {id(c.layer): c.layer for c in calls if isinstance(c, LayerCall)}
        names = Counter(layer.name for layer in layers.values())
        twice = sorted(name for name, times in names.items() if times > 1)
        if twice:
            raise ArgumentError(
                f"two layers of the model are named {twice}; give each its own name"
            )
        return list(layers.values())

    @property
    def sublayers(self) -> list[Layer]:
        """Layers in the order they run."""
        return self._layers

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Outputs for tensors in the nesting of the model's inputs."""
        given = flatten(inputs)
        if isinstance(inputs, dict) and isinstance(self.input_structure, dict):
            given = [inputs[key] for key in self.input_structure]
        if len(given) != len(self.inputs):
            raise ArgumentError(
                f"model '{self.name}' takes {len(self.inputs)} inputs, found {len(given)}; "
                f"give one for each of {self.input_names}"
            )
        values: dict[Tensor, Tensor] = dict(zip(self.inputs, given, strict=True))

        def current(leaf: Any) -> Any:
            return values.get(leaf, leaf) if isinstance(leaf, Tensor) else leaf

        for step in self.steps:
            if isinstance(step, LayerCall):
                args, kwargs = map_structure(current, (step.args, step.kwargs))
                results = flatten(step.layer(*args, **{"training": training, **kwargs}))
                values.update(zip(step.flat_outputs, results, strict=True))
            elif not isinstance(step.op, Leaf):
                values.update(zip(step.outputs, flatten(self._apply(step, current)), strict=True))
        return pack_as(self.output_structure, [current(t) for t in self.outputs])

    @staticmethod
    def _apply(node: Node, current: Callable[[Any], Any]) -> Any:
        return apply(node.op, *map(current, node.inputs))
