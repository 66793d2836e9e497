# SPDX-License-Identifier: Apache-2.0
"""Operations as functions: at once on NumPy arrays, or as nodes on symbolic tensors."""

from fastcnn.ops._apply import as_operands as as_operands
from fastcnn.ops.elementwise import relu as relu
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
from fastcnn.ops.shape_join import slice_block as slice
from fastcnn.ops.shape_join import split as split
from fastcnn.ops.shape_resize import resize as resize
from fastcnn.ops.loss import binary_crossentropy as binary_crossentropy
from fastcnn.ops.loss import categorical_crossentropy as categorical_crossentropy
from fastcnn.ops.loss import log_softmax as log_softmax
from fastcnn.ops.loss import softmax as softmax
from fastcnn.ops.loss import sparse_categorical_crossentropy as sparse_categorical_crossentropy
