"""``Watchdogs``: the time-outs for a silent peer: ``idle_timeout``, ``unacknowledged_timeout``.

Made for connections that have one of them. The keeper task checks when a deadline has come; until
then the only cost is a comparison of the byte counters after each step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from trio_xsock._machines.dead_peers import DeadPeerDetector
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.transport import Transport

if TYPE_CHECKING:
    from .connection import Connection


class Watchdogs:
    """The timers of one connection.

    Args:
        idle_timeout: seconds without a byte in either direction; ``None`` for off.
        unacknowledged_timeout: seconds without an acknowledgement while data is in flight.
        now: on Trio's clock.
    """

    __slots__ = (
        "_detector",
        "_idle_timeout",
        "_in_flight",
        "_moved",
        "_sample_at",
        "_sent",
        "_silence",
    )

    def __init__(
        self, idle_timeout: float | None, unacknowledged_timeout: float | None, now: float
    ) -> None:
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        self._silence = TimeLimit(now, self._idle_timeout)
        seconds = unacknowledged_timeout
        self._detector = None if seconds is None else DeadPeerDetector(seconds)
        self._moved = 0  # bytes, both ways
        self._sent = -1  # bytes that had been sent when nothing was in flight
        self._in_flight: tuple[int, int | None] = 0, 0  # sent, and of that not acknowledged
        self._sample_at = math.inf if seconds is None else -math.inf

    def note(self, moved: int, sent: int, now: float) -> bool:
        """Bytes may have moved.

        Args:
            moved: bytes so far, both ways, whatever they are part of.
            sent: those of them that were sent.
            now: on Trio's clock.

        Returns:
            Whether ``check`` has to be called soon.
        """
        if moved != self._moved:
            self._moved = moved
            self._silence = TimeLimit(now, self._idle_timeout)
        if self._detector is None or self._sample_at != math.inf or sent == self._sent:
            return False
        self._sample_at = -math.inf
        return True

    def note_end(self) -> bool:
        """Our direction has ended, which has to be acknowledged as well; returns as ``note``."""
        self._sent = -1
        if self._detector is None or self._sample_at != math.inf:
            return False  # off, or being watched already
        self._sample_at = -math.inf
        return True

    def is_due(self, now: float) -> bool:
        """Whether it has been silent for so long that the socket should be read."""
        return now >= self._silence.deadline

    def check(
        self, transport: Transport, sent: int, now: float, *, paused: bool, counts_lateness: bool
    ) -> tuple[float, str | None]:
        """Judge whether the peer is gone; call it after the socket was read.

        Args:
            transport: of the connection.
            sent: bytes so far.
            now: on Trio's clock.
            paused: reading is paused: if the peer has sent more, this side is slow.
            counts_lateness: see ``TimeLimit``.

        Returns:
            When to check again, and why the connection has timed out, if it has.
        """
        deadline = math.inf
        if self._idle_timeout != math.inf:
            if self._is_alive(transport, sent, paused):
                self._silence = TimeLimit(now, self._idle_timeout)
            if self._silence.is_over(now, counts_lateness=counts_lateness):
                return math.inf, f"no byte went either way for {self._idle_timeout:g} seconds"
            # Twice in that time, so that no acknowledgement is missed.
            deadline = min(self._silence.deadline, now + self._idle_timeout / 2)
        detector = self._detector
        if detector is None:
            return deadline, None
        if now >= self._sample_at:
            sample = transport.take_sample()
            if sample is None or not sample.in_flight:
                self._sent = sent
                self._sample_at = math.inf  # until bytes are sent again
            elif detector.observe(now, sample):
                return math.inf, f"the peer acknowledged nothing for {detector.timeout:g} seconds"
            else:
                self._sample_at = detector.next_look(now)
        return min(deadline, self._sample_at), None

    def _is_alive(self, transport: Transport, sent: int, paused: bool) -> bool:
        """Whether there are signs of life that no step has noticed.

        The peer has acknowledged some of what was sent; or it has sent input that is not read yet.
        """
        (before, waited), waiting = self._in_flight, transport.unacknowledged_bytes()
        self._in_flight = sent, waiting
        acknowledged = before == sent and waited != waiting
        return acknowledged or (paused and transport.holds_input())


def note_activity(connection: Connection) -> None:
    """Bytes may have moved."""
    watchdogs = connection.watchdogs
    if watchdogs is None:
        return
    sent, transport = connection.outlet.bytes_sent, connection.link.transport
    moved = connection.intake.bytes_received + sent + (transport.moved if transport else 0)
    if watchdogs.note(moved, sent, trio.current_time()):
        connection.wake_keeper()
