# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

from fastcnn.ops._apply import as_operands as as_operands
from fastcnn.ops.elementwise import relu as relu
