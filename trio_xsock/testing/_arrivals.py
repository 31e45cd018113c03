"""The input of a faulty transport: read from the inner one, and readable when it is due.

All of it goes through a *line*, in which each piece has a time from which on it may be read.
"""

from __future__ import annotations

import errno as errnos

import trio

from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki

from ._line import Line
from ._memory import os_error
from ._watch import NEVER, NOW
from ._weather import MOST, Weather

_LINE_CAPACITY = 2**18


@protect_from_ki
class Arrivals:
    """The input of a faulty transport.

    Args:
        inner: the transport that it comes from.
    """

    __slots__ = ("_inner", "_line", "_weather")

    def __init__(self, inner: Transport) -> None:
        self._weather = Weather()
        self._inner = inner
        self._line = Line()

    def __bool__(self) -> bool:
        """Whether something is in transit, or the end was seen."""
        return bool(self._line)

    def change(self, weather: Weather) -> None:
        """Other faults apply from now on."""
        self._weather = weather

    def has_unread(self) -> bool:
        """Whether bytes have arrived that have not been read."""
        return self._line.has_unread(trio.current_time())

    def readable_at(self) -> float:
        """See ``Readiness``."""
        return NEVER if self._weather.stalled else self._line.due

    # From the inner transport

    def may_take(self) -> bool:
        """Whether the inner transport should be read."""
        return not (self._weather.stalled or self._line.ended) and self._line.size < _LINE_CAPACITY

    def take_kept(self) -> None:
        """Read what the inner transport has buffered, for which there is no readiness."""
        while self._inner.ready and self.may_take():
            self.take_piece()

    def take_piece(self) -> bool:
        """Put a piece of input into the line; return whether there was any."""
        try:
            data = self._inner.recv(MOST)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self.note_end(exc)
            return False
        if not data:
            self.note_end(None)
            return False
        self._line.append(data, self._due())
        return True

    def note_end(self, error: OSError | None) -> None:
        """Nothing more will come, because of ``error``; ``None`` for a clean end."""
        number = 0 if error is None else error.errno or errnos.EIO
        self._line.end(number, self._due())

    def end_is_late(self) -> bool:
        """Whether the end, which was seen, may not be reported yet."""
        return self._line.end_due > trio.current_time()

    def break_off(self) -> None:
        """The connection is reset: what is in transit does not arrive."""
        self._line.break_off(errnos.ECONNRESET, NOW)

    def _due(self) -> float:
        return trio.current_time() + self._weather.latency

    # To the reader

    def read(self, count: int, *, peek: bool) -> bytes:
        """Up to ``count`` bytes that have arrived; ``b""`` at the end.

        Raises:
            BlockingIOError: nothing has.
            OSError: the error at the end, the first time that the end is seen.
        """
        if self.readable_at() > trio.current_time():
            raise os_error(errnos.EAGAIN)
        return self._line.read(min(count, self._weather.passable), peek=peek)

    def report_end(self) -> None:
        """Raise the error at the end, unless that was done before or the end is a clean one."""
        self._line.report_end()
