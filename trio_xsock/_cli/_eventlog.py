"""A log of a socket's events that stays short however many there are.

The first and the last ``SendProgress`` of a batch are shown, and one at each quarter in
between; ``DataAvailable`` and ``SendComplete`` are counted where there are many.
"""

from __future__ import annotations

from collections import Counter

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    SendComplete,
    SendProgress,
    TCPSocket,
)

from ._errors import escape_error
from ._report import Report

_STEPS = 4


class EventLog:
    """Reads a socket's events from a channel of its own and writes a line for some of them.

    Attributes:
        counts: how many of each class came.
        bytes_sent: the sum of all ``SendProgress``.
        bytes_completed: the sum of ``bytes_sent`` of all ``SendComplete``.
        last_complete: the last ``SendComplete``.
    """

    def __init__(self, report: Report, who: str, sock: TCPSocket, expected: int) -> None:
        self._report = report
        self._who = who
        self._step = max(1, expected // _STEPS)
        self._next_step = 1
        self._channel = sock.subscribe()
        self.counts: Counter[str] = Counter()
        self.bytes_sent = 0
        self.bytes_completed = 0
        self.last_complete: SendComplete | None = None

    async def follow(self) -> None:
        """Write events as they arrive; run it with ``beside``, then call ``finish``."""
        async for event in self._channel:
            self.take(event)

    def finish(self) -> None:
        """Write the events that still wait, and close the channel."""
        with self._channel:
            while self._channel.statistics().current_buffer_used:
                self.take(self._channel.receive_nowait())

    def take(self, event: Event) -> None:
        """Count ``event``, and show it if it is worth a line."""
        self.counts[type(event).__name__] += 1
        match event:
            case SendProgress():
                self._take_progress(event)
            case SendComplete():
                self.bytes_completed += event.bytes_sent
                self.last_complete = event
            case ErrorOccurred():
                self.show("ErrorOccurred", escape_error(event.error))
            case Connected() | DataAvailable() if self.counts[type(event).__name__] == 1:
                self.show(type(event).__name__, "")
            case _:
                pass  # counted

    def _take_progress(self, event: SendProgress) -> None:
        first = not self.bytes_sent
        self.bytes_sent += event.bytes_sent
        if first or self.bytes_sent >= self._next_step * self._step:
            self._next_step = self.bytes_sent // self._step + 1
            self.show(
                "SendProgress",
                f"{event.bytes_sent} bytes sent, {event.bytes_left} left in the queue, "
                f"{self.bytes_sent} in all",
            )

    def summarise(self) -> None:
        """One line for what came too often to be shown each time."""
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        self.show("in all", counts or "no events")

    def show(self, what: str, text: str) -> None:
        """A line of the log."""
        self._report.fact(
            "event",
            f"  {self._who:<9} {what:<14} {text}".rstrip(),
            style="dim",
            who=self._who,
            what=what,
            text=text,
        )
