"""``OwnWait``: the wait of a task that receives from a connection to which nobody listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_xsock._runtime.guard import WAKEUPS, protect_from_ki
from trio_xsock._values.errors import SocketError

if TYPE_CHECKING:
    from trio_xsock._runtime.epoll import EpollHub


class OwnWait:
    """A receiving task that waits for any input, as the inbox sees it; see ``Waiting`` there.

    It waits for the descriptor itself, or is parked until a step has read something. The step
    hands it over, past the buffer, if it is what the task needs. Otherwise the task takes from the
    buffer when it runs: it may have been cancelled by then.

    Args:
        hub: the one that may wait for it, if there is one.
        span: what the first count begins with; see ``count``.

    Attributes:
        descriptor: what it waits for; -1 while it does not wait for one.
        limit: how many bytes may have to be buffered before it is content.
        most: how many it takes at the most.
        hub: as above.
        task: the parked task.
        data: what was handed over.
        missed: the last read without a wait found nothing; forgotten when a new count begins.
        others: how many turns of others came between two of its own; see ``crowd``.
        turn, span, left: what that was counted from: the number of a turn, of how many turns of its
            own, and how many of them are left.
    """

    __slots__ = (
        "data",
        "descriptor",
        "hub",
        "left",
        "limit",
        "missed",
        "most",
        "others",
        "span",
        "task",
        "turn",
    )

    def __init__(self, hub: EpollHub | None, span: int) -> None:
        self.hub = hub
        self.descriptor = -1
        self.limit = self.most = 1
        self.task: trio.lowlevel.Task | None = None
        self.data: bytes | None = None
        self.others = 0
        self.count(span)

    def count(self, span: int) -> None:
        """Begin to count the turns of others, until it has had ``span`` of its own."""
        self.turn = 0 if self.hub is None else self.hub.turns
        self.span = self.left = span
        self.missed = False

    def enter(self) -> Callable[[object], trio.lowlevel.Abort]:
        """This task begins to wait until something is handed over, or has changed for it.

        Returns:
            What to give to ``wait_task_rescheduled``; ``leave`` follows. No coroutine does both:
            it would take 200 bytes for each task that waits.
        """
        self.task = trio.lowlevel.current_task()
        return self._abort

    def leave(self) -> bytes | None:
        """The wait is over; returns what was handed over, if anything was."""
        WAKEUPS.resumed += 1
        data, self.data = self.data, None
        return data

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def hand_over(self, data: bytes) -> bool:
        """Give it what was read, if that is what it needs; returns whether it is.

        The task is parked, so nothing is buffered.
        """
        task = self.task
        if task is None or not self.limit <= len(data) <= self.most:
            return False
        self.data = data
        self.task = None
        WAKEUPS.woken += 1
        trio.lowlevel.reschedule(task)
        return True

    def serve(self, _ended: SocketError | None, /) -> bool:
        """See ``Waiting``: the task is told to try."""
        self.wake()
        return False

    def fail(self, _error: SocketError, /) -> None:
        """See ``Waiting``: the task finds out by itself."""
        self.wake()

    def wake(self) -> None:
        """Something has changed for the task."""
        descriptor, self.descriptor = self.descriptor, -1
        task, self.task = self.task, None
        if descriptor >= 0:
            trio.lowlevel.notify_closing(descriptor)
        elif task is not None:
            WAKEUPS.woken += 1
            trio.lowlevel.reschedule(task)


protect_from_ki(OwnWait)
