# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

from fastcnn.ops._apply import as_operands as as_operands
from fastcnn.ops.conv import conv2d as conv2d
from fastcnn.ops.conv_depthwise import depthwise_conv2d as depthwise_conv2d
from fastcnn.ops.conv_transpose import conv2d_transpose as conv2d_transpose
from fastcnn.ops.dense import matmul as matmul
from fastcnn.ops.elementwise import relu as relu
from fastcnn.ops.geometry import conv_output_size as conv_output_size
