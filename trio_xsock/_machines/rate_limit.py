"""Limits on how often something may happen: token buckets, without a clock."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

_MOST_SOURCES: Final = 1024


class RateLimit:
    """A token bucket: ``rate`` a second in the long run, and no more than that at once.

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


class SourceLimits:
    """A limit for each source address, and a higher one for all of them together.

    A source that asks too often uses up its own limit and not that of the others. The limit for
    all is there for floods with forged sources. A bounded number of sources is remembered, the
    most recent ones.

    Args:
        rate: how many a second for one source.
        total: how many a second for all.
    """

    __slots__ = ("_rate", "_sources", "_total")

    def __init__(self, rate: float, total: float) -> None:
        self._rate = rate
        self._total = RateLimit(total)
        self._sources: OrderedDict[str, RateLimit] = OrderedDict()  # the latest last

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._sources)

    def allows(self, source: str, now: float) -> bool:
        """Whether one more is allowed for this source; if so it counts.

        Args:
            source: its address.
            now: the time in seconds, on the clock of all calls.
        """
        limit = self._sources.get(source)
        if limit is None:
            limit = self._sources[source] = RateLimit(self._rate)
            if len(self._sources) > _MOST_SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(source)
        return limit.allows(now) and self._total.allows(now)
