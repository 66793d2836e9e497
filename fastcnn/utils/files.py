# SPDX-License-Identifier: Apache-2.0
"""Downloads into the fastcnn folder: checked by hash, put in place in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fastcnn.errors import ArgumentError, FileError
from fastcnn.utils.progress import progress

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 1 << 18
_ALGORITHM_BY_DIGITS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


def fastcnn_home() -> Path:
    """The folder for data sets and weights: `$FASTCNN_HOME`, else `~/.fastcnn`."""
    return Path(os.environ.get("FASTCNN_HOME") or "~/.fastcnn").expanduser()


def get_file(
    fname: str | None = None,
    origin: str | None = None,
    *,
    file_hash: str | None = None,
    md5_hash: str | None = None,
    hash_algorithm: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    cache_subdir: str = "datasets",
    force_download: bool = False,
    verbose: int | str = "auto",
) -> str:
    """Return the path of a file, downloading it when it is not there yet.

    The download goes to a temporary name in the same folder, is checked, and is renamed only
    then, so a file under its final name is always complete.

    Args:
        fname: name in the cache; the last part of `origin` when None.
        origin: URL (https, http, ftp or file).
        file_hash: expected hexadecimal digest. A cached file with another digest is fetched
            again.
        md5_hash: the same as `file_hash` with MD5, as older Keras scripts spell it.
        hash_algorithm: "auto" (by the number of digits), "md5", "sha1", "sha256", "sha512".
        cache_dir: `fastcnn_home()` when None.
        cache_subdir: folder inside `cache_dir`.
        force_download: fetch even when a cached file is there.
        verbose: see `fastcnn.utils.progress`.

    Returns:
        The path as a string.

    Raises:
        ArgumentError: no origin, a name outside the cache, or an unknown hash algorithm.
        FileError: the download failed, came short, or has another digest.
    """
    if origin is None:
        raise ArgumentError("get_file: found origin=None, expected a URL; pass origin='https://…'.")
    name = fname or origin.rstrip("/").rsplit("/", 1)[-1]
    folder = Path(cache_dir).expanduser() if cache_dir is not None else fastcnn_home()
    folder = folder / cache_subdir
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()) or target == folder:
        raise ArgumentError(
            f"get_file: fname {name!r} points outside the cache folder {folder}, "
            "expected a plain file name."
        )
    expected = (file_hash or md5_hash or "").lower()
    algorithm = _algorithm(expected, hash_algorithm) if expected else "sha256"
    if (
        target.is_file()
        and not force_download
        and (not expected or _file_digest(target, algorithm) == expected)
    ):
        return str(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"get_file: cannot create the folder {target.parent} ({error.strerror}); "
            "set FASTCNN_HOME to a folder you may write to."
        ) from error
    _download(origin, target, expected, algorithm, verbose)
    return str(target)


def _algorithm(expected: str, named: str) -> str:
    found = _ALGORITHM_BY_DIGITS.get(len(expected)) if named == "auto" else named
    if found is None or found not in _ALGORITHM_BY_DIGITS.values():
        raise ArgumentError(
            f"get_file: cannot tell the hash algorithm of {expected!r} (hash_algorithm={named!r}); "
            f"expected one of {', '.join(_ALGORITHM_BY_DIGITS.values())}."
        )
    return found


def _new_hash(algorithm: str) -> _Hash:
    import hashlib

    # The digest guards against damaged files; MD5 must also work on FIPS machines.
    return hashlib.new(algorithm, usedforsecurity=False)


def _file_digest(path: Path, algorithm: str) -> str:
    digest = _new_hash(algorithm)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _download(origin: str, target: Path, expected: str, algorithm: str, verbose: int | str) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with temporary.open("xb") as file:
            digest = _copy_url(origin, file, target.name, algorithm, verbose)
            file.flush()
            os.fsync(file.fileno())
        if expected and digest != expected:
            raise FileError(
                f"get_file: {origin} has {algorithm} {digest}, expected {expected}; nothing was "
                "kept. The download is damaged or the file at this address has changed: try "
                f"again, or put the right file at {target}."
            )
        os.replace(temporary, target)
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"get_file: cannot fetch {origin} to {target} ({error}); check the network and the "
            f"address, or put the file at {target} yourself."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _copy_url(origin: str, file: IO[bytes], name: str, algorithm: str, verbose: int | str) -> str:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    digest = _new_hash(algorithm)
    received = 0
    try:
        request = Request(origin, headers={"User-Agent": "fastcnn"})
        with urlopen(request, timeout=30) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            with progress(total, f"Downloading {name}", verbose, unit="B") as bar:
                while block := response.read(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    received += len(block)
                    bar.update(len(block))
    except (HTTPException, ValueError) as error:
        raise FileError(
            f"get_file: cannot fetch {origin} ({error}); expected an https, http, ftp or file URL."
        ) from error
    if total is not None and received != total:
        raise FileError(
            f"get_file: {origin} ended after {received} bytes, expected {total}; try again."
        )
    return digest.hexdigest()
