"""Standard output and standard error, as whole lines, bytes, or a screen for rich.

Lines never wait, because the program has other work to do. If the reader is too slow,
lines are lost, and their number is written as soon as there is room. Bytes are the purpose
of the command: ``send`` waits for room.
"""

from __future__ import annotations

import io
import os
from typing import TextIO, cast

from ._errors import OutputFailedError, OutputGoneError
from ._sink import Sink, has_room, is_empty, open_sink

_STALE = 2**14
"""Bytes that may wait before further frames of a progress display are left out."""
_SHOW_CURSOR = "\x1b[?25h"


class Stream:
    """One of the two standard streams.

    Attributes:
        encoding: of its text; a character that it lacks is written as an escape.
        lost: lines that had no room, and were not told of yet.
    """

    def __init__(self, name: str, stream: TextIO, sink: Sink | None = None) -> None:
        self._name = name
        self._stream = stream
        self.sink = open_sink(stream) if sink is None else sink
        self.encoding: str = stream.encoding or "utf-8"
        self.lost = 0

    def isatty(self) -> bool:
        """A person looks at it."""
        return self._stream.isatty()

    def is_same_as(self, other: Stream) -> bool:
        """Whether both lead to the same pipe, terminal or file."""
        try:
            one, two = os.fstat(self._stream.fileno()), os.fstat(other._stream.fileno())
        except (OSError, ValueError):
            return False
        return os.path.samestat(one, two)

    def line(self, text: str) -> None:
        """Write a line soon; never blocks and never fails."""
        self.text(text + "\n")

    def text(self, text: str) -> None:
        """Write ``text``, which is whole lines, unchanged; like ``line``."""
        if not self.sink.put(self._encode(text)):
            self.lost += text.count("\n")

    async def send(self, data: bytes) -> None:
        """Write ``data``, and wait until there is room for more.

        Raises:
            OutputGoneError: its reader has closed it.
            OutputFailedError: it cannot be written.
        """
        self.sink.put(data)
        await self.room()

    async def room(self) -> None:
        """Wait until the reader has taken most of what was written; raises like ``send``."""
        await self.sink.until(lambda: has_room(self.sink))
        self._check()

    async def emptied(self) -> None:
        """Wait until all is written; raises like ``send``."""
        await self.sink.until(lambda: is_empty(self.sink))
        self._check()

    async def broken(self) -> OutputGoneError | OutputFailedError:
        """Wait until its reader has closed it, or it cannot be written; return the error."""
        await self.sink.until(lambda: self.sink.gone or self.sink.error is not None)
        failure = self._failure()
        assert failure is not None
        return failure

    def why_failed(self) -> str:
        """A sentence for what went wrong in writing; empty if nothing did."""
        error = self.sink.error
        return "" if error is None else f"cannot write to {self._name}: {error.strerror or error}"

    def _check(self) -> None:
        failure = self._failure()
        if failure is not None:
            raise failure

    def _failure(self) -> OutputGoneError | OutputFailedError | None:
        if self.sink.error is not None:
            return OutputFailedError(self.why_failed())
        return OutputGoneError() if self.sink.gone else None

    def _encode(self, text: str) -> bytes:
        return text.encode(self.encoding, "backslashreplace")

    def screen(self, *, moves: bool) -> TextIO:
        """A file for rich to write to, which never blocks and takes every character.

        Args:
            moves: it draws frames; some may be left out if the reader is slow.
        """
        return cast(TextIO, _Screen(self, moves))


class _Screen(io.TextIOBase):
    """A terminal for rich."""

    def __init__(self, stream: Stream, moves: bool) -> None:
        self._to = stream
        self._moves = moves

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._to.encoding

    def isatty(self) -> bool:
        return self._to.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        stale = self._moves and self._to.sink.waiting > _STALE and _SHOW_CURSOR not in text
        if not stale:
            self._to.text(text)
        return len(text)


def standard_streams(out: TextIO, err: TextIO) -> tuple[Stream, Stream]:
    """Both streams, with one queue if they are the same file, so that lines stay in order."""
    one, other = Stream("standard output", out), Stream("standard error", err)
    if one.is_same_as(other):
        other.sink = one.sink
    return one, other
