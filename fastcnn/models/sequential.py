# SPDX-License-Identifier: Apache-2.0
"""A model that is one chain of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

from fastcnn import arguments
from fastcnn.errors import ArgumentError
from fastcnn.graph import Tensor
from fastcnn.layers.base import Layer
from fastcnn.layers.call import LayerCall
from fastcnn.layers.input import Input, InputLayer
from fastcnn.models.functional import Functional
from fastcnn.models.model import Model


@final
class Sequential(Model):
    """Layers called one after the other.

    Args:
        layers: layers, or `fastcnn.Input(...)` as the first. Without an Input the model is built
            from the first data it sees.
        name: name of the model.
    """

    def __init__(
        self,
        layers: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._chain: list[Layer] = []
        self._begin: Tensor | None = None
        self._end: Tensor | None = None
        self._drawn: Functional | None = None
        if not isinstance(layers, (Iterable, type(None))) or isinstance(layers, (str, Mapping)):
            raise ArgumentError(f"Sequential takes a list of layers, found {layers!r}")
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer; an Input only at the start. The model is always drawn anew."""
        arguments.only_default(f"Sequential '{self.name}': add", "rebuild", rebuild, True)
        if isinstance(layer, Tensor) and isinstance(layer.node.call, LayerCall):
            source = layer.node.call.layer
            layer = source if isinstance(source, InputLayer) else layer
        if not isinstance(layer, Layer):
            raise ArgumentError(
                f"Sequential takes layers, found {type(layer).__name__}; compose functions of "
                "fastcnn.ops in the call of a Layer"
            )
        if isinstance(layer, InputLayer) and self._chain:
            raise ArgumentError("an Input may only be the first layer of a Sequential")
        if any(layer is other or layer.name == other.name for other in self._chain):
            raise ArgumentError(
                f"Sequential already has a layer '{layer.name}'; give it another name"
            )
        if not self._chain and layer.declared_input_shape is not None:
            self.add(InputLayer(layer.declared_input_shape))
        if isinstance(layer, InputLayer):
            self._begin = self._end = layer.output
        elif self._end is not None:
            self._end = layer(self._end)
        self._chain.append(layer)
        self._drawn = None
        self.forget_plans()
        self.built = self._end is not None

    def pop(self, rebuild: bool = True) -> Layer:
        """Remove the last layer and return it. The model is always drawn anew."""
        arguments.only_default(f"Sequential '{self.name}': pop", "rebuild", rebuild, True)
        if not self._chain:
            raise ArgumentError("the Sequential has no layer to remove")
        layer = self._chain.pop()
        self._drawn = None
        self.forget_plans()
        if self._begin is not None:
            self._draw_from(self._begin)
        return layer

    @property
    def sublayers(self) -> list[Layer]:
        """The layers in order, the Input among them."""
        return self._chain

    @property
    def layers(self) -> list[Layer]:
        """The layers in order; as in Keras the Input is not one of them."""
        return [layer for layer in self._chain if not isinstance(layer, InputLayer)]

    @property
    def begins_with_input(self) -> bool:
        """Whether the chain tells its input shape; otherwise data or `build` did, if any."""
        return bool(self._chain) and isinstance(self._chain[0], InputLayer)

    def build(self, input_shape: Any) -> None:
        """Draw the chain for inputs of this shape (with the batch)."""
        if self._end is None and input_shape is not None:
            self._draw_from(Input(batch_shape=(None, *input_shape[1:]), dtype=self.dtype))

    def _draw_from(self, begin: Tensor) -> None:
        tensor = begin
        for layer in self._chain:
            if not isinstance(layer, InputLayer):
                layer._calls.clear()
                tensor = layer(tensor)
        self._end, self._begin = tensor, begin  # in this order: _begin says that both are there
        self.built = True

    @property
    def inputs(self) -> list[Tensor]:
        """The symbolic input; none before the shape is known."""
        return [] if self._begin is None else self.drawn().inputs

    @property
    def outputs(self) -> list[Tensor]:
        """The symbolic output; none before the shape is known."""
        return [] if self._end is None else self.drawn().outputs

    def drawn(self) -> Functional:
        """The chain as a functional model."""
        if self._begin is None or self._end is None:
            raise ArgumentError(
                f"Sequential '{self.name}' does not know its input shape yet; begin it with "
                "fastcnn.Input(shape=...) or call build((None, ...))"
            )
        if self._drawn is None:
            self._drawn = Functional(self._begin, self._end, name=self.name)
        return self._drawn

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Outputs of the last layer."""
        if not self._chain:
            raise ArgumentError(f"Sequential '{self.name}' has no layers; add some")
        for layer in self._chain:
            if not isinstance(layer, InputLayer):
                inputs = layer(inputs, training=training)
        return inputs
