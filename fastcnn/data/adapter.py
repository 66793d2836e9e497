# SPDX-License-Identifier: Apache-2.0
"""One interface over everything `fit`, `evaluate` and `predict` accept as data.

The batches of an epoch are a function of (data, seed, epoch) for arrays and batch sources, so a
run resumed at epoch k sees what an uninterrupted run sees. With `steps_per_epoch`, epochs cut an
endless row of passes over the data into equal parts; every pass has its own order.
"""

from __future__ import annotations

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import copy_context
from typing import Any, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt

from fastcnn.data.arrays import Array
from fastcnn.data.batch import ArraySpec, Batch, Converter, Samples, check_class_weight
from fastcnn.data.packing import unpack_x_y_sample_weight
from fastcnn.data.prefetch import LARGE_BATCH, map_ahead, one_ahead
from fastcnn.data.sampling import permutation
from fastcnn.data.structure import Structure
from fastcnn.errors import ArgumentError, DataError, DtypeError
from fastcnn.utils.py_dataset import PyDataset

Rows: TypeAlias = slice | npt.NDArray[np.intp]

_AHEAD = 2  # under way or waiting: one is taken while the next is made


class DataAdapter(ABC):
    """A source of batches. Made by `make_adapter`.

    Attributes:
        x_structure: nesting of the inputs as the user gave them.
        y_structure: nesting of the labels; has no leaves without labels.
        x_specs: shape without the batch axis and dtype of each input, after conversion.
        y_specs: the same for the labels.
        first: the first sample as a batch of one.
        labels: the labels at hand before the first step: all of arrays, else the first batch's.
        num_samples: samples in the whole set, None when unknown.
        batch_size: samples in a full batch, None when the source decides.
    """

    x_structure: Structure
    y_structure: Structure
    x_specs: list[ArraySpec]
    y_specs: list[ArraySpec]
    first: Batch
    labels: list[Array]
    num_samples: int | None = None
    batch_size: int | None = None

    @property
    @abstractmethod
    def num_batches(self) -> int | None:
        """Batches in one epoch, None when only iterating can tell."""

    @abstractmethod
    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of epoch number `epoch`, counted from 0.

        The arrays may be views of the user's data and must not be written to.
        """

    def reseed(self, seed: int) -> None:  # noqa: B027 - sources without random order ignore it
        """Key the random orders of the following epochs by `seed`."""

    def _describe(self, samples: Samples, converter: Converter) -> None:
        """Set structures, specs and what can be looked at beforehand from checked samples."""
        converter.check(samples)
        row = converter.batch(samples, slice(0, 1))
        self.x_structure, self.y_structure = samples.x_structure, samples.y_structure
        self.x_specs = [ArraySpec(array.shape[1:], array.dtype) for array in row.x]
        self.y_specs = [ArraySpec(array.shape[1:], array.dtype) for array in row.y]
        self.first, self.labels = row, samples.y

    def _check_batch(self, raw: Any, where: str) -> Samples:
        """Check one batch of a user's source against the first one."""
        samples = Samples.check(*unpack_x_y_sample_weight(raw), where)
        for name, found, expected in (
            ("x", samples.x_structure, self.x_structure),
            ("y", samples.y_structure, self.y_structure),
        ):
            if found != expected:
                raise DataError(
                    f"{where} has {name} nested as {found}, expected {expected} as in the first "
                    "batch; yield the same structure every time."
                )
        return samples


def make_adapter(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: bool | str = False,
    class_weight: Any = None,
    seed: int = 0,
    repeat: bool = True,
    float_dtype: npt.DTypeLike = np.float32,
) -> DataAdapter:
    """Put data of any accepted kind behind `DataAdapter`.

    Args:
        x: an array (anything NumPy can read without objects), a nested list or dict of arrays, a
            `PyDataset` or other object with `__len__` and `__getitem__` that returns batches, a
            generator or other iterable of batches, or a function without arguments that returns
            one. Batches are `x`, `(x, y)` or `(x, y, sample_weight)`.
        y: labels, only beside arrays.
        sample_weight: (samples,) or a shape the loss can broadcast, for all labels, or a nesting
            like `y`'s with None where there is no weight. Only beside arrays.
        batch_size: samples per batch for arrays, 32 when None; other sources decide themselves.
        steps_per_epoch: batches per epoch; one pass over the data when None.
        shuffle: order of arrays' samples and of batch sources' batches; "batch" keeps the
            samples of a batch together. Without effect on iterables.
        class_weight: class number to weight, for one label array without `sample_weight`.
        seed: with the epoch, the key of every random order.
        repeat: whether more steps than the data has batches start over; an error when False.
        float_dtype: what float64 inputs and labels become. int64 labels become int32. All other
            inputs and labels keep their dtype; weights always get `float_dtype`.

    Raises:
        ArgumentError: an impossible option.
        DataError: empty or inconsistent data, NaN labels or weights.
        DtypeError: data of a kind or dtype that cannot be used.
    """
    if isinstance(x, DataAdapter):
        return x
    steps = None if steps_per_epoch is None else _positive("steps_per_epoch", steps_per_epoch)
    if shuffle not in (True, False, "batch"):
        raise ArgumentError(f'Found shuffle={shuffle!r}, expected True, False or "batch".')
    converter = Converter(check_class_weight(class_weight), float_dtype)
    if isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__"):
        samples = Samples.check(x, y, sample_weight, "The data set")
        size = _positive("batch_size", 32 if batch_size is None else batch_size)
        return ArrayAdapter(samples, converter, size, steps, shuffle, seed, repeat)
    if y is not None or sample_weight is not None:
        raise ArgumentError(
            f"Found y or sample_weight beside x of type {type(x).__name__}, expected them inside "
            "the batches: yield (x, y) or (x, y, sample_weight)."
        )
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return SequenceAdapter(x, converter, steps, bool(shuffle), seed, repeat)
    if hasattr(x, "__iter__") or callable(x):
        return IterableAdapter(x, converter, steps)
    raise DtypeError(
        f"x is a {type(x).__name__}, expected arrays, a PyDataset, or a generator of batches."
    )


@final
class ArrayAdapter(DataAdapter):
    """Arrays in memory or mapped from a file."""

    def __init__(
        self,
        samples: Samples,
        converter: Converter,
        batch_size: int,
        steps: int | None,
        shuffle: bool | str,
        seed: int,
        repeat: bool,
    ) -> None:
        self._describe(samples, converter)
        self.num_samples, self.batch_size = samples.length, batch_size
        self._samples, self._converter = samples, converter
        self._shuffle, self._seed = shuffle, seed
        self._per_pass = math.ceil(samples.length / batch_size)
        self._steps = _steps(steps, self._per_pass, repeat)

    @property
    def num_batches(self) -> int:
        """Batches in one epoch."""
        return self._steps

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; the last one of a pass may be smaller.

        Large ones are gathered one ahead of their use by a thread, which holds no GIL meanwhile.
        """
        threads = 1 if self._gathered_bytes() >= LARGE_BATCH else 0
        yield from map_ahead(self._batch, self._rows(epoch), threads, _AHEAD)

    def _batch(self, rows: Rows) -> Batch:
        return self._converter.batch(self._samples, rows)

    def _rows(self, epoch: int) -> Iterator[Rows]:
        for number, steps in _passes(epoch, self._steps, self._per_pass):
            rows_of = self._order(number)
            for step in steps:
                yield rows_of(step)

    def _gathered_bytes(self) -> int:
        """Of a batch's copies: samples in random order are copied, others are views."""
        if self._shuffle is not True:
            return 0
        row = sum(array.nbytes for array in (*self.first.x, *self.first.y))
        return cast(int, self.batch_size) * row

    def reseed(self, seed: int) -> None:
        """Key the orders of the following epochs by `seed`."""
        self._seed = seed

    def _order(self, number: int) -> Callable[[int], Rows]:
        """The rows of each batch in pass `number`."""
        size, length = cast(int, self.batch_size), self._samples.length
        if self._shuffle is True:
            order = permutation(length, self._seed, number)
            return lambda step: order[step * size : (step + 1) * size]
        blocks = np.arange(self._per_pass)
        if self._shuffle == "batch":
            blocks = permutation(self._per_pass, self._seed, number)
        return lambda step: slice(
            int(blocks[step]) * size, min((int(blocks[step]) + 1) * size, length)
        )


@final
class SequenceAdapter(DataAdapter):
    """A `PyDataset` or look-alike: batches by index."""

    def __init__(
        self,
        source: Any,
        converter: Converter,
        steps: int | None,
        shuffle: bool,
        seed: int,
        repeat: bool,
    ) -> None:
        self._source, self._converter = source, converter
        self._shuffle, self._seed, self._repeat = shuffle, seed, repeat
        self._given_steps = steps
        self._name = type(source).__name__
        if self._per_pass() is None and steps is None:
            raise ArgumentError(
                f"{self._name} is endless (num_batches is None), expected steps_per_epoch with it."
            )
        if self._per_pass() == 0:
            raise DataError(f"{self._name} has 0 batches, expected at least one.")
        # Raises now rather than in the first epoch when there are more steps than batches.
        _ = self.num_batches
        first = Samples.check(*unpack_x_y_sample_weight(source[0]), self._where(0))
        self._describe(first, converter)

    @property
    def num_batches(self) -> int:
        """Batches in one epoch; asked anew, because `on_epoch_end` may change it."""
        per_pass = self._per_pass()
        if per_pass is None:
            return cast(int, self._given_steps)
        return _steps(self._given_steps, per_pass, self._repeat)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, made ahead unless the source asks for no workers."""
        self._call("on_epoch_begin")
        workers = _workers(self._source)
        depth = int(getattr(self._source, "max_queue_size", 10) or 1)
        threads = workers if workers > 1 else 0
        batches = map_ahead(self._batch, self._indices(epoch), threads, depth)
        yield from one_ahead(batches) if workers == 1 else batches
        self._call("on_epoch_end")

    def reseed(self, seed: int) -> None:
        """Key the orders of the following epochs by `seed`."""
        self._seed = seed

    def _indices(self, epoch: int) -> Iterator[int]:
        per_pass, steps = self._per_pass(), self.num_batches
        if per_pass is None:
            yield from range(epoch * steps, (epoch + 1) * steps)
            return
        for number, part in _passes(epoch, steps, per_pass):
            order = permutation(per_pass, self._seed, number) if self._shuffle else None
            for step in part:
                yield step if order is None else int(order[step])

    def _batch(self, index: int) -> Batch:
        samples = self._check_batch(self._source[index], self._where(index))
        self._converter.check(samples)
        return self._converter.batch(samples, slice(None))

    def _per_pass(self) -> int | None:
        try:
            if isinstance(self._source, PyDataset):
                return self._source.num_batches
            return len(self._source)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"len({self._name}) failed ({error}), expected its number of batches; round it, "
                "for example with math.ceil"
            ) from error

    def _where(self, index: int) -> str:
        return f"Batch {index} of {self._name}"

    def _call(self, hook: str) -> None:
        method = getattr(self._source, hook, None)
        if method is not None:
            method()


@final
class IterableAdapter(DataAdapter):
    """A generator, any other iterable of batches, or a function that returns one.

    Batches come in the order of the source: `epoch` numbers only tell how often it was asked. A
    source that can start over (a list-like iterable or a function) does so for every pass; a
    generator lasts for one. An epoch takes no batch beyond its last one from the source; one that
    ends early may have taken one that it did not use.
    """

    def __init__(self, source: Any, converter: Converter, steps: int | None) -> None:
        self._source, self._converter, self._steps = source, converter, steps
        self._name = getattr(source, "__name__", type(source).__name__)
        self._length: int | None = len(source) if isinstance(source, Sized) else None
        self._restarts = callable(source) or iter(source) is not source
        self._delivered = 0
        # Whichever thread asks: what a generator sets of it, it can set back.
        self._context = copy_context()
        self._current: Iterator[Any] | None = self._start()
        raw = self._context.run(next, self._current, _END)
        if raw is _END:
            raise DataError(
                f"{self._name} gave no batch, expected at least one; it may have been used up "
                "before."
            )
        # A generator's first batch cannot be asked for twice.
        self._current = itertools.chain([raw], self._current)
        self._describe(
            Samples.check(*unpack_x_y_sample_weight(raw), f"Batch 0 of {self._name}"), converter
        )

    @property
    def num_batches(self) -> int | None:
        """Batches in one epoch, None before the first pass has shown how many there are."""
        return self._length if self._steps is None else self._steps

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The next batches of the source: `steps_per_epoch` of them, or all that are left.

        They are made ahead unless the source has an attribute `workers` that is 0.
        """
        batches = self._batches(epoch)
        return one_ahead(batches) if _workers(self._source) else batches

    def _batches(self, epoch: int) -> Iterator[Batch]:
        if self._steps is None and self._restarts and self._delivered:
            self._current = self._start()
        count = 0
        while self._steps is None or count < self._steps:
            if self._current is None:
                if not self._restarts:
                    raise self._ran_out(epoch, count)
                self._current = self._start()
            raw = self._context.run(next, self._current, _END)
            if raw is _END:
                self._current = None
                if self._steps is None and count:
                    break
                if not self._delivered:
                    raise self._ran_out(epoch, count)
                continue
            count += 1
            self._delivered += 1
            yield self._batch(raw)
        if self._steps is None:
            self._length = count

    def _start(self) -> Iterator[Any]:
        made = self._source() if callable(self._source) else self._source
        self._delivered = 0
        if not isinstance(made, Iterable):
            raise DataError(
                f"{self._name} returned a {type(made).__name__}, expected a generator or another "
                "iterable of batches; yield them."
            )
        return iter(made)

    def _batch(self, raw: Any) -> Batch:
        samples = self._check_batch(raw, f"Batch {self._delivered - 1} of {self._name}")
        self._converter.check(samples)
        return self._converter.batch(samples, slice(None))

    def _ran_out(self, epoch: int, count: int) -> DataError:
        wanted = "a batch" if self._steps is None else f"{self._steps} batches"
        return DataError(
            f"{self._name} ran out in epoch {epoch + 1} after {count} batches, expected {wanted}; "
            "pass a function that returns a new generator, lower steps_per_epoch or epochs, or "
            "make the generator endless and set steps_per_epoch."
        )


_END = object()


def _workers(source: Any) -> int:
    """How many threads may make batches of the source: one, where it does not say."""
    workers: Any = getattr(source, "workers", None)
    return operator.index(workers) if hasattr(workers, "__index__") else 1


def _positive(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(f"Found {name}={value!r}, expected a whole number of at least 1.")
    return number


def _steps(given: int | None, per_pass: int, repeat: bool) -> int:
    if given is not None and given > per_pass and not repeat:
        raise ArgumentError(
            f"Found steps={given}, expected at most {per_pass}, the batches there are; lower it or "
            "leave it out."
        )
    return per_pass if given is None else given


def _passes(epoch: int, steps: int, per_pass: int) -> Iterator[tuple[int, range]]:
    """The pieces (pass number, steps within it) that make up an epoch."""
    position, end = epoch * steps, (epoch + 1) * steps
    while position < end:
        number, first = divmod(position, per_pass)
        last = min(per_pass, first + end - position)
        yield number, range(first, last)
        position += last - first
