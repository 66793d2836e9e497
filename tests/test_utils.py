# SPDX-License-Identifier: Apache-2.0
"""Downloads, labels, batch sources and the progress display."""

import fcntl
import hashlib
import io
import os
import struct
import sys
import termios
import threading
from typing import ClassVar

import numpy as np
import pytest

from fastcnn.errors import ArgumentError, DataError, DtypeError, FileError
from fastcnn.utils import (
    PyDataset,
    Sequence,
    fastcnn_home,
    get_file,
    to_categorical,
)
from fastcnn.utils.progress import format_metrics, is_interactive, progress, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"some data" * 1000)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


class TestGetFile:
    def fetch(self, server, cache, **options):
        origin = (server / "data.bin").as_uri()
        return get_file(origin=origin, cache_dir=cache, **options)

    def files(self, cache):
        return sorted(file.name for file in (cache / "datasets").iterdir())

    @pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
    def test_fetches_and_checks(self, server, cache, algorithm):
        digest = hashlib.new(algorithm, (server / "data.bin").read_bytes()).hexdigest()
        path = self.fetch(server, cache, file_hash=digest.upper())
        assert path == str(cache / "datasets" / "data.bin")
        assert (cache / "datasets" / "data.bin").read_bytes() == b"some data" * 1000
        assert self.files(cache) == ["data.bin"]

    def test_second_call_needs_no_network(self, server, cache):
        self.fetch(server, cache)
        (server / "data.bin").unlink()
        assert self.fetch(server, cache).endswith("data.bin")

    def test_wrong_hash_names_both_and_keeps_nothing(self, server, cache):
        found = hashlib.sha256(b"some data" * 1000).hexdigest()
        with pytest.raises(FileError, match=f"{found}, expected {'0' * 64}"):
            self.fetch(server, cache, file_hash="0" * 64)
        assert self.files(cache) == []

    def test_wrong_hash_leaves_the_old_file(self, server, cache):
        self.fetch(server, cache)
        (server / "data.bin").write_bytes(b"changed")
        with pytest.raises(FileError, match="expected"):
            self.fetch(server, cache, file_hash="0" * 64, force_download=True)
        assert (cache / "datasets" / "data.bin").read_bytes() == b"some data" * 1000

    def test_damaged_cache_is_fetched_again(self, server, cache):
        digest = hashlib.md5(b"some data" * 1000).hexdigest()
        (cache / "datasets").mkdir(parents=True)
        (cache / "datasets" / "data.bin").write_bytes(b"half")
        self.fetch(server, cache, md5_hash=digest)
        assert (cache / "datasets" / "data.bin").read_bytes() == b"some data" * 1000

    def test_force_download(self, server, cache):
        self.fetch(server, cache)
        (server / "data.bin").write_bytes(b"new")
        self.fetch(server, cache)
        assert (cache / "datasets" / "data.bin").read_bytes() == b"some data" * 1000
        self.fetch(server, cache, force_download=True)
        assert (cache / "datasets" / "data.bin").read_bytes() == b"new"

    def test_short_download_keeps_nothing(self, server, cache, monkeypatch):
        class Response(io.BytesIO):
            headers: ClassVar = {"Content-Length": "100"}

        monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: Response(b"x" * 60))
        with pytest.raises(FileError, match="ended after 60 bytes, expected 100"):
            self.fetch(server, cache)
        assert self.files(cache) == []

    def test_interrupt_keeps_nothing(self, server, cache, monkeypatch):
        class Response(io.BytesIO):
            headers: ClassVar = {}

            def read(self, size=-1):
                raise KeyboardInterrupt

        monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: Response())
        with pytest.raises(KeyboardInterrupt):
            self.fetch(server, cache)
        assert self.files(cache) == []

    def test_nothing_there(self, server, cache):
        (server / "data.bin").unlink()
        with pytest.raises(FileError, match=r"cannot fetch file:.*yourself"):
            self.fetch(server, cache)
        assert self.files(cache) == []

    @pytest.mark.parametrize("origin", ["no-scheme", "unknown://host/file"])
    def test_bad_address(self, cache, origin):
        with pytest.raises(FileError, match="cannot fetch"):
            get_file("name", origin, cache_dir=cache)

    @pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/out", "."])
    def test_name_outside_the_cache(self, server, cache, name):
        with pytest.raises(ArgumentError, match="outside the cache"):
            self.fetch(server, cache, fname=name)

    def test_missing_origin_and_unknown_hash(self, server, cache):
        with pytest.raises(ArgumentError, match="origin"):
            get_file("name")
        with pytest.raises(ArgumentError, match="md5, sha1"):
            self.fetch(server, cache, file_hash="123")

    def test_cache_that_cannot_be_made(self, server, tmp_path):
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(FileError, match="FASTCNN_HOME"):
            self.fetch(server, tmp_path / "cache")

    def test_home(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FASTCNN_HOME", str(tmp_path))
        assert fastcnn_home() == tmp_path
        monkeypatch.setenv("FASTCNN_HOME", "")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert fastcnn_home() == tmp_path / ".fastcnn"

    def test_file_mode_follows_umask(self, server, cache):
        mode = os.stat(self.fetch(server, cache)).st_mode & 0o777
        umask = os.umask(0)
        os.umask(umask)
        assert mode == 0o666 & ~umask


class TestToCategorical:
    def test_values(self):
        assert np.array_equal(to_categorical([0, 2, 1]), np.eye(3, dtype="f4")[[0, 2, 1]])
        assert to_categorical([0, 1], 4).shape == (2, 4)
        assert to_categorical([[0], [1]]).shape == (2, 2)
        assert to_categorical(np.zeros((2, 3), int), 5).shape == (2, 3, 5)
        assert to_categorical([0.0, 1.0]).dtype == np.float32
        assert to_categorical(np.uint8(3)).tolist() == [0, 0, 0, 1]
        assert to_categorical([], 3).shape == (0, 3)

    @pytest.mark.parametrize("labels", [[-1], [3], [0.5], [np.nan]])
    def test_bad_labels(self, labels):
        with pytest.raises(DataError, match="to_categorical"):
            to_categorical(labels, 3)

    def test_bad_dtype(self):
        with pytest.raises(DtypeError, match="dtype"):
            to_categorical(["cat"])


class TestPyDataset:
    def test_is_abstract_and_has_keras_defaults(self):
        assert Sequence is PyDataset
        with pytest.raises(TypeError):
            PyDataset()

        class Source(PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                return index

        source = Source(workers=2)
        assert (source.workers, source.use_multiprocessing, source.max_queue_size) == (2, False, 10)
        assert source.num_batches == 3


class TestProgress:
    def run(self, file, verbose, steps=3, total=3, **options):
        with progress(total, "Epoch 1/2", verbose, file=file, **options) as bar:
            for step in range(steps):
                bar.update(metrics={"loss": 1.0 / (step + 1), "accuracy": 0.5})
        return file.getvalue()

    @pytest.mark.parametrize("verbose", [0, "auto"])
    def test_silent_outside_a_terminal(self, verbose):
        assert self.run(io.StringIO(), verbose) == ""

    def test_auto_shows_a_bar_on_a_terminal(self):
        text = self.run(Terminal(), "auto")
        last = text.rstrip("\n").rsplit("\r", 1)[-1]
        assert "Epoch 1/2" in last
        assert "3/3" in last
        assert "loss: 0.3333 - accuracy: 0.5000" in last
        assert text.endswith("\n")

    def test_plain_line_without_tqdm(self, without_tqdm):
        text = self.run(Terminal(), 1)
        assert text.startswith("\rEpoch 1/2  3/3 - ")
        assert text.endswith("loss: 0.3333 - accuracy: 0.5000\x1b[K\n")

    def test_plain_line_fits_the_terminal(self, without_tqdm, monkeypatch):
        monkeypatch.setenv("COLUMNS", "30")
        *lines, last = self.run(Terminal(), 1).replace("\x1b[K", "").strip().split("\r")
        assert all(len(line) < 30 for line in lines)
        assert last.endswith("loss: 0.3333 - accuracy: 0.5000")

    @pytest.mark.parametrize("columns", [0, 30])
    def test_the_last_line_of_a_narrow_terminal_is_whole(self, columns):
        screen, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        shown = ""
        with open(terminal, "w") as file:
            with progress(1, "Epoch 1/2", 1, file=file) as bar:
                bar.update(metrics={"loss": 1.0, "accuracy": 0.5})
            while "\n" not in shown:
                shown += os.read(screen, 4096).decode(errors="ignore")
        os.close(screen)
        assert "loss: 1.0000 - accuracy: 0.5000" in shown

    @pytest.mark.parametrize("file", [Terminal, io.StringIO])
    def test_one_line_per_epoch(self, file):
        text = self.run(file(), 2)
        assert text.count("\n") == 1
        assert text.startswith("Epoch 1/2  3/3 - ")
        assert "\r" not in text

    def test_a_log_gets_whole_lines(self):
        text = self.run(io.StringIO(), 1)
        assert text.count("\n") == 1
        assert "\r" not in text

    @pytest.mark.parametrize("tqdm", [True, False])
    def test_cost_is_bounded(self, monkeypatch, tqdm):
        if not tqdm:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        clock = iter(i * 1e-3 for i in range(10**6))
        monkeypatch.setattr("fastcnn.utils.progress.time.perf_counter", lambda: next(clock))
        painted = []
        file = Terminal()
        with progress(2000, "", 1, file=file) as bar:
            for _ in range(2000):
                bar.update(metrics=lambda: painted.append(1) or {"loss": 0.0})
        # Two seconds at ten repaints a second, and the last state.
        assert 15 <= len(painted) <= 22
        assert file.getvalue().count("\r") <= 2 * len(painted)

    def test_lazy_metrics_are_not_computed_when_silent(self):
        with progress(1, "", 0) as bar:
            bar.update(metrics=lambda: pytest.fail("computed"))

    def test_metrics_after_the_last_step(self):
        file = io.StringIO()
        with progress(1, "", 2, file=file) as bar:
            bar.update()
            bar.update(0, {"loss": 1.0, "val_loss": 2.0})
        bar.close()
        assert file.getvalue().count("\n") == 1
        assert "1/1" in file.getvalue()
        assert "val_loss: 2.0000" in file.getvalue()

    @pytest.mark.parametrize("tqdm", [True, False])
    def test_unknown_total(self, monkeypatch, tqdm):
        if not tqdm:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        assert "7" in self.run(Terminal(), 1, steps=7, total=None)

    def test_bytes(self):
        file = io.StringIO()
        with progress(3 << 20, "Downloading", 2, unit="B", file=file) as bar:
            bar.update(3 << 20)
        assert "3.0 MB/3.0 MB" in file.getvalue()

    def test_an_error_ends_the_line_and_passes(self):
        file = Terminal()

        def fail():
            with progress(5, "", 1, file=file) as bar:
                bar.update()
                raise ValueError("boom")

        with pytest.raises(ValueError, match="boom"):
            fail()
        assert "1/5" in file.getvalue()
        assert file.getvalue().endswith("\n")

    def test_no_thread_is_left(self):
        self.run(Terminal(), 1)
        assert not [t for t in threading.enumerate() if "TMonitor" in type(t).__name__]

    def test_track(self):
        file = io.StringIO()
        assert list(track([1, 2, 3], "Predict", 2, file=file)) == [1, 2, 3]
        assert "Predict  3/3" in file.getvalue()
        assert list(track(iter([1]), verbose=0)) == [1]

    def test_bad_verbose(self):
        with pytest.raises(ArgumentError, match="verbose=3"):
            progress(1, "", 3)

    def test_format_metrics(self):
        metrics = {"loss": np.float32(0.25), "lr": 1e-4, "zero": 0, "nan": float("nan")}
        text = "loss: 0.2500 - lr: 1.0000e-04 - zero: 0.0000 - nan: nan"
        assert format_metrics(metrics) == text

    def test_closed_stream_is_not_interactive(self):
        file = io.StringIO()
        file.close()
        assert not is_interactive(file)
