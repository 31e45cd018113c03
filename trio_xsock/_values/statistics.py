"""What ``statistics()`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketStatistics:
    """Counters of one socket since it was made, over all its connections."""

    bytes_in: int = 0
    """Bytes put into the receive buffer."""
    bytes_out: int = 0
    """Bytes that the OS took."""
    packets_in: int = 0
    """UDP: datagrams received."""
    packets_out: int = 0
    """UDP: datagrams sent."""
    packets_dropped: int = 0
    """UDP: datagrams dropped because a receive buffer was full, ours or the OS's."""
    bytes_available: int = 0
    """Bytes in the receive buffer now."""
    bytes_left_to_send: int = 0
    """Bytes in the send queue now."""
    events_posted: int = 0
    """Events that happened while somebody listened."""
    events_merged: int = 0
    """Events that were merged into waiting ones."""
    read_pauses: int = 0
    """How often reading stopped because the receive buffer was full."""


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
