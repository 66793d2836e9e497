# SPDX-License-Identifier: Apache-2.0
"""Where a model begins."""

from __future__ import annotations

from typing import Any, final

from fastcnn import arguments, config
from fastcnn.errors import ShapeError
from fastcnn.graph import Node, Placeholder, Shape, Spec, Tensor
from fastcnn.layers.base import Layer
from fastcnn.layers.call import LayerCall
from fastcnn.utils.naming import unique_name

# What a plan can be fed with.
DTYPES = ("float32", "float64", "uint8", "int32", "uint32")


@final
class InputLayer(Layer):
    """Holds the symbolic tensor that a model is fed through.

    Args:
        shape: sizes of one sample, NHWC without N; None where unknown.
        batch_size: fixed batch size, or None.
        dtype: "float32", or "uint8"/"int32" when the model converts by itself (Rescaling).
        batch_shape: the whole shape at once, in place of `shape` and `batch_size`.
        name: name of the input, also the key by which it may be fed.
        sparse, ragged, input_tensor, optional: only as they are by default.
    """

    def __init__(
        self,
        shape: Shape | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Shape | None = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _only_dense(sparse=sparse, ragged=ragged, input_tensor=input_tensor)
        arguments.only_default("Input", "optional", optional, False)
        dtype = config.floatx() if dtype is None else dtype
        arguments.one_of("Input", "dtype", dtype, DTYPES)
        super().__init__(name=unique_name("InputLayer") if name is None else name, **kwargs)
        self.dtype = dtype
        if batch_shape is None:
            if shape is None:
                raise ShapeError(
                    "Input needs the shape of one sample; try Input(shape=(32, 32, 3))"
                )
            batch_shape = (batch_size, *arguments.shape("Input shape", shape))
        self.batch_shape: Shape = arguments.shape("Input shape", batch_shape)
        spec = Spec(self.batch_shape, self.dtype)
        call = LayerCall(self, (), {})
        node = Node(Placeholder(spec, self.name), (), (spec,), self.name, "", call)
        call.outputs = node.outputs[0]
        self._calls.append(call)
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Not called: models feed the placeholder."""
        raise NotImplementedError("an InputLayer is fed, not called")

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and shape."""
        return {"name": self.name, "dtype": self.dtype, "batch_shape": list(self.batch_shape)}


def _only_dense(**given: Any) -> None:
    for name, value in given.items():
        arguments.only_default("Input", name, value, None, False)


def Input(
    shape: Shape | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Shape | None = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> Tensor:
    """A symbolic tensor to draw a model from; arguments as `InputLayer`."""
    layer = InputLayer(
        shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name
    )
    output: Tensor = layer.output
    return output
