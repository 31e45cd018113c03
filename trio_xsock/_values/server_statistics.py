"""What ``ServerSocket.statistics()`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Counters of one server since it was made."""

    accepted: int = 0
    """Connections accepted and announced."""
    refused: int = 0
    """Connections that ended before they were announced: a handshake failed or took too long,
    the peer was no trusted proxy, or listening stopped meanwhile."""
    failed: int = 0
    """Connections whose handler raised."""
    live: int = 0
    """Connections that are open now."""
    ready: int = 0
    """Those of them that wait to be accepted."""
    handshaking: int = 0
    """Connections that are not announced yet: their handshake runs, or they wait for a place."""
    events_posted: int = 0
    """Events that happened while somebody listened."""
    events_merged: int = 0
    """Events that were merged into waiting ones."""
