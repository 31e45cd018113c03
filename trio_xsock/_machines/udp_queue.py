"""The two queues of a datagram socket: received datagrams, and those that wait to be sent.

Neither does I/O. What arrives is stored as the OS gave it; a ``Datagram`` is made of it only when
it is read.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from trio_xsock._values.typing import Address

W = TypeVar("W")
R = TypeVar("R")

Packet: TypeAlias = tuple[bytes, Address] | tuple[bytes, Address, str]
"""A datagram and its sender, as ``recvfrom`` gives them, and the address that it was sent to.

The last is left out where the port is bound to one address, which is then the one. So what
``recvfrom`` gives is put into the queue as it is.
"""

_OVERHEAD = 256
"""Bytes that a queued datagram takes besides its own, so that empty ones are bounded, too."""


class ArrivalQueue:
    """Received datagrams, in the order in which they came; when it is full, newer ones are lost.

    Attributes:
        packets: the waiting ones; may be taken from at the left.
        limit: how many may wait.
        own_address: the local address of packets that have none of their own.
        received: how many were ever put in.
        bytes_received: how many bytes they had.
        dropped: how many found no room, or came from port 0, which cannot be answered.
    """

    __slots__ = ("bytes_received", "dropped", "limit", "own_address", "packets", "received")

    def __init__(self, limit: int) -> None:
        self.packets: deque[Packet] = deque()
        self.limit = limit
        self.own_address = ""
        self.received = 0
        self.bytes_received = 0
        self.dropped = 0

    def begin(self, own_address: str) -> None:
        """The socket was bound to an address, ``""`` for all: the queue begins empty."""
        self.packets.clear()
        self.own_address = own_address

    def put(self, packets: list[Packet]) -> bool:
        """Add what has arrived, as much as there is room for; return whether anything was added."""
        waiting = self.packets
        room = self.limit - len(waiting)
        count = size = 0
        for packet in packets:
            if packet[1][1] and count < room:
                waiting.append(packet)
                count += 1
                size += len(packet[0])
        self.dropped += len(packets) - count
        self.received += count
        self.bytes_received += size
        return count > 0

    def size(self) -> int:
        """How many bytes wait."""
        return sum(len(packet[0]) for packet in self.packets)


@dataclass(slots=True, eq=False)
class Departure(Generic[R, W]):
    """A datagram that waits to be sent."""

    data: bytes
    route: R
    """The route by which it is sent."""
    waiter: W | None = field(default=None)
    """The task that waits until it is sent, if any."""


class DepartureQueue(Generic[R, W]):
    """Datagrams that wait until the OS takes them, and the counts of their batch.

    A batch lasts from an empty queue to an empty queue.

    Args:
        limit: bytes that may be queued, including an overhead for each datagram.

    Attributes:
        departures: the waiting ones, the next one first.
        size: bytes of data in them.
        batch_sent: bytes of this batch that went out.
    """

    __slots__ = ("_limit", "batch_sent", "departures", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.departures: deque[Departure[R, W]] = deque()
        self.size = 0
        self.batch_sent = 0

    def has_room_for(self, size: int) -> bool:
        """Whether a datagram of so many bytes may be queued."""
        queued = self.size + _OVERHEAD * len(self.departures)
        return queued + size + _OVERHEAD <= self._limit

    def put(self, departure: Departure[R, W]) -> None:
        """Queue a datagram."""
        self.departures.append(departure)
        self.size += len(departure.data)

    def sent_first(self) -> Departure[R, W]:
        """The first one was sent."""
        departure = self.drop_first()
        self.batch_sent += len(departure.data)
        return departure

    def drop_first(self) -> Departure[R, W]:
        """The first one cannot be sent."""
        departure = self.departures.popleft()
        self.size -= len(departure.data)
        return departure

    def withdraw(self, departure: Departure[R, W]) -> None:
        """The task that waited for it was cancelled."""
        self.departures.remove(departure)
        self.size -= len(departure.data)

    def end_batch(self) -> int:
        """The queue has run empty; how many bytes the batch had sent."""
        sent, self.batch_sent = self.batch_sent, 0
        return sent

    def clear(self) -> list[Departure[R, W]]:
        """Drop everything; returns what was queued."""
        dropped = list(self.departures)
        self.departures.clear()
        self.size = self.batch_sent = 0
        return dropped
