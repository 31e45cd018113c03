"""Telling a dead peer from a slow one, from what the kernel says of the connection.

A connection whose peer has vanished and one whose peer does not read look alike from above:
nothing goes out. The kernel knows the difference. A live peer answers: it acknowledges data,
and when its window is closed it answers the probes for it, so the counts of unanswered
retransmissions and probes go back to 0. (TCP_USER_TIMEOUT does not make the difference; it
ends a live peer with a closed window too: measured, after 3.5 s at a setting of 3 s.)

One unanswered probe says little: it may have been lost, and Linux answers only one in 500 ms
(tcp_invalid_ratelimit), while the first ones come faster than that.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

_TELLING_PROBES: Final = 3
"""This many unanswered probes are not a matter of chance."""

_SHORTEST_INTERVAL: Final = 0.02
_LONGEST_INTERVAL: Final = 1.0


class Sample(NamedTuple):
    """What the kernel says of a connection's sending side; see ``tcp_info`` in tcp(7)."""

    in_flight: bool
    """Something was sent, or waits for the peer's window, and is not acknowledged."""
    unanswered: bool
    """A retransmission or a window probe is out without an answer."""
    last_ack: float
    """Seconds since anything was acknowledged."""
    probes: int = 0
    """How many probes of a closed window are unanswered, if nothing else is in flight."""


class DeadPeerDetector:
    """Decides when a peer has acknowledged nothing for too long.

    Args:
        timeout: for how many seconds.
    """

    __slots__ = ("_due", "_since", "_unanswered_since", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._since: float | None = None  # when the data in flight went out, at the latest
        self._unanswered_since: float | None = None
        self._due = math.inf

    def next_look(self, now: float) -> float:
        """When to take the next sample: soon enough to see that a peer has answered."""
        least = now + _SHORTEST_INTERVAL
        return max(min(now + min(self.timeout / 8, _LONGEST_INTERVAL), self._due), least)

    def observe(self, now: float, sample: Sample) -> bool:
        """Evaluate a sample.

        Args:
            now: seconds on any one clock.
            sample: what the kernel says at that time.

        Returns:
            True if the peer is dead.
        """
        self._due = math.inf
        if not sample.in_flight:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is None or not sample.unanswered:
            self._unanswered_since = None
            return False
        if self._unanswered_since is None:
            # What went out just now is unanswered too: one look is not enough.
            self._unanswered_since = now
            return False
        # A window may stay closed for minutes, and the kernel probes it ever more seldom: that
        # nothing was acknowledged before the probe says nothing about the peer.
        silent = max(self._since, now - sample.last_ack)
        if sample.probes:
            if sample.probes < _TELLING_PROBES:
                return False
            # The peer may have answered since, if the last sample is old.
            silent = max(self._unanswered_since, now - sample.last_ack)
        self._due = silent + self.timeout
        return now >= self._due
