# SPDX-License-Identifier: Apache-2.0
"""Gradients of several batches as one: sums that are kept from batch to batch, as graph.

The mean of the gradients of k equal batches is that of one batch k times as large, as far as no
layer looks at the whole batch; a batch norm does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastcnn import ops
from fastcnn.graph import Parameter, Tensor, constant

Pairs = Sequence[tuple[Tensor, Parameter]]
Sums = Mapping[int, Parameter]
Updates = list[tuple[Parameter, Tensor]]


def add(pairs: Pairs, sums: Sums) -> Updates:
    """The sums with the gradients of one more batch.

    Args:
        pairs: gradients and the weights they belong to.
        sums: by id of the weight.
    """
    return [(sums[id(p)], ops.add(sums[id(p)], gradient)) for gradient, p in pairs]


def close(pairs: Pairs, sums: Sums, steps: int) -> tuple[Pairs, Updates]:
    """Mean gradients of `steps` batches, of which `pairs` are the last, and sums that are empty.

    Args:
        pairs: gradients and the weights they belong to.
        sums: by id of the weight, of all batches but the last.
        steps: number of batches.
    """
    means, empty = [], []
    for gradient, parameter in pairs:
        total = sums[id(parameter)]
        means.append((ops.divide(ops.add(total, gradient), float(steps)), parameter))
        zero = constant(np.zeros((), parameter.dtype))
        empty.append((total, ops.broadcast_to(zero, parameter.shape)))
    return means, empty
