# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

from fastcnn.ops._apply import as_operands as as_operands
from fastcnn.ops.elementwise import relu as relu
from fastcnn.ops.norm import batch_norm as batch_norm
from fastcnn.ops.norm import batch_normalization as batch_normalization
from fastcnn.ops.norm import group_norm as group_norm
from fastcnn.ops.norm import layer_norm as layer_norm
from fastcnn.ops.norm import local_response_norm as local_response_norm
