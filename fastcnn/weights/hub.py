# SPDX-License-Identifier: Apache-2.0
"""Files from the Hugging Face Hub, through its own library and its cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fastcnn.errors import ArgumentError, FileError, MissingDependencyError

PREFIX = "hub:"
# In order of preference: the first cannot hold code, of the second nothing is run.
FILES = ("model.safetensors", "pytorch_model.bin")

_ADDRESS = re.compile(
    r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/[\w.-]+/[\w.-]+|[\w.-]+))?"
    r"(?:/(?P<file>[^@]+))?"
)

# What weights="imagenet" means, by the name that a network gives its model: weights in timm's
# registry (1.0.31) for the very network of `fastcnn.applications`, torchvision's own where it is
# torchvision's network.
IMAGENET = {
    "densenet121": "timm/densenet121.tv_in1k",
    "densenet161": "timm/densenet161.tv_in1k",
    "densenet169": "timm/densenet169.tv_in1k",
    "densenet201": "timm/densenet201.tv_in1k",
    "inception_resnet_v2": "timm/inception_resnet_v2.tf_in1k",
    "inception_v3": "timm/inception_v3.tv_in1k",
    "mobilenet": "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
    "mobilenet_v2": "timm/mobilenetv2_100.ra_in1k",
    "resnet18": "timm/resnet18.tv_in1k",
    "resnet34": "timm/resnet34.tv_in1k",
    "resnet50": "timm/resnet50.tv_in1k",
    "resnet101": "timm/resnet101.tv_in1k",
    "resnet152": "timm/resnet152.tv_in1k",
    "resnext50": "timm/resnext50_32x4d.tv_in1k",
    "resnext101": "timm/resnext101_32x8d.tv_in1k",
    "seresnet50": "timm/seresnet50.a1_in1k",
    "seresnext50": "timm/seresnext50_32x4d.racm_in1k",
    "vgg11": "timm/vgg11.tv_in1k",
    "vgg13": "timm/vgg13.tv_in1k",
    "vgg16": "timm/vgg16.tv_in1k",
    "vgg19": "timm/vgg19.tv_in1k",
    "wide_resnet50_2": "timm/wide_resnet50_2.tv_in1k",
    "wide_resnet101_2": "timm/wide_resnet101_2.tv_in1k",
}


def imagenet(network: str) -> str:
    """The address of weights trained on ImageNet for a network, e.g. "hub:timm/vgg16.tv_in1k".

    Args:
        network: name of the network or of its function; capitals and underscores do not matter.

    Raises:
        ArgumentError: none are known; the message lists the networks that have some.
    """
    folded = {name.replace("_", ""): repository for name, repository in IMAGENET.items()}
    found = folded.get(network.lower().replace("_", ""))
    if found is None:
        raise ArgumentError(
            f"there are no known ImageNet weights for '{network}', expected one of "
            f"{', '.join(IMAGENET)}; name a file, or weights='hub:owner/name'"
        )
    return PREFIX + found


def fetch(address: str) -> Path:
    """The file behind an address, downloaded unless the Hub's cache has it.

    Args:
        address: "hub:owner/name", "hub:owner/name@revision" or either with "/file.safetensors"
            behind it. Without a file, `model.safetensors` is taken, else `pytorch_model.bin`.
            With HF_HUB_OFFLINE=1 only the cache is looked at.

    Raises:
        ArgumentError: `address` is none.
        FileError: there is no such repository, revision or file, or it cannot be reached.
        MissingDependencyError: huggingface_hub is not installed.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ArgumentError(
            f"found the address {address!r}, expected hub:owner/name, hub:owner/name@revision or "
            "hub:owner/name/file.safetensors"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            "weights from the Hub need huggingface_hub, which is not installed; run: "
            'pip install "fastcnn[hub]"'
        ) from error
    where: dict[str, Any] = {"repo_id": found["repo"], "revision": found["revision"]}
    files = (found["file"],) if found["file"] else FILES
    offline = _offline()
    for file in files:
        try:
            return Path(hf_hub_download(filename=file, local_files_only=offline, **where))
        except EntryNotFoundError as error:
            reason = error
            # The library's kind of error where the Hub was not reached and the cache has no such
            # file; it has tried for half a minute, and need not for the next file.
            offline = offline or isinstance(error, FileNotFoundError)
        except (OSError, ValueError) as error:
            raise FileError(
                f"cannot fetch '{address}' ({_first_line(error)}); check the address, the network "
                "and, for a private repository, HF_TOKEN"
            ) from error
    asked = " or ".join(files)
    if isinstance(reason, FileNotFoundError):
        raise FileError(
            f"'{address}': {asked} is not in the Hub's cache and the Hub cannot be reached or "
            "HF_HUB_OFFLINE is set; fetch it once with a connection"
        ) from reason
    raise FileError(
        f"'{address}' has no {asked}; name a file of weights as hub:owner/name/file"
    ) from reason


def _offline() -> bool:
    """Whether only the cache may be used; read now, as the Hub's library reads it at its import."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
