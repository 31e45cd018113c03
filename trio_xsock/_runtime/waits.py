"""Waits with a time-out, which the keeper task ends after a look at the socket.

A cancel scope of Trio's would not do: when the event loop has stood still, Trio cancels what is
over before it serves the sockets, and what had arrived in time would come too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from trio_xsock._machines.time_limit import TimeLimit

from .clock import runs_by_itself
from .guard import Parking, protect_from_ki
from .keeper import Keeper

T = TypeVar("T")


class _Wait:
    """One task that waits.

    Attributes:
        looked: its time is up, and the socket was looked at since.
    """

    __slots__ = ("limit", "looked", "parking", "withdraw")

    def __init__(
        self, limit: TimeLimit, parking: Parking[Any], withdraw: Callable[[], None]
    ) -> None:
        self.limit = limit
        self.parking = parking
        self.withdraw = withdraw
        self.looked = False


@protect_from_ki
class Waits:
    """The waits of one socket that have a time-out."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: list[_Wait] = []

    async def park(  # noqa: ASYNC910 - parking is a checkpoint
        self,
        keeper: Keeper,
        parking: Parking[T | None],
        seconds: float,
        withdraw: Callable[[], None],
    ) -> T | None:
        """Wait for a value, at most so many seconds.

        Args:
            keeper: whose task ends the wait.
            parking: what to wait at.
            seconds: for how long.
            withdraw: called when nothing is to be handed over any more.

        Returns:
            The value, or ``None`` when the time is up.

        Cancellation: as for ``Parking.park``.
        """
        wait = _Wait(TimeLimit(trio.current_time(), seconds), parking, withdraw)
        self._waits.append(wait)
        keeper.wake()
        try:
            return await parking.park(withdraw)
        finally:
            self._waits.remove(wait)

    def need_look(self) -> bool:
        """Whether the time of one is up, so that the socket has to be looked at now."""
        now = trio.current_time()
        due = [wait for wait in self._waits if not wait.looked and wait.limit.deadline <= now]
        for wait in due:
            wait.looked = True
        return bool(due)

    def end_due(self) -> float:
        """End those whose time is up; when to look again."""
        now, following = trio.current_time(), math.inf
        for wait in self._waits:
            if wait.parking.done:
                continue
            if not wait.looked:
                following = min(following, wait.limit.deadline)
            elif wait.limit.is_over(now, counts_lateness=runs_by_itself()):
                wait.withdraw()
                wait.parking.unpark(None)
            else:
                wait.looked = False
                following = min(following, wait.limit.deadline)
        return following
