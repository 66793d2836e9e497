# SPDX-License-Identifier: Apache-2.0
"""Images moved at random: what comes in is zero, and the draw is a function of (seed, epoch)."""

import numpy as np
import pytest

from fastcnn.data import ShiftedImages
from fastcnn.data.shifts import moved
from fastcnn.errors import ArgumentError, DataError


def test_moved_images():
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    images = np.concatenate([image, 10 * image])
    rows, moves = np.array([0, 0, 1, 0]), np.array([[0, 0], [1, 0], [-1, 2], [3, -5]])
    found = moved(images, rows, moves)[..., 0]
    assert found[0].tolist() == image[0, ..., 0].tolist()
    assert found[1].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert found[2].tolist() == [[0, 0, 40], [0, 0, 70], [0, 0, 0]]
    assert not found[3].any()


def test_shifted_images_depend_on_seed_and_epoch_only():
    rng = np.random.default_rng(0)
    x, y = rng.random((50, 6, 6, 1), np.float32), np.arange(50)

    def epochs(seed, count):
        source = ShiftedImages(x, y, batch_size=16, shift=2, seed=seed)
        for _ in range(count):
            source.on_epoch_begin()
            batches = [source[i] for i in range(len(source))]
            assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
            yield tuple(np.concatenate(part) for part in zip(*batches, strict=True))

    first, second = epochs(7, 2)
    again = list(epochs(7, 2))
    for one, other in zip((first, second), again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert sorted(first[1]) == list(range(50))
    assert first[1].tolist() != second[1].tolist()
    (other,) = epochs(8, 1)
    assert other[1].tolist() != first[1].tolist()


def test_shifts_are_even_and_small():
    x = np.zeros((500, 9, 9, 1), np.float32)
    x[:, 4, 4] = 1
    images, _ = ShiftedImages(x, np.zeros(500), batch_size=500, shift=2, seed=0)[0]
    seen = images.sum(axis=(0, 3))
    assert seen[2:7, 2:7].sum() == 500
    assert seen[2:7, 2:7].min() > 5


def test_large_batches_are_made_ahead():
    labels = np.zeros(8, np.int64)
    small, large = (np.zeros((8, size, size, 1), np.float32) for size in (64, 512))
    assert ShiftedImages(small, labels, 8, 1, 0).workers == 1
    assert ShiftedImages(large, labels, 8, 1, 0).workers == 2
    assert ShiftedImages(large, labels, 1, 1, 0).workers == 2
    assert ShiftedImages(large[:, :64], labels, 1, 1, 0).workers == 1


def test_shifted_images_refuse():
    with pytest.raises(DataError, match="different lengths"):
        ShiftedImages(np.zeros((3, 4, 4, 1)), np.zeros(2), 1, 1, 0)
    with pytest.raises(ArgumentError, match="shift"):
        ShiftedImages(np.zeros((3, 4, 4, 1)), np.zeros(3), 1, -1, 0)
