# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

import math as _math
from collections.abc import Callable as _Callable
from importlib import import_module as _import_module
from typing import Any as _Any

from fastcnn.graph import Parameter as _Parameter
from fastcnn.graph import Tensor as _Tensor
from fastcnn.ops._apply import as_operands as as_operands
from fastcnn.ops.conv import conv2d as conv2d
from fastcnn.ops.conv_depthwise import depthwise_conv2d as depthwise_conv2d
from fastcnn.ops.conv_transpose import conv2d_transpose as conv2d_transpose
from fastcnn.ops.dense import dense as dense
from fastcnn.ops.dense import matmul as matmul
from fastcnn.ops.elementwise import cast as cast
from fastcnn.ops.elementwise import one_hot as one_hot
from fastcnn.ops.elementwise_activations import elu as elu
from fastcnn.ops.elementwise_activations import gelu as gelu
from fastcnn.ops.elementwise_activations import hard_sigmoid as hard_sigmoid
from fastcnn.ops.elementwise_activations import hard_swish as hard_swish
from fastcnn.ops.elementwise_activations import leaky_relu as leaky_relu
from fastcnn.ops.elementwise_activations import mish as mish
from fastcnn.ops.elementwise_activations import prelu as prelu
from fastcnn.ops.elementwise_activations import relu as relu
from fastcnn.ops.elementwise_activations import relu6 as relu6
from fastcnn.ops.elementwise_activations import scaled_tanh as scaled_tanh
from fastcnn.ops.elementwise_activations import selu as selu
from fastcnn.ops.elementwise_activations import sigmoid as sigmoid
from fastcnn.ops.elementwise_activations import silu as silu
from fastcnn.ops.elementwise_activations import softplus as softplus
from fastcnn.ops.elementwise_activations import softsign as softsign
from fastcnn.ops.elementwise_activations import tanh as tanh
from fastcnn.ops.elementwise_binary import add as add
from fastcnn.ops.elementwise_binary import divide as divide
from fastcnn.ops.elementwise_binary import equal as equal
from fastcnn.ops.elementwise_binary import greater as greater
from fastcnn.ops.elementwise_binary import greater_equal as greater_equal
from fastcnn.ops.elementwise_binary import maximum as maximum
from fastcnn.ops.elementwise_binary import minimum as minimum
from fastcnn.ops.elementwise_binary import multiply as multiply
from fastcnn.ops.elementwise_binary import subtract as subtract
from fastcnn.ops.elementwise_binary import where as where
from fastcnn.ops.elementwise_dropout import dropout as dropout
from fastcnn.ops.elementwise_unary import abs as abs
from fastcnn.ops.elementwise_unary import ceil as ceil
from fastcnn.ops.elementwise_unary import clip as clip
from fastcnn.ops.elementwise_unary import erf as erf
from fastcnn.ops.elementwise_unary import exp as exp
from fastcnn.ops.elementwise_unary import floor as floor
from fastcnn.ops.elementwise_unary import log as log
from fastcnn.ops.elementwise_unary import negative as negative
from fastcnn.ops.elementwise_unary import power as power
from fastcnn.ops.elementwise_unary import reciprocal as reciprocal
from fastcnn.ops.elementwise_unary import round as round
from fastcnn.ops.elementwise_unary import rsqrt as rsqrt
from fastcnn.ops.elementwise_unary import sign as sign
from fastcnn.ops.elementwise_unary import sqrt as sqrt
from fastcnn.ops.elementwise_unary import square as square
from fastcnn.ops.geometry import conv_output_size as conv_output_size
from fastcnn.ops.loss import binary_crossentropy as binary_crossentropy
from fastcnn.ops.loss import categorical_crossentropy as categorical_crossentropy
from fastcnn.ops.loss import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from fastcnn.ops.loss_softmax import log_softmax as log_softmax
from fastcnn.ops.loss_softmax import softmax as softmax
from fastcnn.ops.norm import batch_norm as batch_norm
from fastcnn.ops.norm import batch_normalization as batch_normalization
from fastcnn.ops.norm import group_norm as group_norm
from fastcnn.ops.norm import layer_norm as layer_norm
from fastcnn.ops.norm import local_response_norm as local_response_norm
from fastcnn.ops.pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from fastcnn.ops.pool import adaptive_max_pool2d as adaptive_max_pool2d
from fastcnn.ops.pool import avg_pool2d as avg_pool2d
from fastcnn.ops.pool import global_avg_pool2d as global_avg_pool2d
from fastcnn.ops.pool import global_max_pool2d as global_max_pool2d
from fastcnn.ops.pool import max_pool2d as max_pool2d
from fastcnn.ops.pool import max_unpool2d as max_unpool2d
from fastcnn.ops.reduce import argmax as argmax
from fastcnn.ops.reduce import max as max
from fastcnn.ops.reduce import mean as mean
from fastcnn.ops.reduce import min as min
from fastcnn.ops.reduce import sum as sum
from fastcnn.ops.shape import broadcast_to as broadcast_to
from fastcnn.ops.shape import channel_shuffle as channel_shuffle
from fastcnn.ops.shape import expand_dims as expand_dims
from fastcnn.ops.shape import flatten as flatten
from fastcnn.ops.shape import reshape as reshape
from fastcnn.ops.shape import squeeze as squeeze
from fastcnn.ops.shape import stack as stack
from fastcnn.ops.shape import transpose as transpose
from fastcnn.ops.shape_join import concat as concat
from fastcnn.ops.shape_join import concatenate as concatenate
from fastcnn.ops.shape_join import crop as crop
from fastcnn.ops.shape_join import pad as pad
from fastcnn.ops.shape_join import slice as slice
from fastcnn.ops.shape_join import split as split
from fastcnn.ops.shape_resize import resize as resize
from fastcnn.ops.shape_take import take as take
from fastcnn.ops.update import adagrad_update as adagrad_update
from fastcnn.ops.update import adam_update as adam_update
from fastcnn.ops.update import clip_by_global_norm as clip_by_global_norm
from fastcnn.ops.update import clip_by_norm as clip_by_norm
from fastcnn.ops.update import ema_update as ema_update
from fastcnn.ops.update import rmsprop_update as rmsprop_update
from fastcnn.ops.update import sgd_update as sgd_update

_Function = _Callable[..., _Any]


def _reflected(function: _Function) -> _Function:
    return lambda a, b: function(b, a)


# Operators are attached here, because the graph knows no operations.
_OPERATORS: dict[str, _Function] = {
    "__neg__": negative,
    "__abs__": abs,
    "__pow__": power,
    "__rpow__": lambda exponent, base: exp(multiply(exponent, _math.log(base))),
}
for _name, _function in (
    ("add", add),
    ("sub", subtract),
    ("mul", multiply),
    ("truediv", divide),
):
    _OPERATORS |= {f"__{_name}__": _function, f"__r{_name}__": _reflected(_function)}
for _name, _function in _OPERATORS.items():
    setattr(_Tensor, _name, _function)
    setattr(_Parameter, _name, _function)


def __getattr__(name: str) -> _Any:
    # Gradients stand above ops in the order of imports, so this one is fetched when asked for.
    if name == "gradient":
        return _import_module("fastcnn.autodiff").gradient
    raise AttributeError(f"module 'fastcnn.ops' has no attribute '{name}'")
