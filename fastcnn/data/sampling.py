# SPDX-License-Identifier: Apache-2.0
"""Random orders that depend on a key and on nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WORD = (1 << 64) - 1


def permutation(n: int, seed: int, stream: int) -> npt.NDArray[np.intp]:
    """A random order of 0 … n-1, a function of (n, seed, stream) only.

    Sorts the raw words of a Philox counter keyed by (seed, stream). NumPy keeps raw bit streams
    fixed between releases but not what `Generator.permutation` makes of them.

    Args:
        n: length.
        seed: the user's seed; only its low 64 bits count.
        stream: tells orders of one seed apart, for example the epoch.
    """
    key = np.array([seed & _WORD, stream & _WORD], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")
