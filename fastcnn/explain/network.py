# SPDX-License-Identifier: Apache-2.0
"""A model as explanations see it: one image, scores before the softmax, and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastcnn import passes
from fastcnn.data.arrays import as_array
from fastcnn.errors import ArgumentError, DtypeError
from fastcnn.graph import Array, Spec, Tensor, topological
from fastcnn.layers import Layer
from fastcnn.models import Model
from fastcnn.models.lowering import lower
from fastcnn.ops._apply import FLOATS
from fastcnn.ops.elementwise import Identity
from fastcnn.ops.elementwise_activations import Sigmoid
from fastcnn.ops.loss_softmax import LogSoftmax, Softmax

# What turns logits into probabilities.
SQUASHING = (Softmax, LogSoftmax, Sigmoid)


@dataclass(frozen=True)
class Network:
    """A model in inference, drawn for images of one shape, batch norms folded.

    Attributes:
        image: placeholder (N, H, W, C), or another shape of floats.
        rng: placeholder of the random state.
        scores: what is explained: logits (N, K), or probabilities where asked for.
        layer: output of the layer that was asked for.
        layer_path: its path.
    """

    image: Tensor
    rng: Tensor
    scores: Tensor
    layer: Tensor | None
    layer_path: str


def draw(
    model: Model, spec: Spec, logits: bool = True, output: int = 0, layer: str | None = None
) -> Network:
    """The graph of `model` for images of `spec`.

    Args:
        model: of one input.
        spec: of the images.
        logits: whether the scores are what stands before a softmax or sigmoid at the end.
        output: which of the model's outputs.
        layer: name or path of a layer, "auto" for the last whose maps are larger than one pixel.

    Raises:
        ArgumentError: there is no such output or layer.
    """
    lowered = lower(model, [spec], training=False)
    if not 0 <= output < len(lowered.outputs):
        raise ArgumentError(
            f"explain: found output={output}, but model '{model.name}' has {len(lowered.outputs)} "
            "outputs; count from 0"
        )
    scores = lowered.outputs[output]
    scores = before_squashing(scores) if logits else scores
    path, found = "", None
    if layer is not None:
        path, found = find_layer(lowered.trace.outputs, layer, scores, model.name)
    wanted = [scores] if found is None else [scores, found]
    scores, *rest = passes.fold_batch_norm(wanted)
    return Network(lowered.inputs[0], lowered.trace.rng, scores, rest[0] if rest else None, path)


def before_squashing(tensor: Tensor) -> Tensor:
    """What a softmax, log-softmax or sigmoid at the end is applied to; the tensor without one."""
    end = tensor
    while end.node.op.is_view or isinstance(end.node.op, Identity):
        end = end.node.inputs[0]
    if not isinstance(end.node.op, SQUASHING):
        return tensor
    return end.node.inputs[0]


def find_layer(
    outputs: Mapping[str, Sequence[Tensor]], layer: str, scores: Tensor, model: str
) -> tuple[str, Tensor]:
    """(path, output) of the layer of this name or path on the way to the scores."""
    on_way = {t for node in topological([scores]) for t in node.outputs}
    usable = {
        path: found[0] for path, found in outputs.items() if len(found) == 1 and found[0] in on_way
    }
    if layer == "auto":
        return _last_maps(usable, scores, model)
    matches = [p for p in usable if p == layer] or [
        p for p in usable if p.rpartition("/")[2] == layer
    ]
    if len(matches) == 1:
        return matches[0], usable[matches[0]]
    if matches:
        raise ArgumentError(
            f"explain: model '{model}' has {len(matches)} layers called '{layer}'; give the path "
            f"of one: {', '.join(matches)}"
        )
    raise ArgumentError(
        f"explain: model '{model}' has no layer '{layer}' that the score depends on; it has "
        f"{', '.join(usable)}"
    )


def _last_maps(usable: Mapping[str, Tensor], scores: Tensor, model: str) -> tuple[str, Tensor]:
    paths = {tensor: path for path, tensor in usable.items()}
    for node in reversed(topological([scores])):
        for tensor in node.outputs:
            shape = tensor.shape
            if node.inputs and tensor in paths and len(shape) == 4 and shape[1:3] != (1, 1):
                return paths[tensor], tensor
    raise ArgumentError(
        f"explain: no layer of model '{model}' makes maps (N, H, W, C) larger than one pixel, "
        "expected a convolutional network; use saliency or occlusion instead"
    )


def layer_name(layer: Any) -> str:
    """The name or path of a layer given as such or as the layer itself."""
    if isinstance(layer, Layer):
        return layer.name
    if isinstance(layer, str) and layer:
        return layer
    raise ArgumentError(f"explain: found layer={layer!r}, expected a layer or its name")


def images_of(model: Model, x: Any) -> tuple[Array, Spec]:
    """The batch as the model takes it, and its spec.

    Raises:
        ArgumentError: the model has several inputs, or is no model.
        ShapeError, DtypeError: the images do not fit it.
    """
    if not isinstance(model, Model):
        raise ArgumentError(f"explain: found {type(model).__name__}, expected a fastcnn.Model")
    if len(model.inputs) > 1:
        raise ArgumentError(
            f"explain: model '{model.name}' has the inputs {model.input_names}, expected one; "
            "make a Model of one input with the others fixed"
        )
    array = as_array(model.order_inputs(x)[0], "x")
    (spec,) = model.check_inputs([array])
    if spec.dtype not in FLOATS:
        raise DtypeError(
            f"explain: model '{model.name}' takes {spec.dtype} inputs, which have no gradient; "
            "explain a model that begins with floats"
        )
    return array.astype(spec.dtype, copy=False), spec
