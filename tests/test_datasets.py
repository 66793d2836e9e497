# SPDX-License-Identifier: Apache-2.0
"""Data set loaders: formats, splits and damaged files. No test needs a network."""

import gzip
import hashlib
import io
import re
import struct
import tarfile

import numpy as np
import pytest

from fastcnn.datasets import _idx, cifar10, digits, fashion_mnist, mnist
from fastcnn.errors import ArgumentError, DataError, FileError


def idx_bytes(array, code=0x08):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(_idx._DTYPES[code]).tobytes()


def write_mnist(folder, zipped=True, train=12, test=5, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, count in (("train", train), ("t10k", test)):
        arrays[f"{part}-images-idx3"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[f"{part}-labels-idx1"] = rng.integers(0, 10, count).astype(np.uint8)
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{name}-ubyte").write_bytes(content)
    return arrays


def cifar_files(count=4, seed=0):
    rng = np.random.default_rng(seed)
    files = {}
    for name in (*cifar10._TRAIN, cifar10._TEST):
        records = rng.integers(0, 256, (count, 3073)).astype(np.uint8)
        records[:, 0] %= 10
        files[name] = records
    return files


def write_tar(path, files, prefix="cifar-10-batches-bin/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            content = bytes(content)
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class TestDigits:
    def test_shapes_dtypes_and_range(self):
        (x_train, y_train), (x_test, y_test) = digits.load_data()
        assert x_train.shape == (1438, 8, 8, 1)
        assert x_test.shape == (359, 8, 8, 1)
        assert x_train.dtype == np.float32
        assert y_test.dtype == np.int32
        assert y_train.shape == (1438,)
        assert x_train.min() == 0.0
        assert x_train.max() == 1.0

    def test_bundled_file_is_unchanged_and_small(self):
        images, labels = digits._read()
        digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
        # The class counts on the archive's page.
        assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]

    def test_split_is_fixed(self):
        _, (x_test, y_test) = digits.load_data()
        digest = hashlib.sha256(x_test.tobytes() + y_test.tobytes()).hexdigest()
        assert digest == "0cfc9907b614805c615ff6ecf994247429ad96aec1cd84a718d66bef6c029c1a"

    def test_split_is_stratified_and_complete(self):
        (x_train, y_train), (x_test, y_test) = digits.load_data()
        share = np.bincount(y_test) / (np.bincount(y_train) + np.bincount(y_test))
        assert np.abs(share - 0.2).max() < 0.006
        images, _ = digits._read()
        both = np.concatenate([x_train, x_test])[..., 0] * 16
        assert sorted(map(bytes, both.astype(np.uint8))) == sorted(map(bytes, images))

    def test_enlarged_images_show_the_same_digits(self):
        (small, y_small), _ = digits.load_data()
        (large, y_large), _ = digits.load_data(image_size=32)
        assert large.shape == (1438, 32, 32, 1)
        assert large.dtype == np.float32
        assert np.array_equal(y_small, y_large)
        assert large.min() >= 0.0
        assert large.max() <= 1.0
        # Interior pixels keep the ink: the mean of each 4x4 block stays near the old pixel.
        blocks = large.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
        assert np.abs(blocks - small[..., 0]).mean() < 0.08

    def test_resize_against_a_loop(self):
        image = np.random.default_rng(0).random((8, 8))
        enlarged = digits.resize_bilinear(image[np.newaxis].astype(np.float32), 20)[0]
        for i in range(20):
            for j in range(20):
                h = min(max((i + 0.5) * 0.4 - 0.5, 0), 7)
                w = min(max((j + 0.5) * 0.4 - 0.5, 0), 7)
                expected = sum(
                    image[u, v] * max(0, 1 - abs(h - u)) * max(0, 1 - abs(w - v))
                    for u in range(8)
                    for v in range(8)
                )
                assert abs(enlarged[i, j] - expected) < 1e-6

    def test_resize_keeps_constants_and_the_same_size(self):
        images = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
        assert np.array_equal(digits.resize_bilinear(images, 8), images)
        flat = np.full((1, 8, 8), 0.3, np.float32)
        assert np.array_equal(digits.resize_bilinear(flat, 32), np.full((1, 32, 32), 0.3, "f4"))

    @pytest.mark.parametrize("size", [7, 0, -1, 8.5, None])
    def test_bad_size(self, size):
        with pytest.raises(ArgumentError, match=r"image_size=.*expected.*8"):
            digits.load_data(image_size=size)

    @pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), 1e-9])
    def test_bad_fraction(self, fraction):
        with pytest.raises(ArgumentError, match="test_fraction"):
            digits.load_data(test_fraction=fraction)

    def test_damaged_bundle(self, tmp_path, monkeypatch):
        (tmp_path / "digits.npz").write_bytes(b"not a zip")
        monkeypatch.setattr(digits, "__file__", str(tmp_path / "digits.py"))
        with pytest.raises(FileError, match="install it again"):
            digits.load_data()


def test_published_hashes_are_whole_and_distinct():
    hashes = [*mnist.HASHES.values(), *fashion_mnist.HASHES.values(), cifar10.HASH]
    assert len(set(hashes)) == 9
    assert all(re.fullmatch("[0-9a-f]{64}", item) for item in hashes)


class TestIdx:
    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("code", sorted(_idx._DTYPES))
    def test_round_trip_of_every_type(self, tmp_path, code, zipped):
        array = np.arange(24).reshape(2, 3, 4).astype(_idx._DTYPES[code][1:])
        content = idx_bytes(array, code)
        path = tmp_path / "data"
        path.write_bytes(gzip.compress(content) if zipped else content)
        read = _idx.read_idx(path)
        assert read.dtype.isnative
        assert np.array_equal(read, array)

    @pytest.mark.parametrize("keep", [0, 1, 3, 6, 15, 17, 39])
    def test_cut_short(self, tmp_path, keep):
        path = tmp_path / "data"
        path.write_bytes(idx_bytes(np.zeros((2, 3, 4), np.uint8))[:keep])
        with pytest.raises(DataError, match=re.escape(str(path))):
            _idx.read_idx(path)

    def test_bytes_left_over(self, tmp_path):
        path = tmp_path / "data"
        path.write_bytes(idx_bytes(np.zeros(4, np.uint8)) + b"x")
        with pytest.raises(DataError, match=r"more than 4 bytes.*expected 4"):
            _idx.read_idx(path)

    def test_foreign_file_and_huge_promise(self, tmp_path):
        path = tmp_path / "data"
        path.write_bytes(b"<html>404</html>")
        with pytest.raises(DataError, match="IDX header"):
            _idx.read_idx(path)
        path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"abc")
        with pytest.raises(DataError, match="holds 3 bytes"):
            _idx.read_idx(path)

    @pytest.mark.parametrize("damage", ["cut", "flip", "header"])
    def test_damaged_gzip(self, tmp_path, damage):
        noise = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8)
        content = bytearray(gzip.compress(idx_bytes(noise)))
        if damage == "cut":
            content = content[:-100]
        elif damage == "flip":
            content[2000] ^= 0xFF
        else:
            content = content[:2] + b"\xff" * 20
        path = tmp_path / "data.gz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"data\.gz"):
            _idx.read_idx(path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileError, match="nothing"):
            _idx.read_idx(tmp_path / "nothing")


class TestMnist:
    @pytest.mark.parametrize("zipped", [False, True])
    def test_reads_a_folder(self, tmp_path, zipped):
        arrays = write_mnist(tmp_path, zipped)
        (x_train, y_train), (x_test, y_test) = mnist.load_data(tmp_path)
        assert np.array_equal(x_train, arrays["train-images-idx3"])
        assert np.array_equal(y_train, arrays["train-labels-idx1"])
        assert np.array_equal(x_test, arrays["t10k-images-idx3"])
        assert np.array_equal(y_test, arrays["t10k-labels-idx1"])
        assert x_train.dtype == np.uint8

    def test_torchvision_layout_and_dotted_names(self, tmp_path):
        write_mnist(tmp_path / "FashionMNIST" / "raw", zipped=False)
        assert fashion_mnist.load_data(str(tmp_path))[0][0].shape == (12, 28, 28)
        write_mnist(tmp_path / "kaggle", zipped=False)
        for file in (tmp_path / "kaggle").iterdir():
            file.rename(file.with_name(file.name.replace("-idx", ".idx")))
        assert mnist.load_data(tmp_path / "kaggle")[1][1].shape == (5,)

    def test_cache_comes_before_the_network(self, home, monkeypatch):
        monkeypatch.setattr(_idx, "fetch", lambda *args: pytest.fail("went to the network"))
        write_mnist(home / "datasets" / "mnist")
        assert mnist.load_data()[0][0].shape == (12, 28, 28)

    def test_downloads_what_is_missing(self, home, tmp_path, monkeypatch):
        write_mnist(tmp_path / "server")
        hashes = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (tmp_path / "server").iterdir()
        }
        assert sorted(hashes) == sorted(mnist.HASHES)
        mirrors = ((tmp_path / "away").as_uri() + "/", (tmp_path / "server").as_uri() + "/")
        monkeypatch.setattr(mnist, "MIRRORS", mirrors)
        monkeypatch.setattr(mnist, "HASHES", hashes)
        assert mnist.load_data()[0][0].shape == (12, 28, 28)
        assert sorted(f.name for f in (home / "datasets" / "mnist").iterdir()) == sorted(hashes)

    def test_download_with_another_hash_leaves_nothing(self, home, tmp_path, monkeypatch):
        write_mnist(tmp_path / "server")
        monkeypatch.setattr(mnist, "MIRRORS", ((tmp_path / "server").as_uri() + "/",))
        with pytest.raises(FileError, match=r"has sha256 \w{64}, expected 440fcabf"):
            mnist.load_data()
        assert list((home / "datasets" / "mnist").iterdir()) == []

    def test_missing_file_and_folder(self, tmp_path):
        write_mnist(tmp_path)
        (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(FileError, match="t10k-labels-idx1-ubyte"):
            mnist.load_data(tmp_path)
        with pytest.raises(FileError, match="does not exist"):
            mnist.load_data(tmp_path / "nowhere")

    def test_files_that_do_not_belong_together(self, tmp_path):
        write_mnist(tmp_path)
        labels = tmp_path / "train-labels-idx1-ubyte.gz"
        labels.write_bytes(gzip.compress(idx_bytes(np.zeros(11, np.uint8))))
        with pytest.raises(DataError, match=r"12 images but .* 11 labels"):
            mnist.load_data(tmp_path)
        labels.write_bytes(gzip.compress(idx_bytes(np.full(12, 10, np.uint8))))
        with pytest.raises(DataError, match=r"label 10, expected 0 … 9"):
            mnist.load_data(tmp_path)
        labels.write_bytes(gzip.compress(idx_bytes(np.zeros((12, 28, 28), np.uint8))))
        with pytest.raises(DataError, match="mixed up"):
            mnist.load_data(tmp_path)


class TestCifar10:
    def check(self, loaded, files):
        (x_train, y_train), (x_test, y_test) = loaded
        assert x_train.shape == (20, 32, 32, 3)
        assert y_train.shape == (20, 1)
        assert x_test.shape == (4, 32, 32, 3)
        assert x_train.dtype == y_test.dtype == np.uint8
        assert x_train.flags.c_contiguous
        record = files["data_batch_2.bin"][1]
        assert y_train[5, 0] == record[0]
        # Green plane, row 3, column 7.
        assert x_train[5, 3, 7, 1] == record[1 + 1024 + 3 * 32 + 7]
        assert np.array_equal(y_test[:, 0], files["test_batch.bin"][:, 0])

    def test_archive_folder_and_unpacked(self, tmp_path):
        files = cifar_files()
        write_tar(tmp_path / cifar10.ARCHIVE, files)
        self.check(cifar10.load_data(tmp_path / cifar10.ARCHIVE), files)
        self.check(cifar10.load_data(tmp_path), files)
        inner = tmp_path / "unpacked" / "cifar-10-batches-bin"
        inner.mkdir(parents=True)
        for name, content in files.items():
            (inner / name).write_bytes(content.tobytes())
        self.check(cifar10.load_data(tmp_path / "unpacked"), files)
        self.check(cifar10.load_data(inner), files)

    def test_download(self, home, tmp_path, monkeypatch):
        files = cifar_files()
        write_tar(tmp_path / cifar10.ARCHIVE, files)
        monkeypatch.setattr(cifar10, "MIRRORS", (tmp_path.as_uri() + "/",))
        with pytest.raises(FileError, match="expected c4a38c50"):
            cifar10.load_data()
        digest = hashlib.sha256((tmp_path / cifar10.ARCHIVE).read_bytes()).hexdigest()
        monkeypatch.setattr(cifar10, "HASH", digest)
        self.check(cifar10.load_data(), files)
        assert (home / "datasets" / "cifar10" / cifar10.ARCHIVE).is_file()

    def test_pickled_version_is_refused(self, tmp_path):
        write_tar(tmp_path / "python.tar.gz", {"data_batch_1": b"\x80\x02}q\x01."})
        with pytest.raises(DataError, match="pickles, which are not read"):
            cifar10.load_data(tmp_path / "python.tar.gz")

    def test_damaged_archive(self, tmp_path):
        path = tmp_path / cifar10.ARCHIVE
        write_tar(path, cifar_files())
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], b"<html>", b"", whole[:-4] + b"abcd"):
            path.write_bytes(content)
            with pytest.raises(DataError, match=re.escape(str(path))):
                cifar10.load_data(path)

    def test_cut_record_and_foreign_label(self, tmp_path):
        files = cifar_files()
        cut = {**files, "data_batch_3.bin": files["data_batch_3.bin"].tobytes()[:-1]}
        write_tar(tmp_path / "cut.tar.gz", cut)
        with pytest.raises(DataError, match=r"data_batch_3\.bin: has 12291 bytes"):
            cifar10.load_data(tmp_path / "cut.tar.gz")
        files["test_batch.bin"][2, 0] = 17
        write_tar(tmp_path / "label.tar.gz", files)
        with pytest.raises(DataError, match=r"test_batch\.bin: has label 17"):
            cifar10.load_data(tmp_path / "label.tar.gz")

    def test_incomplete_folder(self, tmp_path):
        (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))
        with pytest.raises(FileError, match=r"lacks data_batch_2\.bin"):
            cifar10.load_data(tmp_path)
