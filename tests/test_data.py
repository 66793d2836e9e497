# SPDX-License-Identifier: Apache-2.0
"""From the user's data to batches: order, structure, conversion and bad input."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn.data import (
    Structure,
    make_adapter,
    pack_x_y_sample_weight,
    permutation,
    prefetch,
    train_validation_split,
    unpack_x_y_sample_weight,
)
from fastcnn.data.prefetch import map_ahead
from fastcnn.errors import ArgumentError, DataError, DtypeError
from fastcnn.utils import PyDataset

N = 23


def images(n=N):
    return np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), "f4")


def order(batches):
    """The sample numbers seen, batch by batch."""
    return [batch.x[0][:, 0, 0, 0].astype(int).tolist() for batch in batches]


def flat(batches):
    return [number for batch in order(batches) for number in batch]


class Source(PyDataset):
    """Batches of two samples; batch i holds the numbers 2i and 2i+1."""

    def __init__(self, count=5, length=None, **options):
        super().__init__(**options)
        self.count, self.length, self.calls = count, length, []

    def __len__(self):
        return self.count

    @property
    def num_batches(self):
        return None if self.length == "endless" else self.count

    def __getitem__(self, index):
        return images(2) + 2 * index, np.array([index, index])

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def generator(count=4):
    for index in range(count):
        yield images(2) + 2 * index, np.array([index, index])


class TestPermutation:
    @given(st.integers(0, 300), st.integers(-(2**70), 2**70), st.integers(0, 2**40))
    def test_is_a_permutation_and_repeats(self, n, seed, stream):
        found = permutation(n, seed, stream)
        assert sorted(found) == list(range(n))
        assert np.array_equal(found, permutation(n, seed, stream))

    def test_seed_and_stream_matter(self):
        orders = {tuple(permutation(20, *key)) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}
        assert len(orders) == 4

    def test_never_changes(self):
        # From the first release on; published training runs depend on it.
        assert permutation(10, 42, 3).tolist() == [1, 6, 3, 4, 5, 9, 2, 8, 0, 7]

    def test_positions_are_uniform(self):
        first = np.array([permutation(8, 0, stream)[0] for stream in range(4000)])
        assert np.abs(np.bincount(first, minlength=8) - 500).max() < 100


class TestArrays:
    def test_one_pass_in_order(self):
        adapter = make_adapter(images(), np.arange(N), batch_size=5)
        batches = list(adapter.epoch())
        assert order(batches) == [
            [0, 1, 2, 3, 4],
            [5, 6, 7, 8, 9],
            [10, 11, 12, 13, 14],
            [15, 16, 17, 18, 19],
            [20, 21, 22],
        ]
        assert adapter.num_batches == 5
        assert adapter.num_samples == N
        assert adapter.batch_size == 5
        assert batches[0].w == [None]
        assert batches[4].size == 3

    def test_default_batch_size(self):
        assert [b.size for b in make_adapter(images(70)).epoch()] == [32, 32, 6]

    def test_labels_weights_and_inputs_stay_together(self):
        weights = np.arange(N) / N
        adapter = make_adapter(images(), np.arange(N), weights, batch_size=4, shuffle=True)
        for x, y, w in adapter.epoch(3):
            assert np.array_equal(x[0][:, 0, 0, 0], y[0])
            np.testing.assert_allclose(w[0], y[0] / N, rtol=1e-6)
            assert w[0].dtype == np.float32

    def test_shuffle_depends_on_seed_and_epoch_only(self):
        def seen(seed, epoch, **options):
            adapter = make_adapter(images(), shuffle=True, seed=seed, **options)
            return flat(adapter.epoch(epoch))

        assert sorted(seen(1, 0)) == list(range(N))
        assert seen(1, 2) == seen(1, 2)
        assert seen(1, 2, batch_size=3) == seen(1, 2, batch_size=7)
        assert len({tuple(seen(*key)) for key in ((1, 0), (1, 1), (2, 0))}) == 3

    def test_resuming_gives_the_same_epochs(self):
        adapter = make_adapter(images(), shuffle=True, seed=7)
        whole = [flat(adapter.epoch(epoch)) for epoch in range(4)]
        resumed = make_adapter(images(), shuffle=True, seed=7)
        assert [flat(resumed.epoch(epoch)) for epoch in (2, 3)] == whole[2:]

    def test_same_order_in_another_process(self):
        code = (
            "import numpy as np; from fastcnn.data import make_adapter;"
            "a = make_adapter(np.arange(9.).reshape(9, 1), shuffle=True, seed=5, batch_size=9);"
            "print(next(a.epoch(4)).x[0].ravel().astype(int).tolist())"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert eval(found.stdout) == permutation(9, 5, 4).tolist()

    def test_batch_shuffle_keeps_batches_whole(self):
        adapter = make_adapter(images(), batch_size=5, shuffle="batch")
        seen = order(adapter.epoch(1))
        assert sorted(seen) == order(make_adapter(images(), batch_size=5).epoch())
        assert seen != sorted(seen)

    @given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 20), st.booleans())
    def test_steps_cut_the_row_of_passes(self, n, batch_size, steps, shuffle):
        options = {"batch_size": batch_size, "shuffle": shuffle, "seed": 3}
        cut = make_adapter(images(n), steps_per_epoch=steps, **options)
        passes = make_adapter(images(n), **options)
        row = [b for number in range(3 * steps) for b in order(passes.epoch(number))]
        for epoch in (2, 0, 1):
            assert order(cut.epoch(epoch)) == row[epoch * steps : (epoch + 1) * steps]
        assert cut.num_batches == steps

    def test_no_repeat_for_evaluation(self):
        adapter = make_adapter(images(), batch_size=5, steps_per_epoch=2, repeat=False)
        assert flat(adapter.epoch()) == list(range(10))
        with pytest.raises(ArgumentError, match=r"steps=6, expected at most 5"):
            make_adapter(images(), batch_size=5, steps_per_epoch=6, repeat=False)

    def test_dtypes(self):
        def dtypes(x, y):
            (batch,) = make_adapter(np.ones((3, 2), x), np.ones(3, y)).epoch()
            return batch.x[0].dtype, batch.y[0].dtype

        assert dtypes("f8", "f8") == ("f4", "f4")
        assert dtypes("f4", "i8") == ("f4", "i4")
        assert dtypes("u1", "u1") == ("u1", "u1")
        assert dtypes("i8", "i4") == ("i8", "i4")
        assert dtypes("f2", "?") == ("f2", "?")
        adapter = make_adapter(np.ones((3, 2)), np.ones(3), np.ones(3), float_dtype="f8")
        (batch,) = adapter.epoch()
        assert {batch.x[0].dtype, batch.y[0].dtype, batch.w[0].dtype} == {np.dtype("f8")}
        assert adapter.x_specs == [((2,), np.dtype("f8"))]

    def test_lists_and_array_likes(self):
        class Frame:
            def __array__(self, dtype=None, copy=None):
                return np.arange(6.0).reshape(3, 2)

            def __len__(self):
                return 3

            def __getitem__(self, index):
                raise AssertionError("read as a batch source")

        (batch,) = make_adapter(Frame(), [0, 1, 2]).epoch()
        assert batch.x[0].shape == (3, 2)
        assert batch.y[0].tolist() == [0, 1, 2]
        (batch,) = make_adapter([[1.0, 2.0], [3.0, 4.0]], [np.int64(1), np.int64(0)]).epoch()
        assert batch.x[0].shape == (2, 2)
        assert batch.y[0].dtype == np.int32

    def test_memory_map_is_not_loaded(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, images())
        mapped = np.load(path, mmap_mode="r")
        (first, *_) = make_adapter(mapped, batch_size=4).epoch()
        assert np.shares_memory(first.x[0], mapped)

    def test_user_arrays_are_not_changed(self):
        x, y = images().astype("f8"), np.arange(N)
        list(make_adapter(x, y, shuffle=True, class_weight={1: 2.0}).epoch())
        assert np.array_equal(x, images())
        assert np.array_equal(y, np.arange(N))

    def test_an_adapter_passes_through(self):
        adapter = make_adapter(images())
        assert make_adapter(adapter) is adapter


class TestStructures:
    def test_several_inputs_and_outputs(self):
        x = {"b": images(), "a": np.arange(N)}
        y = [np.zeros(N), (np.ones((N, 2)), np.ones(N, "i8"))]
        adapter = make_adapter(x, y, batch_size=N)
        (batch,) = adapter.epoch()
        assert [a.shape for a in batch.x] == [(N,), (N, 2, 2, 1)]
        assert adapter.x_structure.paths == (("a",), ("b",))
        assert adapter.y_structure.paths == ((0,), (1, 0), (1, 1))
        assert [spec.shape for spec in adapter.y_specs] == [(), (2,), ()]
        rebuilt = adapter.y_structure.unflatten(batch.y)
        assert isinstance(rebuilt[1], tuple)
        assert rebuilt[1][0] is batch.y[1]
        assert adapter.x_structure.unflatten(batch.x)["b"] is batch.x[1]

    def test_weights_for_several_outputs(self):
        y = {"a": np.zeros(N), "b": np.zeros(N)}
        weight = np.ones(N)

        def weights(given):
            (batch,) = make_adapter(images(), y, given, batch_size=N).epoch()
            return [None if w is None else w.shape for w in batch.w]

        assert weights(weight) == [(N,), (N,)]
        assert weights({"b": weight}) == [None, (N,)]
        assert weights({"a": weight, "b": None}) == [(N,), None]
        with pytest.raises(DataError, match=r"names \['c'\]"):
            weights({"c": weight})
        with pytest.raises(DataError, match="nested as"):
            weights([weight])

    def test_no_labels(self):
        adapter = make_adapter(images())
        (batch,) = adapter.epoch()
        assert batch.y == []
        assert batch.w == []
        assert adapter.y_structure.unflatten([]) is None

    def test_text(self):
        tree = {"a": [1, None], "b": (np.zeros(2), {})}
        assert str(Structure.of({"a": [np.zeros(1), None]})) == "{'a': [array, None]}"
        structure = Structure.of(tree)
        assert structure.unflatten(structure.flatten(tree)) == tree
        with pytest.raises(DataError, match="expected 2"):
            structure.unflatten([1])
        with pytest.raises(DataError, match="keys"):
            Structure.of({1: 2})


class TestClassWeight:
    @pytest.mark.parametrize("shape", ["numbers", "column", "one-hot", "floats"])
    def test_labels_of_every_form(self, shape):
        numbers = np.array([0, 2, 1, 2])
        labels = {
            "numbers": numbers,
            "column": numbers[:, None],
            "one-hot": np.eye(3)[numbers],
            "floats": numbers.astype("f4"),
        }[shape]
        adapter = make_adapter(images(4), labels, class_weight={0: 0.5, 2: 3})
        (batch,) = adapter.epoch()
        assert batch.w[0].tolist() == [0.5, 3.0, 1.0, 3.0]
        assert batch.w[0].dtype == np.float32

    def test_follows_the_shuffle(self):
        y = np.arange(N) % 3
        adapter = make_adapter(images(), y, class_weight={1: 5.0}, shuffle=True, batch_size=4)
        for batch in adapter.epoch():
            assert np.array_equal(batch.w[0], np.where(batch.y[0] == 1, 5.0, 1.0))

    def test_in_generators(self):
        adapter = make_adapter(generator(), class_weight={1: 5.0})
        assert [b.w[0].tolist() for b in adapter.epoch()] == [[1, 1], [5, 5], [1, 1], [1, 1]]

    @pytest.mark.parametrize(
        "wrong", [{0: -1.0}, {0: np.nan}, {"cat": 1.0}, {0: "heavy"}, 3, {0: None}]
    )
    def test_wrong_dicts(self, wrong):
        with pytest.raises(ArgumentError, match="class_weight="):
            make_adapter(images(), np.zeros(N), class_weight=wrong)

    def test_wrong_company(self):
        weight = {0: 1.0}
        with pytest.raises(ArgumentError, match="both class_weight and sample_weight"):
            make_adapter(images(), np.zeros(N), np.ones(N), class_weight=weight)
        with pytest.raises(ArgumentError, match="one label array, found 2"):
            make_adapter(images(), [np.zeros(N), np.zeros(N)], class_weight=weight)
        with pytest.raises(ArgumentError, match="one label array, found 0"):
            make_adapter(images(), class_weight=weight)
        with pytest.raises(DataError, match="shape"):
            make_adapter(images(), np.zeros((N, 2, 2)), class_weight=weight)


class TestBadArrays:
    @pytest.mark.parametrize(
        ("x", "y", "weight", "message"),
        [
            (images(), np.zeros(N - 1), None, r"different lengths \(x 23, y 22\)"),
            (images(), np.zeros(N), np.zeros(5), r"sample_weight 5"),
            ({"a": images(), "b": images(3)}, None, None, r"x\['a'\] 23, x\['b'\] 3"),
            ([images(), images(3)], None, None, r"x\[0\] 23, x\[1\] 3"),
            (images(0), np.zeros(0), None, r"empty.*\(0, 2, 2, 1\)"),
            ([], None, None, "no array"),
            ({}, None, None, "no array"),
            (np.float32(3), None, None, "batch axis"),
            ([[1.0, 2.0], [3.0]], None, None, "same shape"),
            ([images(), None], None, np.ones(N), "no labels"),
            (images(), np.r_[np.zeros(20), np.nan, np.zeros(2)], None, "y is NaN at sample 20"),
            (images(), np.zeros(N), np.full(N, np.nan), "sample_weight is NaN at sample 0"),
            (images(), np.full(N, 2**40), None, "int32"),
            (images(), None, np.ones(N), "no labels"),
        ],
    )
    def test_one_clear_error(self, x, y, weight, message):
        with pytest.raises(DataError, match=message):
            make_adapter(x, y, weight)

    @pytest.mark.parametrize("x", ["path/to/images", np.array(["a"]), [object()], np.ones(3, "c8")])
    def test_not_numbers(self, x):
        with pytest.raises(DtypeError, match=r"dtype.*expected numbers"):
            make_adapter(x)

    def test_rows_of_different_shapes(self):
        x = np.empty(2, object)
        x[:] = [np.zeros((2, 2)), np.zeros((3, 3))]
        with pytest.raises(DtypeError, match=r"x has dtype object.*np\.stack"):
            make_adapter(x, np.zeros(2))

    @pytest.mark.parametrize("x", [3, object(), None])
    def test_not_data(self, x):
        with pytest.raises((DtypeError, DataError), match="expected"):
            make_adapter(x)

    def test_nan_far_into_large_labels(self):
        y = np.zeros((3000, 2000), np.float32)
        y[2999, 1999] = np.nan
        with pytest.raises(DataError, match="sample 2999"):
            make_adapter(np.zeros(3000), y)

    @pytest.mark.parametrize("value", [0, -1, 2.5, "8"])
    @pytest.mark.parametrize("name", ["batch_size", "steps_per_epoch"])
    def test_counts(self, name, value):
        with pytest.raises(ArgumentError, match=f"{name}={value!r}"):
            make_adapter(images(), **{name: value})

    def test_shuffle(self):
        with pytest.raises(ArgumentError, match="shuffle='yes'"):
            make_adapter(images(), shuffle="yes")


class TestSequences:
    def test_order_and_hooks(self):
        source = Source()
        adapter = make_adapter(source)
        assert adapter.num_batches == 5
        assert adapter.num_samples is None
        assert order(adapter.epoch()) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
        assert source.calls == ["begin", "end"]

    def test_shuffle_is_by_batch_and_repeatable(self):
        first = order(make_adapter(Source(), shuffle=True, seed=1).epoch(3))
        assert first == order(make_adapter(Source(), shuffle=True, seed=1).epoch(3))
        assert sorted(first) == order(make_adapter(Source()).epoch())
        assert first != sorted(first)

    def test_look_alike(self):
        class Plain:
            def __len__(self):
                return 2

            def __getitem__(self, index):
                return images(2), np.zeros(2), np.full(2, index)

        batches = list(make_adapter(Plain()).epoch())
        assert [b.w[0].tolist() for b in batches] == [[0, 0], [1, 1]]

    def test_steps(self):
        adapter = make_adapter(Source(), steps_per_epoch=3)
        assert [flat(adapter.epoch(e))[::2] for e in (0, 1)] == [[0, 2, 4], [6, 8, 0]]
        with pytest.raises(ArgumentError, match="at most 5"):
            make_adapter(Source(), steps_per_epoch=6, repeat=False)

    def test_endless(self):
        adapter = make_adapter(Source(length="endless"), steps_per_epoch=2)
        assert order(adapter.epoch(10)) == [[40, 41], [42, 43]]
        with pytest.raises(ArgumentError, match="steps_per_epoch"):
            make_adapter(Source(length="endless"))

    @pytest.mark.parametrize("workers", [2, 4])
    def test_workers_keep_the_order(self, workers):
        class Slow(Source):
            def __getitem__(self, index):
                time.sleep(0.002 * (index % 3 == 0))
                return super().__getitem__(index)

        source = Slow(count=12, workers=workers, max_queue_size=3)
        assert flat(make_adapter(source).epoch()) == list(range(24))

    def test_error_in_a_worker_comes_out(self):
        class Broken(Source):
            def __getitem__(self, index):
                if index == 3:
                    raise RuntimeError("disk on fire")
                return super().__getitem__(index)

        adapter = make_adapter(Broken(workers=2))
        with pytest.raises(RuntimeError, match="disk on fire"):
            list(adapter.epoch())

    def test_bad_batches(self):
        class Bad(Source):
            def __getitem__(self, index):
                if index == 2:
                    return self.bad
                return super().__getitem__(index)

        def run(bad):
            source = Bad()
            source.bad = bad
            return list(make_adapter(source).epoch())

        with pytest.raises(DataError, match=r"Batch 2 of Bad has arrays of different lengths"):
            run((images(2), np.zeros(3)))
        with pytest.raises(DataError, match=r"Batch 2 of Bad has y nested as None"):
            run((images(2),))
        with pytest.raises(DataError, match=r"Batch 2 of Bad is empty"):
            run((images(0), np.zeros(0)))
        with pytest.raises(DataError, match="4 parts"):
            run((images(2), 1, 2, 3))
        with pytest.raises(DataError, match="NaN"):
            run((images(2), np.array([0, np.nan])))

    def test_empty_and_labels_beside(self):
        with pytest.raises(DataError, match="0 batches"):
            make_adapter(Source(count=0))
        with pytest.raises(ArgumentError, match="inside the batches"):
            make_adapter(Source(), np.zeros(3))


class TestIterables:
    def test_generator_once(self):
        adapter = make_adapter(generator())
        assert adapter.num_batches is None
        assert adapter.x_specs[0].shape == (2, 2, 1)
        assert flat(adapter.epoch()) == list(range(8))
        assert adapter.num_batches == 4
        with pytest.raises(DataError, match="ran out in epoch 2 after 0 batches"):
            list(adapter.epoch(1))

    def test_generator_in_steps(self):
        adapter = make_adapter(generator(5), steps_per_epoch=2)
        assert adapter.num_batches == 2
        assert flat(adapter.epoch(0)) == [0, 1, 2, 3]
        assert flat(adapter.epoch(1)) == [4, 5, 6, 7]
        with pytest.raises(DataError, match="ran out in epoch 3 after 1 batches, expected 2"):
            list(adapter.epoch(2))

    def test_function_starts_over(self):
        adapter = make_adapter(generator)
        assert flat(adapter.epoch(0)) == flat(adapter.epoch(1)) == list(range(8))
        adapter = make_adapter(generator, steps_per_epoch=3)
        assert [flat(adapter.epoch(e))[::2] for e in range(3)] == [[0, 2, 4], [6, 0, 2], [4, 6, 0]]

    def test_restarts_exactly_at_the_end(self):
        adapter = make_adapter(generator, steps_per_epoch=4)
        assert [flat(adapter.epoch(e)) for e in range(3)] == [list(range(8))] * 3

    def test_iterable_with_length(self):
        class Loader:
            def __len__(self):
                return 4

            def __iter__(self):
                return generator()

        adapter = make_adapter(Loader())
        assert adapter.num_batches == 4
        interrupted = adapter.epoch(0)
        next(interrupted)
        assert flat(adapter.epoch(1)) == list(range(8))

    def test_inputs_alone(self):
        adapter = make_adapter(images(2) for _ in range(3))
        assert [b.y for b in adapter.epoch()] == [[], [], []]

    def test_several_inputs(self):
        adapter = make_adapter(({"a": images(2), "b": np.ones(2)}, np.ones(2)) for _ in range(2))
        assert [len(b.x) for b in adapter.epoch()] == [2, 2]

    def test_empty(self):
        with pytest.raises(DataError, match="gave no batch"):
            make_adapter(iter(()))
        used = generator()
        list(used)
        with pytest.raises(DataError, match="gave no batch"):
            make_adapter(used)

    def test_a_source_that_dries_up(self):
        sources = iter([generator(2), generator(0)])
        adapter = make_adapter(lambda: next(sources), steps_per_epoch=3)
        with pytest.raises(DataError, match="ran out in epoch 1 after 2"):
            list(adapter.epoch())

    def test_bad_batch_is_named(self):
        def broken():
            yield images(2), np.zeros(2)
            yield images(2), np.zeros(3)

        with pytest.raises(DataError, match="Batch 1 of broken"):
            list(make_adapter(broken).epoch())


class TestPacking:
    def test_unpack(self):
        x, y, w = images(), np.zeros(N), np.ones(N)
        for data, expected in (
            ((x,), (x, None, None)),
            ([x, y], (x, y, None)),
            ((x, y, w), (x, y, w)),
            (x, (x, None, None)),
        ):
            assert all(
                a is b for a, b in zip(unpack_x_y_sample_weight(data), expected, strict=True)
            )
        with pytest.raises(DataError, match="4 parts"):
            unpack_x_y_sample_weight((1, 2, 3, 4))
        with pytest.raises(DataError, match="0 parts"):
            unpack_x_y_sample_weight(())

    @pytest.mark.parametrize("data", [(1, 2, 3), (1, 2), 1, ([1, 2],), (1, None, 3)])
    def test_pack_is_the_inverse(self, data):
        assert pack_x_y_sample_weight(*unpack_x_y_sample_weight(data)) == data


class TestValidationSplit:
    def test_last_fraction_before_shuffling(self):
        x, y = {"a": images(10)}, [np.arange(10), np.arange(10)]
        train, val = train_validation_split(x, y, np.arange(10), validation_split=0.25)
        assert train[0]["a"][:, 0, 0, 0].tolist() == list(range(7))
        assert val[1][1].tolist() == [7, 8, 9]
        assert val[2].tolist() == [7, 8, 9]
        assert np.shares_memory(val[0]["a"], x["a"])

    def test_lists_and_no_labels(self):
        train, val = train_validation_split([1.0, 2.0, 3.0], validation_split=0.4)
        assert train[0].tolist() == [1.0]
        assert val == (pytest.approx([2.0, 3.0]), None, None)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -1, 2, float("nan")])
    def test_bad_fraction(self, fraction):
        with pytest.raises(ArgumentError, match="validation_split="):
            train_validation_split(images(), validation_split=fraction)

    def test_nothing_left(self):
        with pytest.raises(ArgumentError, match="leaves 0 for training"):
            train_validation_split(images(1), validation_split=0.5)

    def test_generators_cannot_be_split(self):
        with pytest.raises(ArgumentError, match="validation_data"):
            train_validation_split(generator(), validation_split=0.5)


class TestMapAhead:
    def test_bounded_and_ordered(self):
        waiting, most, lock = 0, 0, threading.Lock()

        def work(item):
            nonlocal waiting, most
            with lock:
                waiting += 1
                most = max(most, waiting)
            return item

        seen = []
        for item in map_ahead(work, range(30), workers=3, depth=4):
            with lock:
                waiting -= 1
            seen.append(item)
        assert seen == list(range(30))
        assert most <= 4

    def test_stopping_early_ends_the_threads(self):
        before = threading.active_count()
        items = map_ahead(lambda item: item, iter(int, 1), workers=3, depth=4)
        assert next(items) == 0
        items.close()
        assert threading.active_count() == before


class TestGatheredAhead:
    def test_large_batches_are_gathered_by_a_thread_in_the_same_order(self):
        x = np.arange(40 * 65536, dtype=np.float32).reshape(40, 65536)
        adapter = make_adapter(x, np.arange(40), batch_size=8, shuffle=True, seed=3)
        before = threading.active_count()
        batches = adapter.epoch(2)
        first = next(batches)
        assert threading.active_count() == before + 1
        found = [first, *batches]
        assert threading.active_count() == before
        order = permutation(40, 3, 2)
        for step, batch in enumerate(found):
            rows = order[8 * step : 8 * step + 8]
            np.testing.assert_array_equal(batch.y[0], rows)
            np.testing.assert_array_equal(batch.x[0], x[rows])

    def test_small_batches_and_views_need_no_thread(self):
        before = threading.active_count()
        for x, shuffle in ((np.zeros((40, 64)), True), (np.zeros((40, 65536), "f"), False)):
            batches = make_adapter(x, batch_size=8, shuffle=shuffle).epoch()
            next(batches)
            assert threading.active_count() == before
            batches.close()


SLOW = 0.004  # seconds, more than what a batch must take to be made ahead


def slow_batches(asked, count=6, fail_at=None):
    """Batches that take long; notes the number of each in `asked` when it is asked for."""
    for index in range(count):
        asked.append(index)
        time.sleep(SLOW)
        if index == fail_at:
            raise RuntimeError("disk on fire")
        yield images(2) + 2 * index, np.array([index, index])


class SlowSource(Source):
    """Notes what happens to it, and whether two threads were ever in it at once."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inside = threading.Lock()
        self.threads = set()

    def __getitem__(self, index):
        assert self.inside.acquire(blocking=False), "two threads in one source"
        try:
            self.calls.append(index)
            self.threads.add(threading.get_ident())
            time.sleep(SLOW)
            return super().__getitem__(index)
        finally:
            self.inside.release()


def until(found):
    """Wait for what another thread does."""
    end = time.monotonic() + 10
    while not found() and time.monotonic() < end:
        time.sleep(0.001)
    return found()


class TestOneAhead:
    def test_the_next_batch_is_made_while_one_is_used(self):
        asked = []
        batches = make_adapter(slow_batches(asked)).epoch()
        next(batches), next(batches)
        assert until(lambda: asked[-1] == 2)
        time.sleep(3 * SLOW)
        assert asked[-1] == 2  # and no more than that one
        assert flat(batches) == [4, 5, 6, 7, 8, 9, 10, 11]

    def test_order_and_hooks_of_a_dataset(self):
        source = SlowSource()
        adapter = make_adapter(source, shuffle=True, seed=1)
        source.calls.clear()
        found = []
        for epoch in range(2):
            for batch in adapter.epoch(epoch):
                found += batch.y[0][:1].tolist()
                time.sleep(SLOW)
        orders = [permutation(5, 1, epoch).tolist() for epoch in range(2)]
        assert found == orders[0] + orders[1]
        assert source.calls == ["begin", *orders[0], "end", "begin", *orders[1], "end"]
        assert len(source.threads) > 1

    def test_without_workers_the_loop_makes_the_batches(self):
        source = SlowSource(workers=0)
        assert flat(make_adapter(source).epoch()) == list(range(10))
        assert source.threads == {threading.get_ident()}
        asked = []

        def batches():
            return slow_batches(asked)

        batches.workers = 0
        epoch = make_adapter(batches).epoch()
        next(epoch), next(epoch)
        time.sleep(3 * SLOW)
        assert asked == [0, 1]

    def test_short_batches_need_no_thread(self, monkeypatch):
        # A pause of the process is no long batch.
        monkeypatch.setattr(prefetch, "_LONG", 60)
        before = threading.active_count()
        batches = make_adapter(Source()).epoch()
        for _ in batches:
            assert threading.active_count() == before

    def test_no_batch_is_taken_beyond_an_epoch(self):
        asked = []
        source = slow_batches(asked, count=100)
        for first in (0, 6):  # two adapters, as of two calls of fit
            adapter = make_adapter(source, steps_per_epoch=3)
            for epoch in range(2):
                begin = 2 * (first + 3 * epoch)
                assert flat(adapter.epoch(epoch)) == list(range(begin, begin + 6))
                time.sleep(2 * SLOW)
                assert asked == list(range(first + 3 * epoch + 3))

    def test_an_error_comes_at_its_batch_with_its_traceback(self):
        for source in (slow_batches([], fail_at=3), lambda: slow_batches([], fail_at=3)):
            batches = make_adapter(source).epoch()
            for index in range(3):
                assert next(batches).y[0].tolist() == [index, index]
                time.sleep(3 * SLOW)
            with pytest.raises(RuntimeError, match="disk on fire") as caught:
                next(batches)
            assert caught.traceback[-1].name == "slow_batches"

    def test_stopping_early_ends_the_thread(self):
        before = threading.active_count()
        batches = make_adapter(slow_batches([])).epoch()
        next(batches), next(batches)
        assert threading.active_count() == before + 1
        batches.close()
        assert threading.active_count() == before

    def test_arrays_that_a_source_fills_again_keep_what_they_held(self):
        def refilled():
            x, y, w = np.zeros((2, 2, 2, 1), "f4"), np.zeros(2, "i4"), np.zeros(2, "f4")
            for index in range(5):
                time.sleep(SLOW)
                for array in (x, y, w):
                    array[:] = index
                yield x, y, w

        for index, batch in enumerate(make_adapter(refilled()).epoch()):
            time.sleep(3 * SLOW)
            assert all((array == index).all() for array in (*batch.x, *batch.y, *batch.w))

    def test_what_a_generator_sets_of_its_context_it_can_set_back(self):
        def quiet():
            with np.errstate(divide="ignore"):
                for batch in slow_batches([]):
                    assert np.geterr()["divide"] == "ignore"
                    yield batch

        with np.errstate(invalid="raise"):
            adapter = make_adapter(quiet)
            assert len([*adapter.epoch(0), *adapter.epoch(1)]) == 12


@pytest.mark.parametrize("length", [1.5, -1, "3"])
def test_a_source_whose_length_is_no_number_of_batches_is_refused(length):
    class Source(PyDataset):
        def __len__(self):
            return length

        def __getitem__(self, index):
            return np.zeros((2, 3)), np.zeros(2)

    with pytest.raises(DataError, match="number of batches"):
        make_adapter(Source())


def test_a_function_that_returns_no_batches_is_refused():
    with pytest.raises(DataError, match="iterable"):
        make_adapter(lambda: 3)


def test_weights_by_name_need_labels_by_name():
    with pytest.raises(DataError, match="sample_weight"):
        make_adapter(np.zeros((2, 3)), np.zeros(2), {"zz": np.ones(2)})
