# SPDX-License-Identifier: Apache-2.0
"""Files from the Hugging Face Hub: addresses, preferences, the cache when offline."""

import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from fastcnn import weights
from fastcnn.errors import ArgumentError, FileError, MissingDependencyError
from fastcnn.weights import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def asked(monkeypatch):
    """What is asked of a Hub with one repository, owner/name, with one file: its name first."""
    calls = []

    def download(repo_id, filename, revision, local_files_only):
        calls.append((repo_id, filename, revision, local_files_only))
        if filename != asked_files[0]:
            raise _not_found(EntryNotFoundError)
        return f"/cache/{filename}"

    asked_files = ["model.safetensors"]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return asked_files, calls


def _not_found(kind):
    """An error of the library without the response that some releases want."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hub:timm/resnet18.a1_in1k", ("timm/resnet18.a1_in1k", "model.safetensors", None)),
        ("hub:owner/name@v1.0", ("owner/name", "model.safetensors", "v1.0")),
        ("hub:owner/name@refs/pr/1", ("owner/name", "model.safetensors", "refs/pr/1")),
        ("hub:owner/name/model.safetensors", ("owner/name", "model.safetensors", None)),
    ],
)
def test_addresses(asked, address, expected):
    assert weights.fetch(address) == Path("/cache/model.safetensors")
    assert asked[1] == [(*expected, False)]


@pytest.mark.parametrize(
    ("address", "file", "revision"),
    [
        ("hub:owner/name/a/b.h5", "a/b.h5", None),
        ("hub:owner/name@main/x.pth", "x.pth", "main"),
        ("hub:owner/name@refs/pr/1/x.pth", "x.pth", "refs/pr/1"),
    ],
)
def test_files_in_repositories(asked, address, file, revision):
    asked[0][0] = file
    assert weights.fetch(address) == Path("/cache") / file
    assert asked[1] == [("owner/name", file, revision, False)]


def test_pickles_come_second(asked):
    asked[0][0] = "pytorch_model.bin"
    assert weights.fetch("hub:owner/name") == Path("/cache/pytorch_model.bin")
    assert [call[1] for call in asked[1]] == ["model.safetensors", "pytorch_model.bin"]


def test_no_known_file(asked):
    asked[0][0] = "tf_model.h5"
    with pytest.raises(FileError, match=r"has no model.safetensors or pytorch_model.bin"):
        weights.fetch("hub:owner/name")


@pytest.mark.parametrize(
    "address",
    ["hub:", "hub:name", "timm/resnet18", "hub:a/b@", "hub:a/b@x@y", "hub:a b/c", "hub:a/"],
)
def test_wrong_addresses(asked, address):
    with pytest.raises(ArgumentError, match="expected hub:owner/name"):
        weights.fetch(address)
    assert not asked[1]


def test_other_errors_of_the_hub(asked, monkeypatch):
    def refuse(**_):
        raise OSError("401 Client Error.\nRequest ID: 1\nRepository Not Found")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(FileError, match=r"cannot fetch 'hub:a/b' \(401 Client Error\)") as caught:
        weights.fetch("hub:a/b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_offline_is_respected(asked, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    weights.fetch("hub:owner/name")
    assert asked[1][0][3] is True


def test_unreachable(asked, monkeypatch):
    offline = []

    def unreachable(local_files_only, **_):
        offline.append(local_files_only)
        raise _not_found(LocalEntryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(FileError, match=r"not in the Hub's cache.*fetch it once"):
        weights.fetch("hub:owner/name")
    assert offline == [False, True]  # the network is tried once


def test_library_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[hub\]"'):
        weights.fetch("hub:owner/name")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache as its library lays it out, with nobody to ask beside it."""
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return snapshot


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_cache_without_network(cache, name, revision):
    (cache / name).write_bytes(b"x")
    assert weights.fetch(f"hub:owner/name{revision}") == cache / name


def test_cache_without_the_file(cache):
    with pytest.raises(FileError, match="is not in the Hub's cache"):
        weights.fetch("hub:owner/name")
    with pytest.raises(FileError, match="is not in the Hub's cache"):
        weights.fetch("hub:owner/other")


def test_imagenet_weights():
    assert hub.imagenet("resnet18") == "hub:timm/resnet18.tv_in1k"
    assert hub.imagenet("InceptionV3") == hub.imagenet("inception_v3")
    assert hub.imagenet("WideResNet50_2") == "hub:timm/wide_resnet50_2.tv_in1k"
    with pytest.raises(ArgumentError, match=r"for 'alexnet', expected one of densenet121, "):
        hub.imagenet("alexnet")


@pytest.mark.parametrize("network", hub.IMAGENET)
def test_imagenet_addresses_can_be_fetched(asked, network):
    weights.fetch(hub.imagenet(network))
    assert asked[1][0][0].startswith("timm/")
