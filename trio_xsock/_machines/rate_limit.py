"""A limit on how often something may happen: a token bucket, without a clock."""

from __future__ import annotations

import math


class RateLimit:
    """So many a second in the long run, and no more than that at once.

    Args:
        rate: how many a second.
    """

    __slots__ = ("_rate", "_since", "_tokens")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._since = -math.inf

    def allows(self, now: float) -> bool:
        """Whether one more is allowed; if so it counts.

        Args:
            now: the time in seconds, on the clock of all calls.
        """
        if now > self._since:
            elapsed = now - self._since
            self._tokens = min(self._rate, self._tokens + elapsed * self._rate)
            self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
