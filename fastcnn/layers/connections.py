# SPDX-License-Identifier: Apache-2.0
"""Connection tables: which input maps feed which filter of a convolution.

A table has a row of zeros and ones per input map and a column per filter, as table I of LeCun et
al. 1998. Only connected weights exist, as a kernel (R, S, connections) that holds filter after
filter; `full_kernel` puts them into their places of an ordinary kernel. That is a product with a
constant matrix of (connections, C K) zeros and ones: right for the tables of the old papers, a
waste for hundreds of maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array

Table = tuple[tuple[int, ...], ...]


def connection_table(value: Any, filters: int) -> Table:
    """The table (C, filters) that `value` spells out.

    Raises:
        ArgumentError: no table of zeros and ones with a column per filter, or a filter without
            any connection.
    """
    try:
        table = np.asarray(value)
        fits = table.ndim == 2 and table.shape[1] == filters and bool(np.isin(table, (0, 1)).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(
            f"found connections {_shape(value)}, expected zeros and ones of shape "
            f"(input maps, {filters}); give a row per input map and a column per filter"
        )
    alone = np.flatnonzero(~table.any(axis=0)).tolist()
    if alone:
        raise ArgumentError(
            f"the connections leave filters {alone} without any input map; connect each filter to "
            "at least one"
        )
    return tuple(tuple(int(c) for c in row) for row in table)


def _shape(value: Any) -> str:
    try:
        return f"of shape {np.asarray(value).shape}"
    except ValueError:
        return "with rows of different lengths"


def require_maps(table: Table, channels: int) -> None:
    """ShapeError unless the table has a row per input map."""
    if len(table) != channels:
        raise ShapeError(
            f"the input has {channels} channels but the connections have {len(table)} rows; give "
            "a row per input map"
        )


def count(table: Table) -> int:
    """Number of connected pairs of an input map and a filter."""
    return int(np.sum(table))


def connected_part(
    initializer: Callable[..., Array], table: Table
) -> Callable[[Sequence[int], str], Array]:
    """An initializer of (R, S, connections): that part of what a full kernel would begin with."""
    wired = np.array(table, bool).T

    def draw(shape: Sequence[int], dtype: str = "float32") -> Array:
        full = initializer((*shape[:2], *reversed(wired.shape)), dtype=dtype)
        part: Array = np.swapaxes(full, 2, 3)[:, :, wired]
        return part

    return draw


def full_kernel(connected: Any, table: Table) -> Any:
    """(R, S, connections) -> (R, S, C, K) with zeros where there is no connection."""
    C, K = len(table), len(table[0])
    filters, maps = np.nonzero(np.array(table).T)
    places = np.zeros((len(maps), C * K), connected.dtype)
    places[np.arange(len(maps)), maps * K + filters] = 1
    return ops.reshape(ops.matmul(connected, places), (*connected.shape[:2], C, K))
