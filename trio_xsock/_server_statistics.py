"""What ``ServerSocket.statistics()`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Counters of one server since it was made."""

    accepted: int = 0
    """Connections accepted."""
    failed: int = 0
    """Connections whose handler raised."""
    live: int = 0
    """Connections that are open now."""
    ready: int = 0
    """Those of them that wait to be accepted."""
    events_posted: int = 0
    """Events that happened while somebody listened."""
    events_merged: int = 0
    """Events that were merged into waiting ones."""
