"""What the clock of a Trio run is like."""

from __future__ import annotations

import trio


def runs_by_itself() -> bool:
    """Whether Trio's time is that of the system, as opposed to that of a mock clock.

    A mock clock may jump, and it stands still while the kernel and other programs do not.
    """
    return type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
