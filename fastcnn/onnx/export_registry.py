# SPDX-License-Identifier: Apache-2.0
"""How every operation is exported, or why it is not."""

from __future__ import annotations

from fastcnn.graph import Op
from fastcnn.onnx.export_conv import EMITTERS as CONV
from fastcnn.onnx.export_dense import EMITTERS as DENSE
from fastcnn.onnx.export_elementwise import EMITTERS as ELEMENTWISE
from fastcnn.onnx.export_graph import Emitter
from fastcnn.onnx.export_loss import EMITTERS as LOSS
from fastcnn.onnx.export_norm import EMITTERS as NORM
from fastcnn.onnx.export_pool import EMITTERS as POOL
from fastcnn.onnx.export_reduce import EMITTERS as REDUCE
from fastcnn.onnx.export_shape import EMITTERS as SHAPE
from fastcnn.ops.conv_packed import OPS as CONV_PACKED
from fastcnn.ops.conv_packed_grad import OPS as CONV_PACKED_GRAD
from fastcnn.ops.conv_separable import OPS as CONV_SEPARABLE
from fastcnn.ops.elementwise import CheckFinite
from fastcnn.ops.elementwise_dropout import Dropout
from fastcnn.ops.loss import BinaryCrossEntropy, SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy
from fastcnn.ops.norm_batch import BatchNormTrain
from fastcnn.ops.norm_batch_fused import OPS as NORM_FUSED
from fastcnn.ops.pool_max import MaxPool2DValues
from fastcnn.ops.reduce import Broadcast
from fastcnn.ops.registry import BY_NAME
from fastcnn.ops.shape_copy import OPS as SHAPE_COPY
from fastcnn.ops.update import OPS as UPDATE

EMITTERS: dict[str, Emitter] = {
    **CONV,
    **DENSE,
    **ELEMENTWISE,
    **REDUCE,
    **LOSS,
    **NORM,
    **POOL,
    **SHAPE,
}

_GRADIENT = "it belongs to a gradient; export the model for inference"
_LOSS = "it is a loss; end the model before it"
_FUSED = "it is what a plan makes of other operations; export the model"
_UPDATE = "it is an optimizer's step; export the model for inference"
_FUSED_OPS: tuple[type[Op], ...] = (
    *CONV_PACKED,
    *CONV_PACKED_GRAD,
    *CONV_SEPARABLE,
    *NORM_FUSED,
    *SHAPE_COPY,
    MaxPool2DValues,
)

# What no graph for inference should hold.
REASONS: dict[str, str] = {
    **{name: _GRADIENT for name in BY_NAME if "_grad" in name and name not in EMITTERS},
    **{op.name: _FUSED for op in _FUSED_OPS},
    **{op.name: _UPDATE for op in UPDATE},
    **{
        op.name: _LOSS
        for op in (BinaryCrossEntropy, SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy)
    },
    Broadcast.name: _GRADIENT,
    BatchNormTrain.name: "it takes the statistics of the batch; call the layer with training=False",
    CheckFinite.name: "it stops a training step; export the model for inference",
    Dropout.name: "it draws at random; call the layer with training=False",
}
