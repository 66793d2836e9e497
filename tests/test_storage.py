# SPDX-License-Identifier: Apache-2.0
"""Small weights and slots lie end to end in flat blocks."""

from __future__ import annotations

import gc
import itertools
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastcnn
from fastcnn import layers, models, optimizers, storage


def _start(array):
    return array.__array_interface__["data"][0]


def _model():
    model = models.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(100),
            layers.Dense(10),
        ]
    )
    model.compile(optimizers.Adam(), "mse")
    return model


@pytest.fixture
def fresh_block(monkeypatch):
    monkeypatch.setattr(storage, "_blocks", storage.Blocks(storage.BLOCK))


@pytest.mark.usefixtures("fresh_block")
class TestStorage:
    def test_small_weights_and_slots_are_one_block(self):
        model = _model()
        model.train_on_batch(np.ones((2, 8, 8, 3), "float32"), np.ones((2, 10), "float32"))
        kept = [*model.weights, *model.optimizer.variables]
        small = sorted(
            (_start(p.value), p.value.nbytes) for p in kept if p.value.nbytes <= storage.SMALL
        )
        assert len(small) > len(kept) - 5  # the large kernel and its two slots lie apart
        for (here, nbytes), (following, _) in itertools.pairwise(small):
            assert here % storage.ALIGNMENT == 0
            assert following - here == -(-nbytes // storage.ALIGNMENT) * storage.ALIGNMENT

    def test_large_arrays_have_pages_of_their_own(self):
        large = storage.empty((storage.SMALL // 4 + 1,), "float32")
        assert large.base is None
        assert storage.settled(large) is large

    def test_a_full_block_is_followed_by_another(self):
        arrays = [storage.empty((storage.SMALL // 4,), "float32") for _ in range(20)]
        for k, array in enumerate(arrays):
            array[...] = k
        assert all((array == k).all() for k, array in enumerate(arrays))

    def test_threads_share_no_bytes(self):
        with ThreadPoolExecutor(8) as pool:
            arrays = list(pool.map(lambda _: storage.empty((5,), "float32"), range(500)))
        starts = [_start(array) for array in arrays]
        assert len(set(starts)) == len(starts)

    def test_a_block_goes_with_its_last_array(self):
        first, second = storage.empty((3,), "float32"), storage.empty((3,), "float32")
        block = first
        while block.base is not None:
            block = block.base
        gone = weakref.ref(block)
        storage._blocks = storage.Blocks(storage.BLOCK)
        del first, block
        gc.collect()
        assert gone() is not None
        del second
        gc.collect()
        assert gone() is None

    def test_empty_and_scalar_shapes(self):
        assert storage.empty((0, 3), "float32").shape == (0, 3)
        assert storage.empty((), "float64").shape == ()

    def test_a_pickled_weight_carries_its_own_values(self):
        weight = _model().weights[0]
        packed = pickle.dumps(weight)
        assert len(packed) < weight.value.nbytes + 2000
        np.testing.assert_array_equal(pickle.loads(packed).value, weight.value)

    def test_a_weight_of_numpys_is_left_where_it_is(self):
        array = np.ones(4, "float32")
        assert fastcnn.graph.Parameter("w", array).value is array
