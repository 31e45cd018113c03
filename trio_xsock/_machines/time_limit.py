"""A limit on how long somebody may take, that does not count time in which we did not run.

A program that was stopped, or that blocked its event loop, finds all its deadlines passed. What
the other side has sent meanwhile lies ready, so it is looked at first. What the other side could
not do, because it waited for us, it should have the time for: whoever asks late grants as much
time again, once.
"""

from __future__ import annotations

from typing import Final

LATE: Final = 0.05
"""Seconds after a deadline from which on we did not run, rather than being merely busy."""


class TimeLimit:
    """One deadline.

    Args:
        begin: when the time began to run, in seconds on any one clock.
        seconds: how long it may take.

    Attributes:
        deadline: when to ask whether it is over.
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
        """Whether the time is up; to be asked after all that has arrived was looked at.

        Args:
            now: the present time.
            counts_lateness: to ask late means that we did not run. Not so where the clock can
                jump, as a mock clock does.

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
