# SPDX-License-Identifier: Apache-2.0
"""The conductor's end of the pipe to a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from .cases import Case, Files

# Seconds after which a worker counts as hung: compiling a deep network takes a minute or two.
LIMIT = 900.0


class EngineError(Exception):
    """An engine cannot do what it was asked for; the message is the reason, in one line."""


@final
class Process:
    """A worker process. Leave the `with` block to end it.

    Args:
        threads: that its libraries may use, through the variables they read.
        more: variables of its own.
    """

    def __init__(self, threads: int, more: Mapping[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (close does it)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment(threads) | dict(more or {}),
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, do: str, limit: float = LIMIT, **request: Any) -> dict[str, Any]:
        """The reply to a request.

        Raises:
            EngineError: the worker says why it cannot, has died, or does not answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise EngineError(f"its process ended while asked to {do}: {self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise EngineError(reply["failed"])
        return reply

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"status {status}" + (f", {lines[-1][:200]}" if lines else "")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


def on(case: Case, files: Files) -> dict[str, Any]:
    """A case as the fields of a request."""
    return {"case": asdict(case), "folder": str(files.folder)}


def environment(threads: int) -> dict[str, str]:
    """Variables of a process that can import what this one can."""
    paths = [str(Path(__file__).parent.parent), *(path for path in sys.path if path)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "FASTCNN_NUM_THREADS": str(threads),
    }
