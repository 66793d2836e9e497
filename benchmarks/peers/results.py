# SPDX-License-Identifier: Apache-2.0
"""What was measured, as numbers, and as the JSON file that keeps them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from .cases import TRAIN, Case
from .engines import OURS, is_peer


@final
@dataclass(frozen=True)
class Timing:
    """Seconds of one engine's runs, and how far its logits are from PyTorch's.

    The runs are those of bursts in which the machine was whole, or of all if there were none.
    """

    least: float
    median: float
    runs: int
    error: float = 0.0
    bursts: int = 0
    disturbed: int = 0

    @classmethod
    def of(
        cls, seconds: Sequence[float], error: float = 0.0, bursts: int = 0, disturbed: int = 0
    ) -> Timing:
        median = statistics.median(seconds)
        return cls(min(seconds), median, len(seconds), error, bursts, disturbed)


@final
@dataclass(frozen=True)
class Result:
    """All engines on one case.

    Attributes:
        case: what was measured.
        timings: by engine; those that failed are missing.
        failures: by engine, why.
        macs: multiply-accumulates of one image, None where they are not known.
        peaks: floating-point operations a second of the machine's multiply-adds, before and after.
    """

    case: Case
    timings: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    macs: int | None = None
    peaks: tuple[float, ...] = ()

    def best_peer(self) -> str | None:
        """The peer with the least time."""
        peers = {name: t.least for name, t in self.timings.items() if is_peer(name)}
        return min(peers, key=peers.__getitem__, default=None)

    def ratio(self) -> float | None:
        """The best peer's least time ÷ ours: above 1 we are faster."""
        peer, ours = self.best_peer(), self.timings.get(OURS)
        return None if peer is None or ours is None else self.timings[peer].least / ours.least

    def median_ratio(self) -> float | None:
        """The least median of a peer ÷ our median."""
        peers = [t.median for name, t in self.timings.items() if is_peer(name)]
        ours = self.timings.get(OURS)
        return None if not peers or ours is None else min(peers) / ours.median

    def share_of_peak(self, engine: str | None) -> float | None:
        """Of the machine's multiply-adds, those that a direct convolution needs; 1 is all.

        A training step needs them three times: forward, and for either gradient.
        Above 1 an engine saves multiplications. The higher peak counts: the lower one was
        disturbed.
        """
        timing = self.timings.get(engine or "")
        if timing is None or self.macs is None or not self.peaks:
            return None
        passes = 3 if self.case.task == TRAIN else 1  # forward, and both gradients
        return 2 * passes * self.macs * self.case.batch / timing.least / max(self.peaks)


def geometric_mean(values: Iterable[float]) -> float | None:
    """The mean of ratios; None of nothing."""
    logarithms = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None


@final
@dataclass
class Run:
    """Everything that one run of the program has measured.

    Attributes:
        facts: about machine, versions and settings, in the order of the report.
        results: one for each case.
        memory: bytes of each engine's largest resident memory.
        cold: timing of each engine from the start of its process to its first result.
        failures: of memory and cold start, by engine.
    """

    facts: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    cold: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def among(self, engines: Container[str]) -> Run:
        """The same where only some engines had been measured."""

        def kept(of: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in of.items() if name in engines}

        results = [
            replace(r, timings=kept(r.timings), failures=kept(r.failures)) for r in self.results
        ]
        return replace(self, results=results, memory=kept(self.memory), cold=kept(self.cold))

    def batches(self) -> list[tuple[str, int]]:
        """(task, batch) of the results, in their order."""
        return list(dict.fromkeys((r.case.task, r.case.batch) for r in self.results))

    def at(self, task: str, batch: int | None = None) -> list[Result]:
        """The results of a task, at a batch or at all of them."""
        return [r for r in self.results if r.case.task == task and batch in (None, r.case.batch)]

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read what `save` has written."""
        found: dict[str, Any] = json.loads(path.read_text())
        found["results"] = [_result(**result) for result in found["results"]]
        found["cold"] = {name: Timing(**timing) for name, timing in found["cold"].items()}
        return cls(**found)


def _result(case: Any, timings: Any, peaks: Any, **rest: Any) -> Result:
    case = Case(**{**case, "image": tuple(case["image"])})
    timings = {name: Timing(**timing) for name, timing in timings.items()}
    return Result(case, timings, peaks=tuple(peaks), **rest)
