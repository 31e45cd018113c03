"""``ConsumerWait``: the wait of a task for an event of a channel."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import trio

from .guard import WAKEUPS, protect_from_ki

E = TypeVar("E")


class ConsumerWait(Generic[E]):
    """A task that waits for an event of a channel; one use per object.

    It does what a ``Parking`` does, for a task that parks at once: for half of the cost.

    Args:
        waiting: those that wait for the same channel, the longest first; it joins them.
    """

    __slots__ = ("_error", "_event", "_task", "_waiting")

    _event: E
    """Not there before ``hand_over``."""

    def __init__(self, waiting: list[ConsumerWait[Any]]) -> None:
        self._task = trio.lowlevel.current_task()
        self._error: Exception | None = None
        self._waiting = waiting
        waiting.append(self)

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """The task was cancelled; what to give to ``wait_task_rescheduled``."""
        self._waiting.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def hand_over(self, event: Any) -> None:
        """Let the task have ``event``; the caller has taken it from those that wait."""
        self._event = event
        WAKEUPS.woken += 1
        trio.lowlevel.reschedule(self._task)

    def fail(self, error: Exception) -> None:
        """Let the task raise ``error``; the caller has taken it from those that wait."""
        self._error = error
        WAKEUPS.woken += 1
        trio.lowlevel.reschedule(self._task)

    def leave(self) -> E:
        """The wait is over; returns the event, or raises."""
        WAKEUPS.resumed += 1
        if self._error is not None:
            raise self._forget(self._error)
        return self._event

    def _forget(self, error: Exception) -> Exception:
        """Not to be kept here: the traceback that it is about to get holds this object."""
        self._error = None
        return error


protect_from_ki(ConsumerWait)
