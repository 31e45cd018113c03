"""``Sleep``: how a keeper task waits until there is work, or a deadline."""

from __future__ import annotations

import math

import trio

from .guard import WAKEUPS, protect_from_ki


@protect_from_ki
class Sleep:
    """How a keeper task waits for work.

    Attributes:
        woken: there is work, of which the task may not know yet.
    """

    __slots__ = ("_parked", "woken")

    def __init__(self) -> None:
        self.woken = True
        self._parked: trio.lowlevel.Task | None = None

    def end(self) -> None:
        """There is work."""
        self.woken = True
        if self._parked is not None:
            task, self._parked = self._parked, None
            WAKEUPS.woken += 1
            trio.lowlevel.reschedule(task)

    async def until(self, deadline: float) -> None:
        """Wait until ``end`` is called, or until the deadline."""
        if deadline == math.inf:
            await self._park()
            return
        with trio.CancelScope(deadline=deadline):
            await self._park()

    async def _park(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
        WAKEUPS.resumed += 1
