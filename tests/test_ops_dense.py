# SPDX-License-Identifier: Apache-2.0
"""Matrix products and the dense operation as users call them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import DtypeError, FastcnnError, ShapeError
from fastcnn.graph import Spec, placeholder
from fastcnn.ops.dense import MatMul, dense


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def test_values_by_hand() -> None:
    a = np.array([[1, 2], [3, 4]], np.float32)
    b = np.array([[5, 6], [7, 8]], np.float32)
    np.testing.assert_array_equal(ops.matmul(a, b), [[19, 22], [43, 50]])
    np.testing.assert_array_equal(dense(a, b, np.array([1, 2], np.float32)), [[20, 24], [44, 52]])


def test_one_matrix_multiplies_every_row() -> None:
    x, kernel = noise(2, 3, 4, 5), noise(5, 6, seed=1)
    np.testing.assert_allclose(dense(x, kernel), x @ kernel, atol=1e-12)
    single = ops.matmul(x.astype("float32"), kernel.astype("float32"))
    np.testing.assert_allclose(single, x @ kernel, rtol=1e-4, atol=1e-5)


def test_an_inner_size_of_zero_gives_zeros() -> None:
    found = ops.matmul(np.zeros((3, 0), np.float32), np.zeros((0, 5), np.float32))
    np.testing.assert_array_equal(found, np.zeros((3, 5)))


def test_unknown_batch_stays_unknown() -> None:
    assert dense(placeholder((None, 8)), np.ones((8, 3), np.float32)).shape == (None, 3)
    assert dense(placeholder((None, 7, 8)), np.ones((8, 3), np.float32)).shape == (None, 7, 3)


def test_macs() -> None:
    assert MatMul().macs(Spec((4, 5)), Spec((5, 6))) == 4 * 5 * 6
    assert MatMul(True, True).macs(Spec((5, 4)), Spec((6, 5))) == 4 * 5 * 6


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: ops.matmul(noise(3, 4), noise(5, 6)), ShapeError, r"they are 4 and 5"),
        (lambda: ops.matmul(noise(3), noise(3, 6)), ShapeError, r"at least two axes"),
        (lambda: ops.matmul(noise(2, 3, 4), noise(3, 4, 5)), ShapeError, r"equal leading axes"),
        (lambda: ops.matmul(np.ones((2, 3), int), noise(3, 4)), DtypeError, r"found int64"),
        (lambda: dense(noise(3, 4), noise(5, 6)), ShapeError, r"4 channels .* shape \(4, 6\)"),
        (lambda: dense(noise(4), noise(4, 6)), ShapeError, r"add the batch axis"),
        (lambda: dense(noise(3, 4), noise(4)), ShapeError, r"expected \(4, units\)"),
        (lambda: dense(noise(3, 4), noise(4, 6), noise(4)), ShapeError, r"bias has shape \(4,\)"),
    ],
)
def test_errors_say_what_was_found_and_expected(
    call: Any, error: type[FastcnnError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        call()
    assert str(raised.value).startswith("ops.")
