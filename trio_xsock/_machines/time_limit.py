"""A time limit for the peer that does not count time in which this program did not run.

A program that was stopped, or that blocked its event loop, finds all its deadlines passed. The
peer's input of that time is already in the socket, so the caller reads it before it asks. What the
peer could not do, because it waited for us, needs more time: a limit that is checked late is
extended once, by its full length.
"""

from __future__ import annotations

from typing import Final

LATE: Final = 0.05
"""Seconds after a deadline from which on this program was stopped, rather than merely busy."""


class TimeLimit:
    """One deadline.

    Args:
        begin: when the limit began, in seconds on any one clock.
        seconds: how long it is.

    Attributes:
        deadline: when to call ``is_over``.
    """

    __slots__ = ("_extended", "_seconds", "deadline")

    def __init__(self, begin: float, seconds: float) -> None:
        self._seconds = seconds
        self._extended = False
        self.deadline = begin + seconds

    def shorten(self, deadline: float) -> None:
        """It may end earlier."""
        self.deadline = min(self.deadline, deadline)

    def is_over(self, now: float, *, counts_lateness: bool = True) -> bool:
        """Whether the time is up; to be called after all input that has arrived was read.

        Args:
            now: the present time.
            counts_lateness: a late call means that this program did not run. False where the
                clock can jump, as a mock clock does.

        Returns:
            False if there is time left. ``deadline`` may be a later one then.
        """
        late = now - self.deadline
        if late < 0:
            return False
        if self._extended or late < LATE or not counts_lateness:
            return True
        self._extended = True
        self.deadline = now + min(late, self._seconds)
        return False
