# SPDX-License-Identifier: Apache-2.0
"""Passes map graph to graph; the outputs keep their values.

fold_batch_norm     conv -> batch norm (inference)  becomes  conv with scaled filters + bias
to_depthwise        conv of one channel and filter a group  becomes  a depthwise one
unstride            a first layer's conv with a stride  becomes  one without, of more channels
fuse_convolutions   conv -> bias -> sum -> bounds  becomes  one op with packed filters; so do
                    transposed convolutions
fuse_separable      [1x1 conv ->] depthwise -> 1x1 conv  becomes  one op, a few rows at a time
fuse_pools          Winograd's conv -> 2x2 max pool  becomes  one op that stores the largest
fuse_shuffles       join -> channel shuffle  becomes  one op that joins channels in turns
fuse_norms          batch norm (training) -> sum -> bounds  becomes  one op, and its gradient
pack_training       the same for a training step, and the gradients of convolutions
fuse_moments        conv -> batch norm (training): the convolution takes the moments
recompute           what is cheap to make is made again for the gradients, instead of kept
fuse_losses         cross-entropy and its gradient become one op
fuse_updates        small weights are updated together
for_training        these six and to_depthwise, for a training step
for_inference       those for a prediction
forget_winners      max pooling without the positions that gradients read
turn_convolutions   a convolution backwards, a transposed one  becomes  one of turned filters
hoist               what depends on weights alone is cut off, to be computed when weights change
split_batch         the first layers of a large batch run a few images at a time
"""

from fastcnn.passes.algorithms import Algorithms as Algorithms
from fastcnn.passes.depthwise import to_depthwise as to_depthwise
from fastcnn.passes.fold import fold_batch_norm as fold_batch_norm
from fastcnn.passes.fuse import fuse_convolutions as fuse_convolutions
from fastcnn.passes.fuse_losses import fuse_losses as fuse_losses
from fastcnn.passes.fuse_moments import fuse_moments as fuse_moments
from fastcnn.passes.fuse_norms import fuse_norms as fuse_norms
from fastcnn.passes.fuse_pools import fuse_pools as fuse_pools
from fastcnn.passes.fuse_separable import fuse_separable as fuse_separable
from fastcnn.passes.fuse_shuffle import fuse_shuffles as fuse_shuffles
from fastcnn.passes.fuse_updates import fuse_updates as fuse_updates
from fastcnn.passes.hoist import fixed_nodes as fixed_nodes
from fastcnn.passes.hoist import hoist as hoist
from fastcnn.passes.inference import for_inference as for_inference
from fastcnn.passes.pack_training import pack_training as pack_training
from fastcnn.passes.recompute import recompute as recompute
from fastcnn.passes.rewrite import rewrite as rewrite
from fastcnn.passes.split_batch import split_batch as split_batch
from fastcnn.passes.training import for_training as for_training
from fastcnn.passes.turn import turn_convolutions as turn_convolutions
from fastcnn.passes.unstride import unstride as unstride
from fastcnn.passes.values import forget_winners as forget_winners
