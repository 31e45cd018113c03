"""When to check whether memberships in multicast groups are still valid, and what to report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from trio_xsock._network.udp_port import Port

INTERVAL: Final = 2.0
"""Seconds between two checks.

It polls, because each system reports changes in its own way.
"""


class Renewal:
    """Makes the ports of one socket join their groups again after the network has changed.

    Attributes:
        interval: seconds between two checks.
        deadline: when to check next, on Trio's clock; never while no port needs it.
    """

    __slots__ = ("_failed_before", "_told", "deadline", "interval")

    def __init__(self) -> None:
        self.interval = INTERVAL
        self.deadline = math.inf
        self._failed_before = False
        self._told = False

    def begin(self, now: float) -> None:
        """A group was joined."""
        self.deadline = min(self.deadline, now + self.interval)

    def end(self) -> None:
        """The socket is closed."""
        self.deadline = math.inf
        self._failed_before = self._told = False

    def look(self, ports: Iterable[Port], now: float) -> OSError | None:
        """Check, if it is time.

        Returns:
            Why groups could not be joined in two checks in a row; once, until all are joined
            again.
        """
        if now < self.deadline:
            return None
        needed = [port for port in ports if port.needs_renewal]
        self.deadline = now + self.interval if needed else math.inf
        troubles = [trouble for port in needed if (trouble := port.renew()) is not None]
        failed_before, self._failed_before = self._failed_before, bool(troubles)
        if not troubles:
            self._told = False
        if not troubles or self._told or not failed_before:
            return None
        self._told = True
        return troubles[0]
