"""Where the processes of a run are: the two ends on one core, or each on one of its own.

On one core the load sleeps while it has nothing to do: the program under test needs the core. On a
core of its own it never sleeps: who sleeps must be woken, on a virtual machine that costs up to
100 us of CPU, and it is the sender who pays, the program under test.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from . import linux


class Placement(enum.Enum):
    """Where the program under test and the load run."""

    ONE_CORE = "one-core"
    TWO_CORES = "two-cores"
    FREE = "free"
    """The scheduler decides; the load never sleeps."""

    @property
    def load_sleeps(self) -> bool:
        """Whether the load waits in the kernel while there is nothing to do."""
        return self is Placement.ONE_CORE

    def cores(self, present: Sequence[int]) -> tuple[set[int], set[int]]:
        """The cores of the program under test, and those of the load.

        Args:
            present: the cores that there are, at least one.
        """
        if self is Placement.FREE:
            return set(present), set(present)
        last = present[-1]
        if self is Placement.ONE_CORE or len(present) == 1:
            return {last}, {last}
        return {last}, {present[-2]}


def pin(pid: int, cores: set[int]) -> None:
    """Let a process, and what it forks later, run on these cores only."""
    linux.sched_setaffinity(pid, cores)
