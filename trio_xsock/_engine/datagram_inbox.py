"""``DatagramInbox``: received datagrams that are unread, and the tasks that wait for one."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.udp_queue import ArrivalQueue, Packet
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.datagram import Datagram, received_datagram
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import DataAvailable, Event


class PacketInbox(Protocol):
    """The destination of packets that arrive at a ``DatagramPort``."""

    @property
    def arrivals(self) -> ArrivalQueue:
        """What has arrived, and the counts of it."""
        ...

    @property
    def deadline(self) -> float:
        """When to call ``tick`` next, on Trio's clock; ``math.inf`` for not at all."""
        ...

    def begin(self, own_address: str) -> None:
        """The port was bound to an address, ``""`` for all: begin empty."""
        ...

    def take_in(self, packets: list[Packet]) -> None:
        """Add what has arrived, at least one packet; wake the tasks that wait for it."""
        ...

    def clear(self) -> None:
        """Drop what is unread."""
        ...

    def events_now(self, socket: object) -> list[Event]:
        """The events that describe the present state to a new consumer.

        Args:
            socket: the socket of the events.
        """
        ...

    def stop(self, why: Callable[[], SocketError]) -> None:
        """The port is closing: end all waits. What was received stays.

        Args:
            why: makes the error for each that waits.
        """
        ...

    def tick(self, now: float) -> None:
        """Do what is due."""
        ...


@protect_from_ki
class DatagramInbox:
    """Received datagrams; see ``PacketInbox``.

    Args:
        delivery: where ``DataAvailable`` is posted and the handler is called.
        limit: how many datagrams may wait.

    Attributes:
        arrivals: the waiting ones, as the OS gave them.
    """

    __slots__ = ("_delivery", "_receivers", "arrivals")

    deadline: float = math.inf

    def __init__(self, delivery: Delivery, limit: int) -> None:
        self.arrivals = ArrivalQueue(limit)
        self._delivery = delivery
        self._receivers: deque[Parking[Datagram]] = deque()

    # As an inbox

    def begin(self, own_address: str) -> None:
        """See ``PacketInbox``."""
        self.arrivals.begin(own_address)
        self._delivery.hub.withdraw_data()

    def take_in(self, packets: list[Packet]) -> None:
        """See ``PacketInbox``: serve waiting tasks, announce the rest."""
        arrivals, receivers, delivery = self.arrivals, self._receivers, self._delivery
        if not arrivals.put(packets):
            return
        while receivers and (datagram := self.take()) is not None:
            receivers.popleft().unpark(datagram)
        if not arrivals.packets:
            return
        hub = delivery.hub
        if hub.data_method is not None and delivery.held and not hub.calls:
            # If there is only a handler, as in most servers, it is called directly.
            hub.posted += 1
            delivery.call(hub.data_method, delivery.socket)
        else:
            delivery.post_data()

    def clear(self) -> None:
        """See ``PacketInbox``."""
        self.arrivals.packets.clear()
        self._delivery.hub.withdraw_data()

    def events_now(self, socket: object) -> list[Event]:
        """See ``PacketInbox``."""
        return [DataAvailable(socket)] if self.arrivals.packets else []

    def stop(self, why: Callable[[], SocketError]) -> None:
        """See ``PacketInbox``."""
        while self._receivers:
            self._receivers.popleft().fail(why())

    def tick(self, now: float) -> None:
        """See ``PacketInbox``: time changes nothing here."""

    # Taking

    def take(self) -> Datagram | None:
        """Remove and return the oldest; ``None`` if there is none."""
        arrivals = self.arrivals
        packets = arrivals.packets
        if not packets:
            return None
        packet = packets.popleft()
        if not packets and self._delivery.hub.has_channels:
            self._delivery.hub.withdraw_data()
        if len(packet) == 2:
            data, address = packet
            local = arrivals.own_address
        else:
            data, address, local = packet
        host = address[0] if len(address) == 2 else address_text(address)
        return received_datagram(host, address[1], data, local)

    def wait(self) -> Parking[Datagram]:
        """Wait in line for the next; to be given to ``forget`` on cancellation."""
        parking: Parking[Datagram] = Parking()
        self._receivers.append(parking)
        return parking

    def forget(self, parking: Parking[Datagram]) -> None:
        """Its task was cancelled."""
        self._receivers.remove(parking)
