"""``EventChannelStatistics``: how much waits in a channel of events, and who waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventChannelStatistics:
    """What ``EventChannel.statistics()`` returns; the fields of a memory channel's."""

    current_buffer_used: int
    """Events that wait."""
    max_buffer_size: int
    """The most that can wait: ten for each socket."""
    open_send_channels: int
    """Sockets that post here."""
    open_receive_channels: int
    """1, or 0 once the channel was closed."""
    tasks_waiting_send: int
    """0: posting never waits."""
    tasks_waiting_receive: int
    """Tasks parked in ``receive()``."""
