"""``Closing``: the state of a graceful close: its grace, its lingering, the tasks that wait for it.

If unread input could turn our FIN into a reset, the descriptor stays open until the peer's FIN, or
until the peer's OS has acknowledged all that we sent, or until the grace is over.
"""

from __future__ import annotations

import math
from typing import Final

from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import Parking

_FIRST_LOOK: Final = 0.001
_LAST_LOOK: Final = 0.05
"""Seconds until acknowledgements are checked again; doubled each time."""


class Closing:
    """One graceful close.

    Args:
        discarding: input was unread when it began.

    Attributes:
        limit: the grace.
        discarding: input was, or is being, discarded.
    """

    __slots__ = ("_look", "_waiters", "discarding", "limit")

    def __init__(self, *, discarding: bool) -> None:
        self.limit = TimeLimit(0.0, math.inf)
        self.discarding = discarding
        self._look = 0.0
        self._waiters: list[Parking[None]] = []

    def shorten(self, now: float, grace: float) -> bool:
        """Let it end in ``grace`` seconds, if that is earlier; return whether it is."""
        limit = TimeLimit(now, grace)
        if limit.deadline >= self.limit.deadline:
            return False
        self.limit = limit
        return True

    def must_linger(self, transport: Transport) -> bool:
        """Whether closing the descriptor now could make the peer lose what was sent."""
        return self.discarding or transport.has_unread_input()

    def linger(self) -> bool:
        """Check acknowledgements from now on; return whether that is new."""
        if self._look:
            return False
        self._look = _FIRST_LOOK
        return True

    def is_acknowledged(self, transport: Transport) -> bool:
        """Whether it lingers and the peer's OS has acknowledged everything."""
        return bool(self._look) and transport.unacknowledged_bytes() == 0

    def next_look(self, now: float) -> float:
        """When to look again."""
        if not self._look:
            return self.limit.deadline
        self._look = min(self._look * 2, _LAST_LOOK)
        return min(self.limit.deadline, now + self._look)

    def wait(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the connection is closed."""
        self._waiters.append(parking)

    def done(self) -> None:
        """The connection is closed."""
        waiters, self._waiters = self._waiters, []
        for parking in waiters:
            parking.unpark(None)
