"""When each of many members needs attention next: a heap, so that no packet costs a full scan.

Each packet of a member postpones its time. The heap is not touched for that: the old entry
stays, and is postponed when its time comes.
"""

from __future__ import annotations

import heapq
import math

_SPARE = 64
"""Superseded entries that the heap may always hold."""


class Timetable:
    """Times by key; the earliest comes first."""

    __slots__ = ("_heap", "_queued", "_times")

    def __init__(self) -> None:
        self._times: dict[bytes, float] = {}
        self._queued: dict[bytes, float] = {}  # the time of each key's one valid heap entry
        self._heap: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        """Entries in the heap, superseded ones included."""
        return len(self._heap)

    def set(self, key: bytes, when: float) -> None:
        """Set or change the time of a key; constant cost if it only moves back."""
        self._times[key] = when
        if when < self._queued.get(key, math.inf):
            self._queued[key] = when
            heapq.heappush(self._heap, (when, key))
            if len(self._heap) > 2 * len(self._times) + _SPARE:
                self._rebuild()

    def discard(self, key: bytes) -> None:
        """Forget a key, if it is there."""
        self._times.pop(key, None)
        self._queued.pop(key, None)

    @property
    def earliest(self) -> float:
        """No later than the earliest time, and only earlier if that time was moved back."""
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> list[bytes]:
        """Take out the keys whose time has come, the earliest first."""
        due: list[tuple[float, bytes]] = []
        while self._heap and self._heap[0][0] <= now:
            queued, key = heapq.heappop(self._heap)
            if self._queued.get(key) != queued:
                continue  # superseded
            when = self._times[key]
            if when <= now:
                due.append((when, key))
                self.discard(key)
            else:
                self._queued[key] = when
                heapq.heappush(self._heap, (when, key))
        return [key for _, key in sorted(due)]

    def _rebuild(self) -> None:
        """Drop the superseded entries."""
        self._queued = dict(self._times)
        self._heap = [(when, key) for key, when in self._times.items()]
        heapq.heapify(self._heap)
