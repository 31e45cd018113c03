"""Input in transit to a socket: pieces, each with the time when it arrives."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ._memory import os_error
from ._watch import NEVER


class Piece(NamedTuple):
    """Input in transit."""

    due: float
    data: bytes


class End(NamedTuple):
    """What follows the last piece."""

    due: float
    error: int
    """The OS's number; 0 for a clean end, or once the error was reported."""


class Line:
    """A queue of input that keeps its order; times are Trio's.

    Attributes:
        size: bytes in it.
        ended: nothing more can be appended.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[Piece] = deque()
        self._end: End | None = None

    def __bool__(self) -> bool:
        return self.ended or bool(self._pieces)

    @property
    def ended(self) -> bool:
        """Nothing can be appended any more."""
        return self._end is not None

    @property
    def due(self) -> float:
        """When there is something to be read, which may be the end."""
        first = self._pieces[0] if self._pieces else self._end
        return NEVER if first is None else first.due

    @property
    def end_due(self) -> float:
        """When the end may be seen."""
        return NEVER if self._end is None else self._end.due

    def append(self, data: bytes, due: float) -> None:
        """Add a piece; it arrives at ``due``, but not before those that are there."""
        self._pieces.append(Piece(self._not_before(due), data))
        self.size += len(data)

    def end(self, error: int, due: float) -> None:
        """Add the end, if there is none yet; ``error`` is the OS's number, or 0."""
        if self._end is None:
            self._end = End(self._not_before(due), error)

    def break_off(self, error: int, now: float) -> None:
        """What is in transit does not arrive; the end is there."""
        self._pieces.clear()
        self.size = 0
        self._end = End(now, error)

    def _not_before(self, due: float) -> float:
        return max(due, self._pieces[-1].due) if self._pieces else due

    def has_unread(self, now: float) -> bool:
        """Whether bytes have arrived that have not been read."""
        return bool(self._pieces) and self._pieces[0].due <= now

    def read(self, count: int, *, peek: bool) -> bytes:
        """Up to ``count`` bytes of what has arrived; ``b""`` at the end.

        Raises:
            OSError: the error at the end, the first time that the end is seen.
        """
        if not self._pieces:
            self.report_end()
            return b""
        due, data = self._pieces[0]
        data, rest = data[:count], data[count:]
        if not peek:
            self._pieces.popleft()
            self.size -= len(data)
            if rest:
                self._pieces.appendleft(Piece(due, rest))
        return data

    def report_end(self) -> None:
        """Raise the error at the end, unless that was done before or the end is a clean one."""
        end = self._end
        if end is not None and end.error:
            self._end = End(end.due, 0)
            raise os_error(end.error)
