# SPDX-License-Identifier: Apache-2.0
"""A lesson is a row of frames; each can be read as text and drawn."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from fastcnn import arguments
from fastcnn.errors import ArgumentError
from fastcnn.graph import Array
from fastcnn.utils.atomic import make_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A sheet of more frames can no longer be read.
MOST_ON_A_SHEET = 60
FORMS = (".txt", ".png", ".gif")


@dataclass(frozen=True, eq=False)
class Frame(ABC):
    """One step of a lesson; abstract.

    Attributes:
        title: what step it is.
        caption: what happens in it, one or two sentences.
    """

    title: str
    caption: str

    @abstractmethod
    def text(self) -> str:
        """The step as lines of text."""

    @abstractmethod
    def size(self) -> tuple[float, float]:
        """(width, height) in inches of what `draw` draws."""

    @abstractmethod
    def draw(self, axes: Axes) -> None:
        """Draw the step, without title and caption, from (0, 0) at the top left, in inches."""


@final
@dataclass(frozen=True, eq=False)
class Lesson:
    """The steps of one computation and its results.

    Attributes:
        title: what is computed.
        frames: the steps in order.
        arrays: the results by name, as the engine computed them.
    """

    title: str
    frames: tuple[Frame, ...]
    arrays: Mapping[str, Array]

    def text(self) -> str:
        """All steps as text."""
        blocks = [self.title, *(frame.text() for frame in self.frames)]
        return "\n\n".join(blocks) + "\n"

    __str__ = text

    def __repr__(self) -> str:
        return f"<Lesson {self.title!r}: {len(self.frames)} frames, {', '.join(self.arrays)}>"

    def _repr_html_(self) -> str:
        """The animation, for notebooks."""
        from base64 import b64encode

        from fastcnn.teach import pictures

        data = b64encode(pictures.gif(pictures.render(self.title, self.frames), 900)).decode()
        return f'<img alt="{self.title}" src="data:image/gif;base64,{data}">'

    def save(
        self,
        path: str | os.PathLike[str],
        frame: int | Sequence[int] | None = None,
        milliseconds: int = 900,
        columns: int | None = None,
    ) -> Path:
        """Write the lesson; the ending of `path` chooses how.

        Args:
            path: `.txt`, `.png` (the frames on one sheet) or `.gif` (one after the other).
            frame: number of the frame to write, or several; negative ones count from the end.
                All when None.
            milliseconds: how long an animation shows a frame; the last one stays three times as
                long.
            columns: frames beside each other on a sheet; what makes it about square when None.

        Returns:
            The path.

        Raises:
            ArgumentError: another ending, a frame that is not there, or a sheet of more than 60.
            FileError: the file cannot be written.
            MissingDependencyError: a picture is asked for and matplotlib is not installed.
        """
        target = Path(path).expanduser()
        chosen = self._chosen(frame)
        form = arguments.one_of("Lesson.save", "ending", target.suffix.lower(), FORMS)
        arguments.integer("Lesson.save", "milliseconds", milliseconds, 20)
        if columns is not None:
            arguments.integer("Lesson.save", "columns", columns, 1)
        if form == ".png" and len(chosen) > MOST_ON_A_SHEET:
            raise ArgumentError(
                f"Lesson.save: found {len(chosen)} frames for one sheet, expected at most "
                f"{MOST_ON_A_SHEET}; choose some with frame=, or write a .gif"
            )
        make_folder(target.parent)
        write_atomically(target, self._bytes(form, chosen, milliseconds, columns))
        return target

    def _chosen(self, frame: int | Sequence[int] | None) -> tuple[Frame, ...]:
        if frame is None:
            return self.frames
        numbers = arguments.integers("Lesson.save", "frame", _listed(frame))
        count = len(self.frames)
        for number in numbers:
            if not -count <= number < count:
                raise ArgumentError(
                    f"Lesson.save: found frame={number}, expected {-count} to {count - 1}, as "
                    f"there are {count}"
                )
        return tuple(self.frames[number] for number in numbers)

    def _bytes(
        self, form: str, frames: Sequence[Frame], milliseconds: int, columns: int | None
    ) -> bytes:
        if form == ".txt":
            return Lesson(self.title, tuple(frames), self.arrays).text().encode()
        from fastcnn.teach import pictures

        images = pictures.render(self.title, frames)
        if form == ".gif":
            return pictures.gif(images, milliseconds)
        return pictures.png(pictures.sheet(images, columns))


def _listed(frame: int | Sequence[int]) -> int | tuple[int, ...]:
    return tuple(frame) if isinstance(frame, (Sequence, range)) else frame
