"""``Watchdogs``: what notices that a peer is gone: ``idle_timeout``, ``unacknowledged_timeout``.

Made for connections that have one of them. The keeper task asks when a time has come; between,
nothing is paid but one look at the byte counters after each step.
"""

from __future__ import annotations

import math

from trio_xsock._machines.dead_peers import DeadPeerDetector
from trio_xsock._network.transport import Transport


class Watchdogs:
    """The timers of one connection.

    Args:
        idle_timeout: seconds without a byte either way; ``None`` for off.
        unacknowledged_timeout: seconds without an acknowledgement while data is in flight.
        now: on Trio's clock.
    """

    __slots__ = ("_active_at", "_detector", "_idle_timeout", "_moved", "_sample_at", "_sent")

    def __init__(
        self, idle_timeout: float | None, unacknowledged_timeout: float | None, now: float
    ) -> None:
        self._idle_timeout = idle_timeout
        seconds = unacknowledged_timeout
        self._detector = None if seconds is None else DeadPeerDetector(seconds)
        self._active_at = now
        self._moved = -1  # bytes, both ways
        self._sent = -1  # bytes that had been sent when nothing was in flight
        self._sample_at = math.inf if seconds is None else -math.inf

    def note(self, received: int, sent: int, now: float) -> bool:
        """Bytes may have moved.

        Args:
            received: bytes so far.
            sent: bytes so far.
            now: on Trio's clock.

        Returns:
            Whether ``check`` has to be called soon.
        """
        if received + sent != self._moved:
            self._moved = received + sent
            self._active_at = now
        if self._detector is None or self._sample_at != math.inf or sent == self._sent:
            return False
        self._sample_at = -math.inf
        return True

    def note_end(self) -> bool:
        """Our direction has ended: that has to be acknowledged as well; as for ``note``."""
        self._sent = -1
        if self._detector is None:
            return False
        self._sample_at = -math.inf
        return True

    def check(self, transport: Transport, sent: int, now: float) -> tuple[float, str | None]:
        """Look whether the peer is gone.

        Args:
            transport: of the connection.
            sent: bytes so far.
            now: on Trio's clock.

        Returns:
            When to look again, and why the connection has timed out, if it has.
        """
        deadline = math.inf
        if self._idle_timeout is not None:
            deadline = self._active_at + self._idle_timeout
            if now >= deadline:
                return math.inf, f"no byte went either way for {self._idle_timeout:g} seconds"
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
