# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a tqdm bar when tqdm is there, a plain line otherwise.

The cost is bounded: between two repaints `update` only adds to a counter and reads a clock.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from types import TracebackType
from typing import Any, Protocol, TextIO, TypeAlias, TypeVar

from fastcnn.errors import ArgumentError

Metrics: TypeAlias = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
T = TypeVar("T")

_REPAINT_SECONDS = 0.1
# A file keeps every line, so it gets far fewer of them than a terminal gets repaints.
_LOG_SECONDS = 5.0


class _Painter(Protocol):
    interval: float

    def paint(self, done: int, text: str) -> None: ...

    def close(self, done: int, text: str) -> None: ...


def progress(
    total: int | None,
    description: str = "",
    verbose: int | str | bool = "auto",
    *,
    unit: str = "step",
    file: TextIO | None = None,
) -> Progress:
    """Start showing progress; use the result in a `with` statement and call `update`.

    Args:
        total: number of steps, None when unknown.
        description: text before the bar, for example "Epoch 1/5".
        verbose: 0 silent; 1 a bar; 2 one line at the end; "auto" is 1 on a terminal or in a
            notebook and 0 elsewhere.
        unit: what is counted; "B" shows bytes.
        file: where to write, `sys.stdout` when None.

    Raises:
        ArgumentError: `verbose` is none of these.
    """
    return Progress(total, description, verbose, unit=unit, file=file)


def track(
    items: Iterable[T],
    description: str = "",
    verbose: int | str | bool = "auto",
    *,
    total: int | None = None,
    file: TextIO | None = None,
) -> Iterator[T]:
    """Yield `items` one by one and show progress; `total` is `len(items)` when it has one."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with progress(total, description, verbose, file=file) as bar:
        for item in items:
            yield item
            bar.update()


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """`loss: 0.3012 - accuracy: 0.9100`: four decimals, or four digits for very small values."""
    return " - ".join(f"{name}: {_format_number(value)}" for name, value in metrics.items())


def is_interactive(file: TextIO) -> bool:
    """Whether `file` is a terminal or the output of a notebook cell."""
    if type(file).__module__.startswith("ipykernel"):
        return True
    try:
        return file.isatty()
    except (AttributeError, ValueError):
        return False


class Progress:
    """One running display; made by `progress`."""

    def __init__(
        self,
        total: int | None,
        description: str,
        verbose: int | str | bool,
        *,
        unit: str,
        file: TextIO | None,
    ) -> None:
        if verbose not in (0, 1, 2, "auto"):
            raise ArgumentError(
                f"progress: found verbose={verbose!r}, expected 0 (silent), 1 (bar), "
                '2 (one line per epoch) or "auto".'
            )
        output = sys.stdout if file is None else file
        if verbose == "auto":
            verbose = 1 if is_interactive(output) else 0
        self.total = total
        self.description = description
        self.done = 0
        self._unit = unit
        self._metrics: Metrics = {}
        self._painter = _choose_painter(int(verbose), output, total, description, unit)
        self._closed = False
        self._start = self._last = time.perf_counter()

    def update(self, n: int = 1, metrics: Metrics | None = None) -> None:
        """Count `n` more steps.

        Args:
            n: steps done since the last call.
            metrics: values to show behind the bar. A function is called only when the display
                is repainted, so computing the values costs nothing in between.
        """
        self.done += n
        if metrics is not None:
            self._metrics = metrics
        if self._painter is None or self._closed:
            return
        now = time.perf_counter()
        if now - self._last >= self._painter.interval:
            self._last = now
            self._painter.paint(self.done, self._text(now))

    def close(self) -> None:
        """Paint the last state and end the line; later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        if self._painter is not None:
            self._painter.close(self.done, self._text(time.perf_counter()))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _text(self, now: float) -> str:
        metrics = self._metrics() if callable(self._metrics) else self._metrics
        speed = _format_speed(now - self._start, self.done, self._unit)
        return " - ".join(part for part in (speed, format_metrics(metrics)) if part)


def _choose_painter(
    verbose: int, file: TextIO, total: int | None, description: str, unit: str
) -> _Painter | None:
    if verbose == 0:
        return None
    count = _Counter(total, description, unit)
    if verbose == 2:
        return _LinePainter(file, count, interval=float("inf"))
    if not is_interactive(file):
        return _LinePainter(file, count, interval=_LOG_SECONDS)
    try:
        return _TqdmPainter(file, total, description, unit)
    except ImportError:
        return _TerminalPainter(file, count)


class _Counter:
    """The left part of a plain line: `Epoch 1/5  12/45`."""

    def __init__(self, total: int | None, description: str, unit: str) -> None:
        self._total, self._description, self._unit = total, description, unit

    def text(self, done: int) -> str:
        if self._unit == "B":
            counted = _format_bytes(done)
            whole = "" if self._total is None else f"/{_format_bytes(self._total)}"
        else:
            whole = "" if self._total is None else f"/{self._total}"
            counted = str(done).rjust(len(whole) - 1)
        return f"{self._description}  {counted}{whole}".strip()


class _LinePainter:
    """Whole lines, for files and pipes."""

    def __init__(self, file: TextIO, count: _Counter, interval: float) -> None:
        self._file, self._count, self.interval = file, count, interval

    def paint(self, done: int, text: str) -> None:
        self._file.write(f"{self._count.text(done)} - {text}\n")
        self._file.flush()

    def close(self, done: int, text: str) -> None:
        self.paint(done, text)


class _TerminalPainter:
    """One line of a terminal, written over and over."""

    interval = _REPAINT_SECONDS

    def __init__(self, file: TextIO, count: _Counter) -> None:
        self._file, self._count = file, count

    def paint(self, done: int, text: str) -> None:
        import shutil

        # A line that wraps cannot be overwritten by a carriage return.
        width = shutil.get_terminal_size().columns - 1
        line = f"{self._count.text(done)} - {text}"[:width]
        self._file.write(f"\r{line}\x1b[K")
        self._file.flush()

    def close(self, done: int, text: str) -> None:
        # The last line stays, so it may wrap but must not lose its end.
        self._file.write(f"\r{self._count.text(done)} - {text}\x1b[K\n")
        self._file.flush()


class _TqdmPainter:
    """A tqdm bar; repaint times are ours, so tqdm's own clock is out of the way."""

    interval = _REPAINT_SECONDS

    def __init__(self, file: TextIO, total: int | None, description: str, unit: str) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

        class Bar(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
            # tqdm otherwise starts a thread that lives as long as the process.
            monitor_interval = 0

        bar = "{l_bar}{bar:10}| " if total is not None else "{desc}: "
        count = "{n_fmt}/{total_fmt}" if total is not None else "{n_fmt}"
        self._bar = Bar(
            total=total,
            desc=description or None,
            file=file,
            leave=True,
            dynamic_ncols=_columns(file) > 0,
            mininterval=0,
            unit_scale=unit == "B",
            unit_divisor=1024,
            bar_format=f"{bar}{count}{{postfix}}",
        )

    def paint(self, done: int, text: str) -> None:
        self._bar.n = done
        self._bar.set_postfix_str(text, refresh=True)

    def close(self, done: int, text: str) -> None:
        # As above.
        self._bar.dynamic_ncols = self._bar.ncols = None
        self.paint(done, text)
        self._bar.close()


def _columns(file: TextIO) -> int:
    """Width of the terminal; 0 where it is not known, as in some containers."""
    try:
        return os.get_terminal_size(file.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return 0


def _format_number(value: Any) -> str:
    number = float(value)
    if number != 0 and abs(number) < 1e-3:
        return f"{number:.4e}"
    return f"{number:.4f}"


def _format_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def _format_speed(seconds: float, done: int, unit: str) -> str:
    elapsed = f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds) // 60}m{int(seconds) % 60:02}s"
    if not done or seconds <= 0:
        return elapsed
    if unit == "B":
        return f"{elapsed} - {_format_bytes(done / seconds)}/s"
    each = seconds / done
    for scale, name in ((1.0, "s"), (1e-3, "ms")):
        if each >= scale:
            return f"{elapsed} - {each / scale:.0f}{name}/{unit}"
    return f"{elapsed} - {each * 1e6:.0f}us/{unit}"
