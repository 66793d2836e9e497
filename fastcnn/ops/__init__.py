# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

import math as _math

from fastcnn.graph import Parameter as _Parameter
from fastcnn.graph import Tensor as _Tensor
from fastcnn.ops._apply import as_operands as as_operands
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
from fastcnn.ops.elementwise_unary import clip as clip
from fastcnn.ops.elementwise_unary import exp as exp
from fastcnn.ops.elementwise_unary import log as log
from fastcnn.ops.elementwise_unary import negative as negative
from fastcnn.ops.elementwise_unary import power as power
from fastcnn.ops.elementwise_unary import reciprocal as reciprocal
from fastcnn.ops.elementwise_unary import rsqrt as rsqrt
from fastcnn.ops.elementwise_unary import sign as sign
from fastcnn.ops.elementwise_unary import sqrt as sqrt
from fastcnn.ops.elementwise_unary import square as square
from fastcnn.ops.reduce import argmax as argmax
from fastcnn.ops.reduce import max as max
from fastcnn.ops.reduce import mean as mean
from fastcnn.ops.reduce import min as min
from fastcnn.ops.reduce import sum as sum


_OPERATORS = {"add": add, "sub": subtract, "mul": multiply, "truediv": divide}

# Attached here, because the graph knows no operations.
for _cls in (_Tensor, _Parameter):
    for _name, _function in _OPERATORS.items():
        setattr(_cls, f"__{_name}__", lambda a, b, f=_function: f(a, b))
        setattr(_cls, f"__r{_name}__", lambda a, b, f=_function: f(b, a))
    setattr(_cls, "__neg__", lambda a: negative(a))
    setattr(_cls, "__abs__", lambda a: abs(a))
    setattr(_cls, "__pow__", lambda a, b: power(a, b))
    setattr(_cls, "__rpow__", lambda a, b: exp(multiply(a, _math.log(b))))
